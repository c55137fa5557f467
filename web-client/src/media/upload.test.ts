import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UploadGuard } from './upload.ts';

const kbit = (available: number, lossOut = 0, limited = true, pictures = 2_350) => ({
  available: available * 1_000,
  limited,
  lossOut,
  pictures: pictures * 1_000,
});

/** Looks every two seconds; what was sent after each change, and when. */
function run(looks: (second: number) => ReturnType<typeof kbit>, seconds: number): [number, string][] {
  const guard = new UploadGuard();
  const changes: [number, string][] = [];
  for (let second = 0; second <= seconds; second += 2) {
    const before = guard.level;
    const level = guard.onLink(second * 1_000, looks(second));
    if (level !== before) changes.push([second, level]);
  }
  return changes;
}

test('a good link, one that does not say, and one that nothing was asked of carry all', () => {
  assert.deepEqual(run(() => kbit(3_000), 60), []);
  assert.deepEqual(run(() => ({ ...kbit(0, 0.02), available: undefined as unknown as number }), 60), []);
  // Audio alone is sent, and the estimate stays where it began.
  assert.deepEqual(run(() => kbit(100, 0, false), 60), []);
  // A radio link that loses a part of whatever is sent.
  assert.deepEqual(run(() => kbit(2_000, 0.2), 60), []);
});

test('an estimate that is enough for the little that others want of the pictures is not short', () => {
  assert.deepEqual(run(() => kbit(160, 0, true, 60), 60), []);
  assert.deepEqual(run(() => kbit(140, 0, true, 60), 20), [[2, 'none']]);
});

test('one dip is borne', () => {
  assert.deepEqual(run((second) => kbit(second === 20 ? 90 : 3_000), 60), []);
});

test('a weak link carries one small picture, a village the voice alone', () => {
  assert.deepEqual(run(() => kbit(250), 20), [[2, 'small']]);
  assert.deepEqual(run(() => kbit(90, 0.05), 20), [[2, 'none']]);
  assert.deepEqual(run(() => kbit(300, 0.3), 20), [
    [2, 'small'],
    [6, 'none'],
  ]);
});

test('more is tried again, ever more seldom while it fails', () => {
  const changes = run(() => kbit(90, 0.05), 400);
  const tries = changes.filter(([, level]) => level === 'small').map(([second]) => second);
  const waits = tries.map((second) => second - (changes.filter(([at, level]) => level === 'none' && at < second).at(-1)?.[0] ?? 0));
  assert.deepEqual(waits.slice(0, 4), [20, 40, 80, 160]);
  assert.ok(tries.length <= 5, String(tries));
});

test('a link that is well again carries all again', () => {
  const changes = run((second) => (second < 30 ? kbit(90, 0.05) : kbit(3_000, 0, false)), 120);
  assert.deepEqual(changes.map(([, level]) => level), ['none', 'small', 'none', 'small', 'all']);
  assert.ok(changes.at(-1)![0] <= 110, String(changes));
});
