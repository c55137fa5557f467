import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { BINARY, client, type Server } from './server.ts';

export interface FleetProcess {
  name: string;
  pid: number;
  /** Of its metrics and probes. */
  metrics: string;
}

export interface Fleet extends Server {
  process(name: string): FleetProcess;
  /** Names of the media nodes. */
  nodes: string[];
  /** A value of a node's or an instance's metrics, summed over workers; `label` narrows it down. */
  metric(name: string, metric: string, label?: string): Promise<number>;
  kill(name: string, signal: NodeJS.Signals): void;
  isRunning(name: string): boolean;
}

/** Starts NATS, two signaling instances, three media nodes and a proxy before signaling. */
export async function startFleet(...args: string[]): Promise<Fleet> {
  const tool = join(dirname(BINARY), 'tianqiao-loadtest');
  const child = spawn(tool, ['fleet', '--port', '0', '--keep-going', '--server-bin', BINARY, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let log = '';
  child.stderr.on('data', (data: Buffer) => (log = (log + data.toString()).slice(-40_000)));
  const lines = await described(child).catch((error: Error) => {
    child.kill('SIGINT');
    throw new Error(`${error.message}\n${log}`);
  });
  const url = /^ready: (\S+)/.exec(lines[0]!)![1]!;
  const processes = lines.flatMap((line) => {
    const found = /^(\S+): process (\d+)(?:, metrics: (\S+))?/.exec(line);
    return found ? [{ name: found[1]!, pid: Number(found[2]), metrics: found[3] ?? '' }] : [];
  });
  const process_ = (name: string) => {
    const found = processes.find((process) => process.name === name);
    if (!found) throw new Error(`there is no ${name}`);
    return found;
  };
  return {
    ...client(url),
    process: process_,
    nodes: processes.map(({ name }) => name).filter((name) => name.startsWith('node-')),
    async metric(name, metric, label = '') {
      const text = await (await fetch(`${process_(name).metrics}/metrics`)).text();
      return text
        .split('\n')
        .filter((line) => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `))
        .filter((line) => line.includes(label))
        .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0);
    },
    kill: (name, signal) => void process.kill(process_(name).pid, signal),
    isRunning(name) {
      try {
        process.kill(process_(name).pid, 0);
        return true;
      } catch {
        return false;
      }
    },
    async stop() {
      if (process.env.TIANQIAO_TEST_LOG) process.stderr.write(log);
      child.kill('SIGINT');
      const timer = setTimeout(() => child.kill('SIGKILL'), 20_000);
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      clearTimeout(timer);
    },
  };
}

/** The lines that describe the fleet: the last is that of the last node. */
function described(child: ChildProcess): Promise<string[]> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the fleet did not become ready')), 60_000);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`the fleet ended with ${code} before it was ready`)));
    const lines: string[] = [];
    createInterface({ input: child.stdout! }).on('line', (line) => {
      lines.push(line);
      if (!line.startsWith('node-3:')) return;
      clearTimeout(timer);
      resolve(lines);
    });
  });
}
