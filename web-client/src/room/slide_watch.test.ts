import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SlideWatch } from './slide_watch.ts';

/** A frame whose first `dark` of a hundred values are black. */
const frame = (dark: number) => Uint8Array.from({ length: 100 }, (_, index) => (index < dark ? 0 : 200));

function run(frames: readonly number[]): number[] {
  const watch = new SlideWatch();
  return frames.flatMap((dark, second) => {
    if (!watch.isDue(second * 1_000, frame(dark))) return [];
    watch.onSent(second * 1_000, frame(dark));
    return [second];
  });
}

test('the first frame goes at once, and the same one never again', () => {
  assert.deepEqual(run(Array(60).fill(50)), [0]);
});

test('another slide goes as soon as it stands still, at least five seconds after the last', () => {
  assert.deepEqual(run([50, 50, 50, 50, 50, 50, 50, 50, 80, 80, 80, 80]), [0, 9]);
  assert.deepEqual(run([50, 80, 80, 80, 80, 80, 80, 80]), [0, 5]);
});

test('what never stands still goes every five seconds', () => {
  const film = Array.from({ length: 21 }, (_, second) => (second * 37) % 100);
  const sent = run(film);
  assert.ok(sent.length >= 3, String(sent));
  for (const [index, second] of sent.slice(1).entries()) assert.ok(second - sent[index]! >= 5, String(sent));
});

test('a small change waits for fifteen seconds', () => {
  assert.deepEqual(run([50, 50, 50, ...Array(30).fill(51)]), [0, 15]);
});

test('noise is no change', () => {
  const watch = new SlideWatch();
  watch.onSent(0, frame(50));
  const noisy = frame(50).map((value, index) => value + (index % 2 ? 9 : 3));
  assert.equal(watch.isDue(60_000, noisy), false);
  watch.onLost();
  assert.equal(watch.isDue(61_000, noisy), true);
});
