import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MediaConnection } from '../media/connection.ts';
import { Failure } from '../net/failure.ts';
import type { ClientMessage } from '../protocol/index.ts';
import { Negotiation } from './negotiation.ts';

function scene() {
  const log: string[] = [];
  const state = { live: true };
  const connection = {
    offer: async (iceRestart: boolean) => (iceRestart ? 'restart' : 'plain'),
    accept: async (sdp: string) => void log.push(`accepts ${sdp}`),
    rollBack: async () => void log.push('rolls back'),
    declarations: () => [],
  } as unknown as MediaConnection;
  const negotiation = new Negotiation(connection, {
    isLive: () => state.live,
    send: (message: ClientMessage) => message.type === 'offer' && log.push(`offers ${message.id} ${message.sdp}`),
    muted: () => ({ microphone: false, camera: false }),
    views: () => [],
  });
  const settle = () => new Promise((resolve) => setImmediate(resolve));
  const answer = (id: number) => negotiation.handleAnswer({ id, sdp: `answer ${id}`, tracks: [] });
  return { log, state, negotiation, settle, answer };
}

test('one offer at a time', async () => {
  const { log, negotiation, settle, answer } = scene();
  void negotiation.offer(false);
  void negotiation.offer(true);
  await settle();
  assert.deepEqual(log, ['offers 1 plain']);
  assert.equal(answer(7), false, 'an answer to something else');
  answer(1);
  await settle();
  assert.deepEqual(log.slice(1), ['accepts answer 1', 'offers 2 restart']);
});

test('a refused offer is taken back', async () => {
  const { log, negotiation, settle } = scene();
  const refused = assert.rejects(negotiation.offer(false), /too_many_tracks/);
  await settle();
  negotiation.handleFailure(new Failure('too_many_tracks'), 1);
  await refused;
  assert.deepEqual(log, ['offers 1 plain', 'rolls back']);
  assert.equal(negotiation.catchUp(), false);
});

test('an offer lost with its WebSocket is made again, as an ICE restart if it was one', async () => {
  const { log, state, negotiation, settle, answer } = scene();
  const first = negotiation.offer(true);
  await settle();
  state.live = false;
  negotiation.onLost(new Failure('network'));
  await first;
  await negotiation.offer(false);
  assert.deepEqual(log, ['offers 1 restart']);
  state.live = true;
  assert.equal(negotiation.catchUp(), true);
  await settle();
  answer(2);
  await settle();
  assert.deepEqual(log.slice(1), ['offers 2 restart', 'accepts answer 2']);
  assert.equal(negotiation.catchUp(), false);
});

test('a closed one stays silent', async () => {
  const { log, negotiation } = scene();
  negotiation.close();
  await negotiation.offer(true);
  assert.deepEqual(log, []);
});

test('what is offered during a move waits for it, and is of the new connection', async () => {
  const { log, negotiation, settle, answer } = scene();
  const twin = {
    offer: async () => 'twin',
    accept: async (sdp: string) => void log.push(`twin accepts ${sdp}`),
    declarations: () => [],
  } as unknown as MediaConnection;
  let flow = () => {};
  const flows = () => new Promise<void>((resolve) => (flow = resolve));
  const moved = negotiation.move(1, twin, flows, new AbortController().signal);
  void negotiation.offer(false);
  await settle();
  answer(1);
  await settle();
  assert.deepEqual(log, ['offers 1 twin', 'twin accepts answer 1']);
  flow();
  await moved;
  await settle();
  assert.deepEqual(log.slice(2), ['offers 2 twin']);
});

test('a move that is given up or refused leaves the connection as it is', async () => {
  const { log, negotiation, settle } = scene();
  const twin = { offer: async () => 'twin', declarations: () => [] } as unknown as MediaConnection;
  const giving = new AbortController();
  const given = assert.rejects(negotiation.move(1, twin, async () => {}, giving.signal));
  await settle();
  giving.abort();
  await given;
  const refused = assert.rejects(negotiation.move(2, twin, async () => {}, new AbortController().signal), /unavailable/);
  await settle();
  negotiation.handleFailure(new Failure('unavailable'), 2);
  await refused;
  void negotiation.offer(false);
  await settle();
  assert.deepEqual(log, ['offers 1 twin', 'offers 2 twin', 'offers 3 plain']);
});
