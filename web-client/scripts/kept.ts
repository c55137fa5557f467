import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import type { Plugin } from 'vite';

const WORKER = 'sw.js';
/** Smaller files fit into a packet anyway. */
const COMPRESS_FROM = 1_000;

/** Tells the service worker of what files the page consists, and lays a smaller form beside each for the server. */
export function kept(): Plugin {
  return {
    name: 'kept',
    apply: 'build',
    // Of what was written: other plugins change files until then.
    writeBundle({ dir = 'dist' }) {
      const files = readdirSync(dir, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => relative(dir, join(entry.parentPath, entry.name)));
      listInWorker(dir, files.filter((file) => file !== WORKER));
      for (const file of files) compress(join(dir, file));
    },
  };
}

function listInWorker(dir: string, files: readonly string[]): void {
  const hash = (data: string | Buffer) => createHash('sha256').update(data).digest('base64');
  const hashes = [...files].sort().map((file) => {
    const path = file === 'index.html' ? '/' : `/${file}`;
    return [path, `sha256-${hash(readFileSync(join(dir, file)))}`];
  });
  const list = JSON.stringify(Object.fromEntries(hashes));
  const worker = join(dir, WORKER);
  const code = readFileSync(worker, 'utf8');
  writeFileSync(worker, `const FILES=${list},VERSION=${JSON.stringify(hash(list).slice(0, 12))};${code}`);
}

function compress(path: string): void {
  const data = readFileSync(path);
  if (data.length < COMPRESS_FROM) return;
  const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length };
  writeFileSync(`${path}.br`, brotliCompressSync(data, { params }));
}
