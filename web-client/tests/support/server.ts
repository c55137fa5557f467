import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export const BINARY = process.env.TIANQIAO_BIN ?? join(import.meta.dirname, '../../../target/release/tianqiao');
const START_TIMEOUT_MS = 20_000;

export interface Server {
  /** Origin, without a slash at the end. */
  url: string;
  createMeeting(meeting?: { title?: string; passcode?: string }): Promise<Meeting>;
  /** With which somebody of that name may join. */
  token(meeting: Meeting, name: string): Promise<string>;
  stop(): Promise<void>;
}

export interface Meeting {
  id: string;
  code: string;
  join_url: string;
  host_token: string;
}

/** Starts the real server on free ports; resolves when it says that it can serve. */
export async function startServer(settings: Record<string, string> = {}): Promise<Server> {
  if (!existsSync(BINARY)) throw new Error(`no server at ${BINARY}: build it, or set TIANQIAO_BIN`);
  const dataDir = mkdtempSync(join(tmpdir(), 'tianqiao-'));
  const child = spawn(
    BINARY,
    ['serve', '--listen', '127.0.0.1:0', '--media-port', '0', '--data-dir', dataDir],
    { env: { ...process.env, ...settings }, stdio: ['ignore', 'pipe', 'pipe'] },
  );
  let log = '';
  child.stderr.on('data', (data: Buffer) => (log = (log + data.toString()).slice(-20_000)));
  const url = await ready(child).catch((error: Error) => {
    child.kill('SIGKILL');
    throw new Error(`${error.message}\n${log}`);
  });
  return {
    ...client(url),
    async stop() {
      if (process.env.TIANQIAO_TEST_LOG) process.stderr.write(log);
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), 5_000);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      clearTimeout(timer);
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** What is asked of a server at `url`. */
export function client(url: string): Omit<Server, 'stop'> {
  return {
    url,
    async createMeeting(meeting = {}) {
      const response = await fetch(`${url}/api/v1/meetings`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(meeting),
      });
      if (response.status !== 201) throw new Error(`creating a meeting: ${response.status} ${await response.text()}`);
      return (await response.json()) as Meeting;
    },
    async token({ id }, name) {
      const response = await fetch(`${url}/api/v1/meetings/${id}/tokens`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ name }),
      });
      return ((await response.json()) as { token: string }).token;
    },
  };
}

export function ready(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the server did not become ready')), START_TIMEOUT_MS);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the server ended with ${code} before it was ready`)));
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const url = /^ready: (\S+)/.exec(line)?.[1];
      if (!url) return;
      clearTimeout(timer);
      resolve(url.replace(/\/$/, ''));
    });
  });
}
