import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Still } from '../protocol/index.ts';
import { Album } from './album.ts';

const still = (version: number, track = 7): Still => ({ track, version, size: 100, at: version * 1_000 });
const known = (...stills: Still[]) => new Map(stills.map((one) => [one.track, one]));

/** A server whose transfers go on when the test says so. */
function bench() {
  const log: string[] = [];
  let go: (chunk: number | null) => void = () => undefined;
  let version = 0;
  const album = new Album(async (track, signal) => {
    const own = version;
    log.push(`get ${track} v${own}`);
    signal.addEventListener('abort', () => log.push(`abort ${track}`));
    async function* chunks() {
      for (;;) {
        const bytes = await new Promise<number | null>((resolve, reject) => {
          go = resolve;
          signal.addEventListener('abort', () => reject(new Error('aborted')));
        });
        if (bytes === null) return;
        yield new Uint8Array(bytes);
      }
    }
    return { version: own, chunks: chunks() };
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  return {
    album,
    log,
    async tell(...stills: Still[]) {
      version = Math.max(0, ...stills.map((one) => one.version));
      album.set(known(...stills));
      await settle();
    },
    async come(bytes: number | null) {
      go(bytes);
      await settle();
    },
  };
}

test('a still is brought once, and a newer one replaces it', async () => {
  const { album, log, tell, come } = bench();
  await tell(still(1));
  await come(100);
  await come(null);
  assert.deepEqual([album.pictures.value.get(7)?.version, album.pictures.value.get(7)?.at], [1, 1_000]);
  await tell(still(1));
  await tell(still(2));
  await come(null);
  assert.equal(album.pictures.value.get(7)?.version, 2);
  assert.deepEqual(log, ['get 7 v1', 'get 7 v2']);
  album.close();
});

test('one that has hardly begun gives way to a newer one, one that is nearly here does not', async () => {
  const { album, log, tell, come } = bench();
  await tell(still(1));
  await come(20);
  await tell(still(2));
  await come(60);
  await tell(still(3));
  await come(null);
  assert.equal(album.pictures.value.get(7)?.version, 2);
  await come(null);
  assert.equal(album.pictures.value.get(7)?.version, 3);
  assert.deepEqual(log, ['get 7 v1', 'abort 7', 'get 7 v2', 'get 7 v3']);
  album.close();
});

test('tracks take turns, and what is over is forgotten', async () => {
  const { album, log, tell, come } = bench();
  await tell(still(1), still(1, 9));
  assert.deepEqual(log, ['get 7 v1']);
  await come(null);
  await come(null);
  assert.deepEqual([...album.pictures.value.keys()], [7, 9]);
  await tell(still(1, 9));
  assert.deepEqual([...album.pictures.value.keys()], [9]);
  album.close();
  assert.equal(album.pictures.value.size, 0);
});
