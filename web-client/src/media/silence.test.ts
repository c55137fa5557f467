import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Silence } from './silence.ts';

/** Lets promises that are ready go on. */
const settle = async () => {
  for (let turn = 0; turn < 10; turn += 1) await Promise.resolve();
};

test('silence is that nothing comes after what was under way', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  for (const [later, expected] of [[0, true], [1, false]] as const) { // prettier-ignore
    let bytes = 1_000;
    const silence = new Silence(async () => bytes);
    const lasts = silence.lasts();
    bytes += 50; // was under way
    mock.timers.tick(100);
    await settle();
    bytes += later;
    mock.timers.tick(200);
    assert.equal(await lasts, expected);
  }
  mock.timers.reset();
});

test('a connection that is closed is not silent', async () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const silence = new Silence(() => Promise.reject(new Error('closed')));
  mock.timers.tick(300);
  assert.equal(await silence.lasts(), false);
  mock.timers.reset();
});
