import assert from 'node:assert/strict';
import { test } from 'node:test';
import { en } from './en.ts';
import { endText, errorText, fill, languages, preferred } from './index.ts';

const holes = (text: string) => (text.match(/\{\w+\}/g) ?? []).sort().join();

test('every language has the same keys, no empty words and the same holes', () => {
  for (const [name, words] of Object.entries(languages)) {
    assert.deepEqual(Object.keys(words).sort(), Object.keys(en).sort(), name);
    for (const [key, text] of Object.entries(words)) {
      assert.ok(text.trim(), `${name} ${key}`);
      assert.equal(holes(text), holes(en[key as keyof typeof en]), `${name} ${key}`);
    }
  }
});

test('the language follows the browser until it is chosen', () => {
  assert.equal(preferred(['de-DE', 'zh-CN', 'en'], null), 'zh');
  assert.equal(preferred(['en-GB', 'zh'], null), 'en');
  assert.equal(preferred(['fr'], null), 'en');
  assert.equal(preferred(['zh-TW'], 'en'), 'en');
  assert.equal(preferred(['en'], 'xx'), 'en');
});

test('words for codes, also unknown ones', () => {
  assert.equal(fill('{name} joined', { name: '李雷' }), '李雷 joined');
  assert.equal(errorText('meeting_full'), en['error.meeting_full']);
  assert.equal(endText('meeting_full'), en['error.meeting_full']);
  assert.equal(endText('replaced'), en['end.replaced']);
  assert.equal(errorText('brand_new' as 'internal'), en['error.internal']);
});
