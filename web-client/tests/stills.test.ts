import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Server, startServer } from './support/server.ts';

let server: Server;
let guests: Guest[];
let ada: Person;
let wei: Person;

before(async () => {
  server = await startServer();
  guests = await gather(2);
  [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
  const { join_url } = await server.createMeeting();
  for (const { person } of guests) await person.join(join_url);
});

after(async () => {
  await dismiss(guests ?? []);
  await server?.stop();
});

/** Requests with stills that the page of `person` makes. */
function stillRequests(person: Person): string[] {
  const requests: string[] = [];
  person.page.on('request', (request) => {
    if (request.url().includes('/stills/')) requests.push(request.method());
  });
  return requests;
}

test('nobody is asked for stills while links carry the screen', async () => {
  const [asked, fetched] = [stillRequests(wei), stillRequests(ada)];
  await wei.page.click('#control-screen');
  const { mid } = await ada.sees('Wei', 'screen');
  await ada.framesGoOn(mid, 30);
  assert.deepEqual([asked, fetched], [[], []]);
});

test('who saves data sees stills of the screen, newer ones as it changes, with their time', async () => {
  await ada.page.click('#control-settings');
  await ada.page.check('input[name=save_data]');
  const still = ada.tile('Wei', 'screen').locator('img.still');
  const version = async () => ((await still.count()) > 0 ? Number(await still.getAttribute('data-version')) : 0);
  const first = await ada.until('a still', version, (now) => now > 0, 30_000);
  const size = await still.evaluate((image) => [(image as HTMLImageElement).naturalWidth, (image as HTMLImageElement).naturalHeight]);
  assert.ok(size[0]! >= 480 && size[1]! >= 270, String(size));
  await ada.tile('Wei', 'screen').locator('.hindrance', { hasText: /Still picture of \d/ }).waitFor();
  // The fake screen never stands still.
  await ada.until('a newer still', version, (now) => now > first, 40_000);
  await ada.hearsSomebody();
});

test('the video takes its place again, and the presenter is no longer asked', async () => {
  await ada.page.uncheck('input[name=save_data]');
  const { mid } = await ada.sees('Wei', 'screen');
  await ada.framesGoOn(mid, 10);
  const asked = stillRequests(wei);
  await ada.framesGoOn(mid, 90);
  assert.deepEqual(asked, []);
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});
