import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { sha256, solve } from './proof.ts';

const hex = (words: Uint32Array) => [...words].map((word) => word.toString(16).padStart(8, '0')).join('');

test('hashes as others do, at every length of a block', () => {
  for (let length = 0; length < 200; length += 1) {
    const text = '天桥'.repeat(50).slice(0, length);
    assert.equal(hex(sha256(new TextEncoder().encode(text))), createHash('sha256').update(text).digest('hex'));
  }
});

test('the solution has as many zero bits as were asked for', async () => {
  const solution = await solve({ challenge: 'abc', bits: 14 }, '密码');
  assert.match(solution, /^abc\.[0-9a-z]+$/);
  const hash = createHash('sha256').update(`${solution}.密码`).digest();
  assert.equal(hash.readUInt16BE() >> 2, 0);
});
