import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keptFor } from './files.ts';

const ORIGIN = 'https://meet.example';
const kept = ['/', '/assets/index-1.js'];

test('the page and its files are kept, and nothing else is', () => {
  const cases: [method: string, mode: string, url: string, expected: string | undefined][] = [
    ['GET', 'navigate', `${ORIGIN}/`, '/'],
    ['GET', 'navigate', `${ORIGIN}/?lang=zh`, '/'],
    ['GET', 'navigate', `${ORIGIN}/m/482913057`, '/'],
    ['GET', 'navigate', `${ORIGIN}/healthz`, undefined],
    ['GET', 'navigate', `${ORIGIN}/api/v1/meetings/482913057`, undefined],
    ['GET', 'cors', `${ORIGIN}/assets/index-1.js`, '/assets/index-1.js'],
    ['GET', 'cors', `${ORIGIN}/assets/index-0.js`, undefined],
    ['GET', 'cors', `${ORIGIN}/api/v1/meetings/482913057`, undefined],
    ['GET', 'cors', `${ORIGIN}/`, undefined],
    ['POST', 'cors', `${ORIGIN}/assets/index-1.js`, undefined],
    ['POST', 'navigate', `${ORIGIN}/m/482913057`, undefined],
    ['GET', 'cors', 'https://other.example/assets/index-1.js', undefined],
    ['GET', 'navigate', 'https://other.example/', undefined],
  ];
  for (const [method, mode, url, expected] of cases) {
    assert.equal(keptFor({ method, mode, url }, ORIGIN, (path) => kept.includes(path)), expected, `${method} ${mode} ${url}`);
  }
});
