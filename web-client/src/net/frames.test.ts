import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inflateRawSync } from 'node:zlib';
import { compressFrame, decodeFrame, plainFrame } from './frames.ts';

const long = JSON.stringify({ type: 'chat', text: '天桥 '.repeat(200) });

test('short messages stay text', () => {
  assert.equal(plainFrame('{"type":"leave"}'), '{"type":"leave"}');
  assert.equal(plainFrame(long), undefined);
});

test('long messages become a raw DEFLATE stream and come back', async () => {
  const frame = await compressFrame(long);
  assert.ok(frame instanceof ArrayBuffer && frame.byteLength < 100);
  assert.equal(inflateRawSync(Buffer.from(frame)).toString(), long);
  assert.deepEqual(await decodeFrame(frame), JSON.parse(long));
});
