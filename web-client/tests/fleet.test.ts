import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Fleet, startFleet } from './support/fleet.ts';
import { dismiss, everyoneSeesAndHears, gather, type Guest } from './support/gathering.ts';
import { watchGaps } from './support/gaps.ts';
import type { Person } from './support/person.ts';

// Bounds are for a busy machine with all of a fleet and three browsers on it; what is measured is printed.

let fleet: Fleet;
let guests: Guest[];
let people: Person[];

before(async () => {
  // One session of a meeting on each node, as long as there are nodes without one.
  fleet = await startFleet('--signaling-arg=--room-node-sessions=1');
  guests = await gather(3);
  people = guests.map(({ person }) => person);
  const { join_url } = await fleet.createMeeting({ title: 'Over three nodes' });
  for (const person of people) await person.join(join_url);
});

after(async () => {
  await dismiss(guests ?? []);
  await fleet?.stop();
});

const sessions = (node: string) => fleet.metric(node, 'tianqiao_sfu_sessions');

test('three browsers on three nodes see and hear each other', async () => {
  for (const node of fleet.nodes) assert.equal(await sessions(node), 1, node);
  await everyoneSeesAndHears(guests);
  for (const node of fleet.nodes) assert.equal(await fleet.metric(node, 'tianqiao_sfu_links_up'), 2, node);
});

test('a node that drains gives its browser away without a gap, ends when it is empty, and nobody joins anew', async () => {
  const [node] = fleet.nodes as [string];
  const gaps = await Promise.all(people.map((person) => watchGaps(person)));
  fleet.kill(node, 'SIGTERM');
  await people[0]!.until('the node has ended', async () => fleet.isRunning(node), (running) => !running);
  await people[0]!.page.waitForTimeout(1_500); // the span that is measured
  for (const [index, stop] of gaps.entries()) {
    const { audioMs, videoMs } = await stop();
    console.log(`${people[index]!.name}: longest gap of sound ${audioMs} ms, of pictures ${videoMs} ms`);
    assert.ok(audioMs <= 800, `${people[index]!.name} heard nothing for ${audioMs} ms`);
    assert.ok(videoMs <= 2_500, `${people[index]!.name} saw nothing new for ${videoMs} ms`);
  }
  await everyoneSeesAndHears(guests);
});

test('when a node is killed its browsers are back within seconds', async () => {
  const alive = fleet.nodes.filter((node) => fleet.isRunning(node));
  const counts = await Promise.all(alive.map(sessions));
  const node = alive[counts.indexOf(Math.max(...counts))]!;
  const gaps = await Promise.all(people.map((person) => watchGaps(person)));
  fleet.kill(node, 'SIGKILL');
  await people[0]!.page.waitForTimeout(6_000); // the span that is measured
  for (const [index, stop] of gaps.entries()) {
    const { audioMs, videoMs } = await stop();
    console.log(`${people[index]!.name}: longest gap of sound ${audioMs} ms, of pictures ${videoMs} ms`);
    assert.ok(audioMs <= 5_500, `${people[index]!.name} heard nothing for ${audioMs} ms`);
  }
  await everyoneSeesAndHears(guests);
});

test('without NATS for a while media goes on, chat too, and nothing is to be mended afterwards', async () => {
  const gaps = await Promise.all(people.map((person) => watchGaps(person)));
  const [ada, wei] = people as [Person, Person];
  fleet.kill('nats', 'SIGSTOP');
  await ada.page.waitForTimeout(5_000); // the outage
  await ada.page.click('#control-chat');
  await ada.page.fill('textarea[name=message]', 'still here');
  await ada.page.keyboard.press('Enter');
  await wei.page.click('#control-chat');
  await wei.page.getByText('still here').waitFor();
  for (const name of ['signaling-1', 'signaling-2', ...fleet.nodes.filter((node) => fleet.isRunning(node))]) {
    assert.equal((await fetch(`${fleet.process(name).metrics}/healthz`)).status, 200, name);
  }
  fleet.kill('nats', 'SIGCONT');
  for (const stop of gaps) assert.ok((await stop()).audioMs <= 800);
  await ada.page.click('#control-chat');
  await wei.page.click('#control-chat');
  await everyoneSeesAndHears(guests);
});

test('when the signaling instance that owns the meeting is killed media goes on and commands work again', async () => {
  const instances = ['signaling-1', 'signaling-2'];
  const owned = await Promise.all(instances.map((name) => fleet.metric(name, 'tianqiao_meetings')));
  assert.deepEqual([...owned].sort(), [0, 1]);
  const gaps = await Promise.all(people.map((person) => watchGaps(person)));
  fleet.kill(instances[owned.indexOf(1)]!, 'SIGKILL');
  const [ada, wei] = people as [Person, Person];
  await ada.page.waitForTimeout(5_000); // the time that it may take
  for (const stop of gaps) assert.ok((await stop()).audioMs <= 800);
  await ada.page.click('#control-microphone');
  await wei.tile('Ada').locator('.muted').waitFor();
  await ada.page.click('#control-microphone');
});

test('no page had an error', () => {
  for (const person of people) assert.deepEqual(person.errors, []);
});
