import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ListeningBuffer, nextPictureBuffer } from './jitter.ts';

const link = (lossIn: number, rttMs?: number) => ({ lossIn, lossOut: 0, rttMs });

test('who listens over a weak link has a buffer by its loss and round trip', () => {
  for (const [loss, rtt, target] of [
    [0, 40, null],
    [0.02, 400, null],
    [0.03, 40, 600],
    [0, 450, 700],
    [0.1, 300, 900],
    [0.3, 900, 1_500],
    [0.05, undefined, 600],
  ] as const) {
    const buffer = new ListeningBuffer();
    buffer.setMicrophone(0, true, false);
    buffer.onLink(4_000, link(loss, rtt));
    assert.equal(buffer.target, null, 'not yet silent for long');
    buffer.onLink(6_000, link(loss, rtt));
    assert.equal(buffer.target, target, `loss ${loss}, round trip ${rtt}`);
  }
});

test('who speaks waits for nothing, from the first moment on', () => {
  const buffer = new ListeningBuffer();
  buffer.onLink(0, link(0.2));
  assert.equal(buffer.target, null, 'nobody said that it is silent');
  buffer.setMicrophone(0, true, false);
  buffer.onLink(6_000, link(0.2));
  assert.equal(buffer.target, 800);
  buffer.setMicrophone(7_000, false, false);
  assert.equal(buffer.target, null);
  buffer.setMicrophone(8_000, true, false);
  buffer.onLink(10_000, link(0.2));
  assert.equal(buffer.target, null, 'the silence counts anew');
});

test('an open microphone that is silent for half a minute counts too, until it is heard', () => {
  const buffer = new ListeningBuffer();
  buffer.setMicrophone(0, false, false);
  buffer.onLink(29_000, link(0.2));
  assert.equal(buffer.target, null);
  buffer.onLink(31_000, link(0.2));
  assert.equal(buffer.target, 800);
  buffer.setMicrophone(32_000, false, true);
  assert.equal(buffer.target, null);
});

test('after an interruption nothing is waited for until the silence has lasted anew', () => {
  const buffer = new ListeningBuffer();
  buffer.onInterruption(0);
  buffer.setMicrophone(0, true, false);
  buffer.onLink(6_000, link(0.2));
  assert.equal(buffer.target, 800);
  buffer.onInterruption(7_000);
  assert.equal(buffer.target, null);
  buffer.onLink(11_000, link(0.2));
  assert.equal(buffer.target, null);
  buffer.onLink(12_000, link(0.2));
  assert.equal(buffer.target, 800);
});

test('the buffer holds over a quiet moment of the link, and goes with the weakness', () => {
  const buffer = new ListeningBuffer();
  buffer.setMicrophone(0, true, false);
  buffer.onLink(6_000, link(0.2));
  buffer.onLink(8_000, link(0.03));
  assert.equal(buffer.target, 800, 'shorter only at the end');
  buffer.onLink(20_000, link(0));
  assert.equal(buffer.target, 800);
  buffer.onLink(28_000, link(0));
  assert.equal(buffer.target, null);
});

test('the buffer of pictures grows by steps that are not seen and shrinks at once', () => {
  const steps: (number | null)[] = [];
  let buffer: number | null = null;
  for (const target of [250, 250, 250, 600, null, 80] as const) steps.push((buffer = nextPictureBuffer(buffer, target)));
  assert.deepEqual(steps, [100, 200, 250, 350, null, 80]);
});
