import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { dismiss, everyoneSeesAndHears, gather, type Guest, looksRight } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Server, startServer } from './support/server.ts';

let server: Server;
let guests: Guest[];
let ada: Person;
let wei: Person;
let amara: Person;

before(async () => {
  server = await startServer();
  guests = await gather(3);
  [ada, wei, amara] = guests.map(({ person }) => person) as [Person, Person, Person];
  const { join_url } = await server.createMeeting({ title: 'Three' });
  for (const { person } of guests) await person.join(join_url);
});

after(async () => {
  await dismiss(guests ?? []);
  await server?.stop();
});

test('three browsers meet over UDP: each sees and hears the other two', async () => {
  await everyoneSeesAndHears(guests);
  for (const { person } of guests) assert.equal(await person.protocol(), 'udp/udp');
});

test('the layer fits the tile: half the camera in a small one, all of it on the stage', async () => {
  const height = async (viewer: Person, name: string) => {
    const { mid } = await viewer.sees(name);
    return (await viewer.video(mid)).frameHeight;
  };
  await ada.until('360 lines in a tile of the grid', () => height(ada, 'Wei'), (lines) => lines === 360, 30_000);
  await ada.tile('Wei').dblclick();
  await ada.until('720 lines on the stage', () => height(ada, 'Wei'), (lines) => lines === 720, 30_000);
  await ada.until('180 lines in the filmstrip', () => height(ada, 'Amara'), (lines) => lines === 180, 30_000);
  await ada.tile('Wei').dblclick();
  await ada.until('360 lines again', () => height(ada, 'Wei'), (lines) => lines === 360, 30_000);
});

test('a muted microphone is shown and not heard', async () => {
  await ada.page.click('#control-microphone');
  await wei.page.keyboard.press('m');
  for (const name of ['Ada', 'Wei']) await amara.tile(name).locator('.muted').waitFor();
  let before = await amara.heardEnergy();
  await amara.until(
    'a second and a half of silence',
    async () => {
      await amara.page.waitForTimeout(1_500); // the span that is measured: the fake microphone beeps every second
      const now = await amara.heardEnergy();
      const risen = now - before;
      before = now;
      return risen;
    },
    (risen) => risen < 1e-6,
  );
  await ada.page.click('#control-microphone');
  await wei.page.keyboard.press('m');
  await amara.tile('Ada').locator('.muted').waitFor({ state: 'detached' });
  await amara.hearsSomebody();
});

test('a hidden page gets no pictures, but voices', async () => {
  const { mid } = await ada.sees('Wei');
  await ada.setHidden(true);
  await ada.getsNoPicture(mid, 500);
  await ada.hearsSomebody();
  await ada.setHidden(false);
  await ada.framesGoOn(mid);
});

test('a camera goes off and on without an offer', async () => {
  await ada.page.click('#control-camera');
  await wei.tile('Ada').locator('video').waitFor({ state: 'detached' });
  await wei.tile('Ada').locator('.avatar').waitFor();
  await ada.page.click('#control-camera');
  await wei.sees('Ada');
  await looksRight(wei, guests[0]!);
});

test('a shared screen takes the stage of the others', async () => {
  await wei.page.click('#control-screen');
  await wei.page.locator('.banner.sharing').waitFor();
  const size = await wei.screenSize();
  for (const viewer of [ada, amara]) {
    const { mid, track } = await viewer.sees('Wei', 'screen');
    assert.equal(await viewer.tile('Wei', 'screen').getAttribute('class'), 'tile screen main');
    await viewer.framesGoOn(mid, 3);
    const shown = await viewer.video(mid);
    assert.deepEqual([shown.frameWidth, shown.frameHeight], size);
    assert.ok(shown.frameHeight >= 720);
    assert.deepEqual(shown.sources, [track]);
    await viewer.sees('Wei'); // the camera stays in the filmstrip
  }
  await wei.page.click('.banner.sharing button');
  for (const viewer of [ada, amara]) await viewer.tile('Wei', 'screen').waitFor({ state: 'detached' });
  await wei.page.click('#control-screen');
  for (const viewer of [ada, amara]) await viewer.sees('Wei', 'screen');
  await wei.page.click('#control-screen');
  for (const viewer of [ada, amara]) await viewer.tile('Wei', 'screen').waitFor({ state: 'detached' });
});

test('chat: unread lines are counted, then read', async () => {
  await ada.page.click('#control-chat');
  await ada.page.fill('textarea', '大家好 <b>hello</b>');
  await ada.page.press('textarea', 'Enter');
  await wei.page.locator('.toast', { hasText: '<b>hello</b>' }).waitFor();
  assert.equal(await wei.page.locator('#control-chat .badge').textContent(), '1');
  await wei.page.click('#control-chat');
  await wei.page.locator('.chat li', { hasText: '大家好 <b>hello</b>' }).waitFor();
  assert.equal(await wei.page.locator('#control-chat .badge').count(), 0);
  await ada.page.locator('.chat li.own').waitFor();
  for (const { page } of [ada, wei]) await page.keyboard.press('Escape');
});

test('who leaves is gone at once', async () => {
  await amara.leave();
  await amara.page.getByText('You have left the meeting.').waitFor();
  for (const viewer of [ada, wei]) await viewer.tile('Amara').waitFor({ state: 'detached' });
  assert.deepEqual((await ada.names()).sort(), ['Ada (you)', 'Wei']);
  await ada.sees('Wei');
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});
