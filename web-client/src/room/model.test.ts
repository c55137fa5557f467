import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Joined, Participant, ServerMessage } from '../protocol/index.ts';
import { apply, enter, hindranceOf, ownTrack, type Room, sends, stillsOf } from './model.ts';

const person = (id: string, muted = false): Participant => ({
  id,
  name: id.toUpperCase(),
  tracks: [{ id: id.charCodeAt(0), source: 'camera', muted }],
});

const line = (seq: number, text = 'hello') => ({ seq, from: 'a', name: 'A', text, at: 1_000 * seq });

const joined: Joined = {
  participant: 'a',
  session: 'secret',
  sdp: '',
  meeting: { id: 'm', code: '123456789' },
  state: {
    participants: [person('a'), person('b')],
    slots: [{ mid: '6', track: 98 }],
    speakers: { speaking: [] },
    chat: [line(1)],
  },
};

function after(...messages: ServerMessage[]): Room {
  return messages.reduce(apply, enter(joined));
}

const ids = (room: Room) => room.participants.map(({ id }) => id).join('');

test('who comes and goes', () => {
  assert.equal(ids(after()), 'ab');
  assert.equal(ids(after({ type: 'roster', joined: [person('c')], left: [] })), 'abc');
  assert.equal(ids(after({ type: 'roster', joined: [person('c')], left: ['b'] })), 'ac');
  const twice = after({ type: 'roster', joined: [person('b', true)], left: [] });
  assert.equal(ids(twice), 'ab');
  assert.equal(sends(twice.participants[1], 'camera'), false);
  const terse = after({ type: 'roster', left: ['b'] } as unknown as ServerMessage);
  assert.equal(ids(terse), 'a');
});

test('tracks replace all tracks of their participant, and answers those of oneself', () => {
  const screen = { id: 7, source: 'screen', muted: false } as const;
  const room = after({ type: 'tracks', participant: 'b', tracks: [screen] });
  assert.equal(sends(room.participants[1], 'screen'), true);
  assert.equal(sends(room.participants[1], 'camera'), false);
  assert.equal(ownTrack(after({ type: 'answer', id: 1, sdp: '', tracks: [screen] }), 'screen')?.id, 7);
});

test('slots change one by one and empty', () => {
  const room = after({ type: 'slots', slots: [{ mid: '7', track: 99 }] });
  assert.deepEqual([...room.slots], [['6', 98], ['7', 99]]); // prettier-ignore
  assert.equal(apply(room, { type: 'slots', slots: [{ mid: '6', track: null }] }).slots.has('6'), false);
});

test('what is wanted of a track holds until it is said anew or the track is unmuted', () => {
  const wanted = (track: number, low_voice = false) => ({ track, layers: [], low_voice });
  const room = after({ type: 'wanted', tracks: [wanted(97), wanted(5)] }, { type: 'wanted', tracks: [wanted(5, true)] });
  assert.deepEqual([...room.wanted.values()], [wanted(97), wanted(5, true)]);
  const camera = (muted: boolean): ServerMessage => ({
    type: 'tracks',
    participant: 'a',
    tracks: [
      { id: 97, source: 'camera', muted },
      { id: 5, source: 'microphone', muted },
    ],
  });
  const muted = apply(room, camera(true));
  assert.equal(muted.wanted, room.wanted);
  assert.deepEqual([...apply(muted, camera(false)).wanted.keys()], [5]);
  const anew = apply(room, { type: 'resumed', state: { ...joined.state, wanted: [wanted(6)] } });
  assert.deepEqual([...anew.wanted.keys()], [6]);
});

test('what hinders a slot holds until it is taken back, or until the track is another one', () => {
  const paused = after({ type: 'slots_paused', slots: [{ mid: '6', paused: true }] });
  assert.equal(hindranceOf(paused, '6', 98), 'paused');
  assert.equal(hindranceOf(paused, '6', 98, 'save_data'), 'saving');
  assert.equal(hindranceOf(paused, '7', 98), undefined);
  const resumed = apply(paused, { type: 'slots_paused', slots: [{ mid: '6', paused: false }] });
  assert.equal(hindranceOf(resumed, '6', 98), undefined);
  const unsupported = apply(paused, { type: 'codec_unsupported', mid: '6', track: 98 });
  assert.equal(hindranceOf(unsupported, '6', 98), 'unsupported');
  assert.equal(hindranceOf(unsupported, '6', 99), 'paused');
  const { state } = joined;
  const anew = apply(paused, { type: 'resumed', state: { ...state, unsupported: [{ mid: '6', track: 98 }] } });
  assert.equal(hindranceOf(anew, '6', 98), 'unsupported');
  assert.equal(hindranceOf(anew, '6', 99), undefined, 'the server says no more that it stands still');
});

test('a resume brings the state and repeats no chat line', () => {
  const room = after(
    { type: 'chat', ...line(2) },
    {
      type: 'resumed',
      state: { participants: [person('a')], slots: [], speakers: { dominant: 'a', speaking: ['a'] }, chat: [line(2), line(3)] },
    },
  );
  assert.equal(ids(room), 'a');
  assert.equal(room.slots.size, 0);
  assert.deepEqual(
    room.chat.map(({ seq }) => seq),
    [1, 2, 3],
  );
  assert.equal(room.speakers.dominant, 'a');
});

test('a new speakers message forgets the dominant one', () => {
  const room = after(
    { type: 'speakers', dominant: 'b', speaking: ['b'] },
    { type: 'speakers', speaking: [] },
  );
  assert.deepEqual(room.speakers, { speaking: [] });
});

test('only links that are not good are kept, until they are or their people leave', () => {
  const poor = { participant: 'b', grade: 'poor', cause: 'loss' } as const;
  const room = after({ type: 'quality', changed: [poor, { participant: 'a', grade: 'fair', cause: 'delay' }] });
  assert.deepEqual(room.quality.get('b'), { grade: 'poor', cause: 'loss' });
  const better = apply(room, { type: 'quality', changed: [{ participant: 'a', grade: 'good' }] });
  assert.deepEqual([...better.quality.keys()], ['b']);
  assert.equal(apply(better, { type: 'roster', left: ['b'] } as unknown as ServerMessage).quality.size, 0);
  const state = { ...joined.state, quality: [poor] };
  assert.deepEqual([...apply(room, { type: 'resumed', state }).quality.keys()], ['b']);
});

test('stills are kept as long as their tracks are there', () => {
  const still = { track: 98, version: 2, size: 10, at: 1 };
  const room = after({ type: 'still', ...still }, { type: 'still_wanted', track: 97, wanted: true });
  assert.equal(stillsOf(room).get(98)?.version, 2);
  assert.deepEqual([...room.stillsWanted], [97]);
  assert.equal(apply(room, { type: 'still_wanted', track: 97, wanted: false }).stillsWanted.size, 0);
  assert.equal(stillsOf(apply(room, { type: 'roster', joined: [], left: ['b'] })).size, 0);
  const state = { ...joined.state, stills_wanted: [97], stills: [still] };
  const resumed = apply(after(), { type: 'resumed', state });
  assert.deepEqual([resumed.stillsWanted.has(97), resumed.stills.get(98)?.version], [true, 2]);
});
