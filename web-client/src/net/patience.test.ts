import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isGivenUp } from './patience.ts';

test('a silent WebSocket lives for as long as media speaks for it', () => {
  const cases: [askedForMs: number, hasMedia: boolean, patienceMs: number | undefined, expected: boolean][] = [
    [7_900, false, undefined, false],
    [8_000, false, undefined, true],
    [8_000, true, undefined, false],
    [29_900, true, undefined, false],
    [30_000, true, undefined, true],
    [2_900, true, 3_000, false],
    [3_000, true, 3_000, true],
  ];
  for (const [askedForMs, hasMedia, patienceMs, expected] of cases) {
    assert.equal(isGivenUp(askedForMs, hasMedia, patienceMs), expected, JSON.stringify({ askedForMs, hasMedia, patienceMs }));
  }
});
