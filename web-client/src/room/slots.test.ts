import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import type { SlotView } from '../protocol/index.ts';
import { Slots } from './slots.ts';
import type { Wanted } from './viewport.ts';

const camera = (participant: string, height = 360): Wanted => ({ participant, source: 'camera', height });

function slots() {
  const sent: string[] = [];
  const line = { up: true };
  const brief = (views: SlotView[]) =>
    views.map((view) => (view.show === 'source' ? `${view.participant}@${view.height}` : '-')).join(' ');
  const subject = new Slots(
    () => ['6', '7'],
    (views, mode) => line.up && sent.push(brief(views) + (mode === 'full' ? '' : ` ${mode}`)) > 0,
  );
  return { subject, sent, line };
}

test('other pictures are asked for at once, other heights a little later', () => {
  mock.timers.enable({ apis: ['setTimeout'] });
  const { subject, sent } = slots();
  subject.setWanted([camera('a')]);
  assert.deepEqual(sent, ['a@360 -']);
  for (const height of [370, 380, 390]) subject.setWanted([camera('a', height)]);
  assert.equal(sent.length, 1);
  mock.timers.tick(250);
  assert.deepEqual(sent.slice(1), ['a@390 -']);
  subject.setWanted([camera('a', 390), camera('b')]);
  assert.equal(sent.at(-1), 'a@390 b@360');
  subject.tell();
  assert.equal(sent.length, 3, 'nothing is said twice');
  mock.timers.reset();
});

test('a hidden page pauses its pictures', () => {
  const { subject, sent } = slots();
  subject.setWanted([camera('a'), camera('b')]);
  subject.setHidden(true);
  subject.setHidden(false);
  assert.deepEqual(sent, ['a@360 b@360', 'a@0 b@0', 'a@360 b@360']);
});

test('how much is wanted is told with the pictures, and anew to a new session', () => {
  const { subject, sent } = slots();
  subject.setWanted([camera('a')]);
  subject.setMode('audio_only');
  subject.startAnew(() => []);
  subject.setMode('full');
  assert.deepEqual(sent, ['a@360 -', 'a@360 - audio_only', 'a@360 - audio_only', 'a@360 -']);
});

test('what could not be said is said later, and again after a resume', () => {
  const { subject, sent, line } = slots();
  line.up = false;
  subject.setWanted([camera('a')]);
  line.up = true;
  subject.tell();
  subject.forget();
  assert.deepEqual(sent, ['a@360 -', 'a@360 -']);
});

test('a new session starts with a guess if the page has not said yet', () => {
  const { subject, sent } = slots();
  subject.startAnew(() => [camera('x', 720)]);
  subject.setWanted([camera('a')]);
  subject.startAnew(() => [camera('x', 720)]);
  assert.deepEqual(sent, ['x@720 -', 'a@360 -', 'a@360 -']);
});
