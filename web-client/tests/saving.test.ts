import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Server, startServer } from './support/server.ts';

let server: Server;
let guests: Guest[];
let ada: Person;

before(async () => {
  server = await startServer();
  guests = await gather(2);
  ada = guests[0]!.person;
  const { join_url } = await server.createMeeting();
  for (const { person } of guests) await person.join(join_url);
});

after(async () => {
  await dismiss(guests ?? []);
  await server?.stop();
});

test('audio only: no pictures, voices go on; back again they come', async () => {
  const { mid } = await ada.sees('Wei');
  await ada.page.click('#control-settings');
  await ada.page.check('input[name=audio_only]');
  await ada.tile('Wei').locator('.hindrance', { hasText: 'Audio only' }).waitFor();
  await ada.getsNoPicture(mid, 1_000);
  await ada.hearsSomebody();
  await ada.page.uncheck('input[name=audio_only]');
  await ada.sees('Wei');
  await ada.framesGoOn(mid);
});

test('saving data is remembered, also after a reload, and brings a small picture', async () => {
  await ada.page.check('input[name=save_data]');
  await ada.page.reload();
  const { mid } = await ada.sees('Wei');
  await ada.framesGoOn(mid, 10);
  // The camera may still send what was wanted before, until its page is told otherwise.
  await ada.until('a small picture', () => ada.video(mid), (video) => video.frameHeight === 180);
  await ada.page.click('#control-settings');
  assert.ok(await ada.page.isChecked('input[name=save_data]'));
});

test('the page counts the data', async () => {
  const shown = async () => Number(/([\d.]+) MB/.exec((await ada.page.locator('.data-used').textContent()) ?? '')?.[1]);
  const before = await shown();
  await ada.until('more data than before', shown, (now) => now > before);
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});
