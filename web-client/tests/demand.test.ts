import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Relay, relayFor } from './support/relay.ts';
import { type Server, startServer } from './support/server.ts';

const SMALL = { width: 340, height: 260 };
const LARGE = { width: 1280, height: 800 };

let server: Server;
let guests: Guest[];
/** Watches and listens, behind a relay. */
let ada: Person;
/** Speaks and is seen. */
let wei: Person;
let relay: Relay;

before(async () => {
  server = await startServer();
  guests = await gather(2, {}, { framesPerSecond: 15, frames: 30 });
  [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
  relay = await relayFor(ada.page);
  const { join_url } = await server.createMeeting();
  await ada.join(join_url);
  await wei.join(join_url);
  await ada.sees('Wei');
});

after(async () => {
  await dismiss(guests ?? []);
  relay?.close();
  await server?.stop();
});

/** The layers of a camera that are on, as the browser's encoder sees it. */
async function layers(person: Person): Promise<string> {
  const sent = await person.sent();
  const on = sent.filter(({ kind, active }) => kind === 'video' && active).map(({ rid }) => rid);
  return ['q', 'h', 'f'].filter((rid) => on.includes(rid)).join('');
}

/** Bytes that each layer sends in a second and a half. */
async function sending(person: Person): Promise<Record<string, number>> {
  const before = await person.sent();
  await person.page.waitForTimeout(1_500); // the span that is measured
  const after = await person.sent();
  const bytes = (entries: typeof after, rid: string) => entries.find((entry) => entry.rid === rid)?.bytesSent ?? 0;
  return Object.fromEntries(['q', 'h', 'f'].map((rid) => [rid, bytes(after, rid) - bytes(before, rid)]));
}

test('layers that nobody watches are off at their sender, and come back when a tile grows', async () => {
  const { mid } = await ada.sees('Wei');
  await wei.until('the middle layer is off', () => layers(wei), (on) => on === 'qf', 30_000);
  await ada.page.setViewportSize(SMALL);
  await wei.until('the smallest alone is on', () => layers(wei), (on) => on === 'q', 30_000);
  await ada.until('180 lines', async () => (await ada.video(mid)).frameHeight, (lines) => lines === 180, 30_000);
  await wei.until('the larger layers send nothing', () => sending(wei), ({ h, f }) => h === 0 && f === 0, 10_000);
  await ada.framesGoOn(mid);

  const began = Date.now();
  await ada.page.setViewportSize(LARGE);
  await ada.until('720 lines', async () => (await ada.video(mid)).frameHeight, (lines) => lines === 720, 10_000);
  console.log(`720 lines ${Date.now() - began} ms after the tile grew`);
  assert.ok((await sending(wei)).f! > 0);
});

test('a camera that nobody watches sends nothing, and is there at once when somebody looks', async () => {
  const { mid } = await ada.sees('Wei');
  await ada.setHidden(true);
  await wei.until('nothing is on', () => layers(wei), (on) => on === '', 30_000);
  // A packet that waited in the pacer may still go after its layer was switched off.
  await wei.until('nothing is sent', () => sending(wei), (bytes) => Object.values(bytes).every((sent) => sent === 0), 10_000);
  const began = Date.now();
  await ada.setHidden(false);
  await ada.framesGoOn(mid, 1);
  console.log(`a picture ${Date.now() - began} ms after somebody looked`);
  await ada.framesGoOn(mid);
});

test('a camera that was off is sent whole, and a new offer keeps what is off', async () => {
  await wei.page.click('#control-camera');
  await ada.tile('Wei').locator('.avatar').waitFor();
  await wei.page.click('#control-camera');
  await ada.sees('Wei');
  await wei.until('the middle layer is off', () => layers(wei), (on) => on === 'qf', 30_000);
  await wei.page.click('#control-screen');
  await ada.sees('Wei', 'screen');
  await wei.page.click('#control-screen');
  await ada.tile('Wei', 'screen').waitFor({ state: 'detached' });
  await wei.until('the large picture is on', () => layers(wei), (on) => on.endsWith('f'), 30_000);
});

test('who listens over a weak link gets a low voice, for as long as the link is weak', async () => {
  const audio = async () => (await wei.sent()).filter(({ kind }) => kind === 'audio');
  const voices = async () => {
    const before = new Map((await audio()).map(({ mid, bytesSent }) => [mid, bytesSent]));
    await wei.page.waitForTimeout(1_500); // the span that is measured
    return (await audio()).filter(({ mid, bytesSent }) => bytesSent > (before.get(mid) ?? 0)).length;
  };
  // A machine that is busy makes a link look weak for a while.
  await wei.until('one voice', voices, (count) => count === 1, 90_000);
  relay.narrows = { rate: 60_000, queueMs: 400 };
  await wei.until('a second voice', voices, (count) => count === 2, 30_000);
  // 20 ms of sound are 50 packets a second, 60 ms are 17.
  await ada.until(
    'packets of 60 ms',
    async () => {
      const before = await ada.heardPackets();
      await ada.page.waitForTimeout(2_000); // the span that is measured
      return ((await ada.heardPackets()) - before) / 2;
    },
    (perSecond) => perSecond > 5 && perSecond < 25,
    30_000,
  );
  await ada.hearsSomebody();
  // A mute is one of both.
  await wei.page.click('#control-microphone');
  await ada.tile('Wei').locator('.muted').waitFor();
  await wei.page.click('#control-microphone');
  await ada.tile('Wei').locator('.muted').waitFor({ state: 'detached' });
  await ada.hearsSomebody();

  relay.narrows = undefined;
  await wei.until('one voice', voices, (count) => count === 1, 90_000);
  await ada.hearsSomebody();
  relay.narrows = { rate: 60_000, queueMs: 400 };
  const offers = await wei.offerCount();
  await wei.until('the second voice again', voices, (count) => count === 2, 30_000);
  assert.equal(await wei.offerCount(), offers);
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});
