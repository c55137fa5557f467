import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrange } from './order.ts';

const order = (before: string, present: string, speaking = '', spoke: Record<string, number> = {}, visible = 3) =>
  arrange([...before], [...present], [...speaking], new Map(Object.entries(spoke)), visible).join('');

test('nobody moves without need', () => {
  assert.equal(order('', 'abc'), 'abc');
  assert.equal(order('abc', 'abcd'), 'abcd');
  assert.equal(order('abcd', 'acd'), 'acd');
  assert.equal(order('abcd', 'abcd', 'b'), 'abcd');
});

test('a speaker out of sight takes the place of the most silent', () => {
  assert.equal(order('abcde', 'abcde', 'e'), 'abedc');
  assert.equal(order('abcde', 'abcde', 'e', { b: 1, c: 2 }), 'ebcda');
  assert.equal(order('abcde', 'abcde', 'de', { a: 9 }), 'aedcb');
});

test('speakers do not push each other out', () => {
  assert.equal(order('abcd', 'abcd', 'dabc'), 'abcd');
  assert.equal(order('abcd', 'abcd', 'zd'), 'abdc');
});
