import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants } from 'node:zlib';
import type { Plugin } from 'vite';

/** Smaller files fit into a packet anyway. */
const COMPRESS_FROM = 1_000;

/** Tells the service worker of what files the page consists, and lays a smaller form beside each for the server. */
export function kept(): Plugin {
  return {
    name: 'kept',
    apply: 'build',
    enforce: 'post',
    generateBundle(_, bundle) {
      const hash = (algorithm: string, data: string | Uint8Array) => createHash(algorithm).update(data).digest('base64');
      const worker = bundle['sw.js'];
      if (worker?.type !== 'chunk') throw new Error('there is no service worker');
      const files = Object.values(bundle).flatMap((file): [string, string][] => {
        if (file === worker) return [];
        const path = file.fileName === 'index.html' ? '/' : `/${file.fileName}`;
        return [[path, `sha256-${hash('sha256', file.type === 'chunk' ? file.code : file.source)}`]];
      });
      const list = JSON.stringify(Object.fromEntries(files.sort()));
      worker.code = `const FILES=${list},VERSION=${JSON.stringify(hash('sha256', list).slice(0, 12))};${worker.code}`;
    },
    writeBundle({ dir = 'dist' }) {
      for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        const data = entry.isFile() ? readFileSync(path) : Buffer.alloc(0);
        if (data.length < COMPRESS_FROM || path.endsWith('.br')) continue;
        const params = { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: data.length };
        writeFileSync(`${path}.br`, brotliCompressSync(data, { params }));
      }
    },
  };
}
