import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assignSlots, slotViews, type Wanted } from './viewport.ts';

const camera = (participant: string, height = 360): Wanted => ({ participant, source: 'camera', height });
const MIDS = ['6', '7', '8'];

function assign(wanted: string[], before: Record<string, string> = {}): Record<string, string> {
  const old = new Map(Object.entries(before).map(([id, mid]) => [`${id} camera`, mid]));
  const shown = assignSlots(wanted.map((id) => camera(id)), MIDS, old); // prettier-ignore
  return Object.fromEntries([...shown].map(([key, mid]) => [key.split(' ')[0], mid]));
}

test('pictures take slots in order and keep them', () => {
  const cases: [string, string[], Record<string, string>, Record<string, string>][] = [
    ['fill in order', ['a', 'b'], {}, { a: '6', b: '7' }],
    ['stay when others go', ['b', 'c'], { a: '6', b: '7', c: '8' }, { b: '7', c: '8' }],
    ['new ones take what is free', ['d', 'b', 'c'], { a: '6', b: '7', c: '8' }, { d: '6', b: '7', c: '8' }],
    ['order is no reason to move', ['c', 'b', 'a'], { a: '6', b: '7', c: '8' }, { a: '6', b: '7', c: '8' }],
    ['too many: the first ones', ['a', 'b', 'c', 'd'], {}, { a: '6', b: '7', c: '8' }],
    ['too many: an old one past the end gives way', ['x', 'a', 'b', 'c'], { a: '6', b: '7', c: '8' }, { a: '6', b: '7', x: '8' }],
    ['a slot that is no more', ['a'], { a: '99' }, { a: '6' }],
  ]; // prettier-ignore
  for (const [name, wanted, before, expected] of cases) assert.deepEqual(assign(wanted, before), expected, name);
});

test('camera and screen of one person are two pictures', () => {
  const wanted: Wanted[] = [camera('a'), { participant: 'a', source: 'screen', height: 720 }];
  const views = slotViews(wanted, MIDS, assignSlots(wanted, MIDS, new Map()));
  assert.deepEqual(views, [
    { mid: '6', show: 'source', participant: 'a', source: 'camera', height: 360 },
    { mid: '7', show: 'source', participant: 'a', source: 'screen', height: 720 },
    { mid: '8', show: 'nobody', height: 0 },
  ]);
});

test('a hidden page keeps its slots at height 0', () => {
  const wanted = [camera('a', 0)];
  const views = slotViews(wanted, MIDS, assignSlots(wanted, MIDS, new Map([['a camera', '7']])));
  assert.deepEqual(views[1], { mid: '7', show: 'source', participant: 'a', source: 'camera', height: 0 });
});
