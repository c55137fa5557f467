// Prints what a browser downloads to be in a meeting, gzipped, and fails above the limit.
import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';

const LIMIT = 60_000;
const dist = new URL('../dist/', import.meta.url).pathname;

const files = readdirSync(dist, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && !entry.name.endsWith('.br'))
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));

let total = 0;
for (const file of files.sort()) {
  const size = gzipSync(readFileSync(file), { level: 9 }).length;
  total += size;
  console.log(`${String(size).padStart(7)} B  ${relative(dist, file)}`);
}
console.log(`${String(total).padStart(7)} B  gzipped in all (limit ${LIMIT})`);
if (total > LIMIT) {
  console.error('The page has grown past its limit.');
  process.exit(1);
}
