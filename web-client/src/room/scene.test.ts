import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Participant, TrackSource } from '../protocol/index.ts';
import type { Room } from './model.ts';
import { sceneOf, type View, wantedOf } from './scene.ts';

const person = (id: string, ...sources: TrackSource[]): Participant => ({
  id,
  name: id,
  tracks: sources.map((source, index) => ({ id: id.charCodeAt(0) * 10 + index, source, muted: false })),
});

function room(...others: Participant[]): Room {
  return {
    self: 'me',
    meeting: { id: 'm', code: '1' },
    participants: [person('me', 'camera'), ...others],
    slots: new Map(),
    paused: new Set(),
    unsupported: new Map(),
    wanted: new Map(),
    quality: new Map(),
    speakers: { speaking: [] },
    stillsWanted: new Set(),
    stills: new Map(),
    chat: [],
  };
}

const desktop: View = { area: { width: 1280, height: 640 }, phone: false, capacity: 9, page: 0, pinned: null };
const phone: View = { area: { width: 374, height: 620 }, phone: true, capacity: 4, page: 0, pinned: null };

const people = (count: number) => Array.from({ length: count }, (_, index) => person(`p${index}`, 'camera'));
const scene = (room: Room, view: View) =>
  sceneOf(
    room,
    room.participants.map(({ id }) => id),
    view,
  );

test('oneself is a tile like others, or in the corner when there is no place', () => {
  const cases: [number, View, number, boolean][] = [
    [0, desktop, 1, false],
    [1, desktop, 2, false],
    [8, desktop, 9, false],
    [9, desktop, 10, true],
    [0, phone, 1, false],
    [1, phone, 2, true],
    [3, phone, 4, false],
    [6, phone, 5, true],
  ];
  for (const [others, view, tiles, floating] of cases) {
    const { tiles: shown } = scene(room(...people(others)), view);
    assert.equal(shown.length, tiles, `${others} others`);
    assert.equal(shown.at(-1)?.self, true);
    assert.equal(shown.at(-1)?.floating, floating);
  }
});

test('pages', () => {
  const many = room(...people(20));
  assert.equal(scene(many, desktop).pages, 3);
  const last = scene(many, { ...desktop, page: 7 });
  assert.equal(last.page, 2);
  assert.deepEqual(last.tiles.slice(0, -1).map(({ participant }) => participant), ['p18', 'p19']); // prettier-ignore
});

test('a screen takes the stage, oneself stays in the filmstrip', () => {
  const { tiles } = scene(room(person('a', 'camera'), person('b', 'camera', 'screen')), desktop);
  assert.deepEqual(
    tiles.map(({ key, main, self }) => [key, main, self]),
    [
      ['b screen', true, false],
      ['a camera', false, false],
      ['b camera', false, false],
      ['me camera', false, true],
    ],
  );
});

test('a pinned tile takes the stage until it is gone', () => {
  const three = room(...people(3));
  assert.equal(scene(three, { ...desktop, pinned: 'p1 camera' }).tiles[0]?.key, 'p1 camera');
  assert.equal(scene(three, { ...desktop, pinned: 'gone camera' }).tiles[0]?.main, false);
});

test('only what is sent is asked for, the large picture first', () => {
  const full = room(person('a'), person('b', 'camera', 'screen'));
  const wanted = wantedOf(full, scene(full, desktop), 2);
  assert.deepEqual(
    wanted.map(({ participant, source }) => `${participant} ${source}`),
    ['b screen', 'b camera'],
  );
  assert.ok(wanted[0]!.height > 1000 && wanted[1]!.height < 300);
});
