import assert from 'node:assert/strict';
import { test } from 'node:test';
import { initials, tint } from './names.ts';

test('initials', () => {
  const cases: [string, string][] = [
    ['Ada Lovelace', 'AL'],
    ['grace', 'G'],
    ['李小龙', '小龙'],
    ['王芳', '王芳'],
    ['Jean-Luc Picard', 'JP'],
    ['  ', '?'],
    ['🦊 fox', '🦊F'],
  ];
  for (const [name, expected] of cases) assert.equal(initials(name), expected);
});

test('a tint belongs to a name', () => {
  assert.equal(tint('李雷'), tint('李雷'));
  assert.notEqual(tint('李雷'), tint('韩梅梅'));
});
