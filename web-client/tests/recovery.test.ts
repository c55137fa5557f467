import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { launchMortal } from './support/browser.ts';
import { dismiss, gather, type Guest, looksRight } from './support/gathering.ts';
import { Person } from './support/person.ts';
import { type Meeting, type Server, startServer } from './support/server.ts';
import { type Wire, wireTo } from './support/wire.ts';

let server: Server;
let wire: Wire;
let guests: Guest[];
let meeting: Meeting;
let ada: Person;
let wei: Person;

before(async () => {
  server = await startServer();
  wire = await wireTo(server.url);
  meeting = await server.createMeeting();
  guests = await gather(2);
  [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
  await ada.join(`${wire.url}/m/${meeting.code}`);
  await wei.join(meeting.join_url);
  await ada.sees('Wei');
  await wei.sees('Ada');
});

after(async () => {
  await dismiss(guests ?? []);
  wire?.close();
  await server?.stop();
});

test('a cut WebSocket: media goes on, the session is resumed, nothing is lost', async () => {
  const { mid } = await ada.sees('Wei');
  wire.cut();
  await ada.page.getByText('Connection lost. Reconnecting…').waitFor();
  await ada.framesGoOn(mid);
  await wei.page.click('#control-chat');
  await wei.page.fill('textarea', 'said meanwhile');
  await wei.page.press('textarea', 'Enter');
  wire.mend();
  await ada.page.getByText('Connection lost. Reconnecting…').waitFor({ state: 'detached' });
  await ada.framesGoOn(mid);
  await ada.page.locator('#control-chat').click();
  await ada.page.locator('.chat li', { hasText: 'said meanwhile' }).waitFor();
  await ada.page.keyboard.press('Escape');
  assert.equal(await ada.connectionCount(), 1, 'the same RTCPeerConnection all along');
  assert.deepEqual((await wei.names()).sort(), ['Ada', 'Wei (you)']);
  await ada.page.click('#control-microphone');
  await wei.tile('Ada').locator('.muted').waitFor();
  await ada.page.click('#control-microphone');
});

test('media that fails gets new ICE credentials on the same connection', async () => {
  const { mid } = await ada.sees('Wei');
  const before = await ada.iceUfrags();
  await ada.pretendIceFailed();
  const after = await ada.until('new credentials', () => ada.iceUfrags(), (now) => now.every((ufrag, end) => ufrag !== before[end])); // prettier-ignore
  assert.equal(after.length, 2);
  await ada.until('ICE is up again', () => ada.iceState(), (state) => state === 'connected' || state === 'completed'); // prettier-ignore
  await ada.framesGoOn(mid, 20);
  assert.equal(await ada.connectionCount(), 1);
});

test('a reload goes straight back in and leaves no ghost', async () => {
  await ada.page.reload();
  await wei.tile('Ada').waitFor({ state: 'detached' });
  await ada.sees('Wei');
  await wei.sees('Ada');
  await looksRight(wei, guests[0]!);
  await looksRight(ada, guests[1]!);
  assert.deepEqual((await wei.names()).sort(), ['Ada', 'Wei (you)']);
});

test('a killed browser is gone within 30 seconds', async () => {
  const browser = await launchMortal();
  const ghost = await Person.arrive(browser, 'Ghost');
  await ghost.join(meeting.join_url);
  await ada.sees('Ghost');
  await browser.kill();
  const killedAt = performance.now();
  await ada.tile('Ghost').waitFor({ state: 'detached', timeout: 30_000 });
  console.log(`the killed browser's tile vanished after ${((performance.now() - killedAt) / 1000).toFixed(1)} s`);
  await ada.sees('Wei');
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});
