import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { IceWatch } from './ice_watch.ts';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

function watch(canOffer = true) {
  const log: string[] = [];
  const pc = { connectionState: 'new', iceConnectionState: 'new' } as unknown as RTCPeerConnection & {
    connectionState: string;
    iceConnectionState: string;
  };
  const subject = new IceWatch(pc, {
    onUp: () => log.push('up'),
    onDown: () => log.push('down'),
    onRestart: () => log.push('restart') > 0 && canOffer,
    onHopeless: () => log.push('hopeless'),
  });
  const become = (connection: string, ice = connection) => {
    Object.assign(pc, { connectionState: connection, iceConnectionState: ice });
    subject.check();
  };
  return { log, become, subject };
}

test('an outage passes, a long one restarts ICE', () => {
  const { log, become } = watch();
  become('connected');
  become('disconnected');
  mock.timers.tick(6_000);
  become('connected');
  mock.timers.tick(60_000);
  assert.deepEqual(log, ['up', 'down', 'up']);
  become('disconnected');
  mock.timers.tick(7_000);
  assert.deepEqual(log.slice(3), ['down', 'restart']);
});

test('where the network is there but media does not come, ICE is restarted soon, once', () => {
  const { log, become, subject } = watch();
  subject.onNetwork();
  become('connected');
  subject.onNetwork();
  become('disconnected');
  for (let message = 0; message < 10; message += 1) {
    subject.onNetwork();
    mock.timers.tick(100);
  }
  assert.deepEqual(log, ['up', 'restart', 'down']);
  become('connected');
  become('disconnected');
  subject.onNetwork();
  mock.timers.tick(400);
  become('connected');
  mock.timers.tick(60_000);
  assert.deepEqual(log.slice(3), ['up', 'up'], 'what was over within a second nobody is told');
});

test('a failure restarts at once, and three in vain are hopeless', () => {
  const { log, become } = watch();
  become('failed');
  mock.timers.tick(7_000);
  mock.timers.tick(7_000);
  mock.timers.tick(7_000);
  assert.deepEqual(log, ['down', 'restart', 'restart', 'restart', 'hopeless']);
  mock.timers.tick(60_000);
  assert.equal(log.length, 5);
});

test('restarts that cannot be offered do not count', () => {
  const { log, become } = watch(false);
  become('failed');
  for (let second = 0; second < 60; second += 1) mock.timers.tick(1_000);
  assert.ok(log.length > 5 && !log.includes('hopeless'));
});

test('media that never comes is tried anew; DTLS that failed is hopeless', () => {
  const { log, become } = watch();
  mock.timers.tick(7_000);
  assert.deepEqual(log, ['restart']);
  become('failed', 'connected');
  assert.deepEqual(log, ['restart', 'hopeless']);
});

test('silence restarts ICE at once, and a browser that was right to believe in its path goes on', () => {
  const { log, become, subject } = watch();
  become('connected');
  subject.onSilence();
  mock.timers.tick(60_000);
  assert.deepEqual(log, ['up', 'restart', 'up']);
  subject.onSilence();
  become('disconnected');
  mock.timers.tick(7_000);
  assert.deepEqual(log.slice(3), ['restart', 'down', 'restart']);
});
