import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backoff } from './backoff.ts';

test('doubles up to a ceiling', () => {
  const longest = [0, 1, 2, 3, 4, 5, 6, 50].map((attempt) => backoff(attempt, () => 1));
  assert.deepEqual(longest, [300, 600, 1200, 2400, 4800, 8000, 8000, 8000]);
});

test('is spread over the upper half', () => {
  assert.equal(backoff(3, () => 0), 1200);
  assert.equal(backoff(3, () => 0.5), 1800);
});
