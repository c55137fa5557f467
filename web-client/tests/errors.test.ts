import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Browser, launch } from './support/browser.ts';
import { Person } from './support/person.ts';
import { type Server, startServer } from './support/server.ts';

let server: Server;
let browser: Browser;

before(async () => {
  server = await startServer({ TIANQIAO_MAX_PARTICIPANTS: '1' });
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('a meeting is made on the start page and joined by its link', async () => {
  const host = await Person.arrive(browser, 'Ada');
  await host.page.goto(server.url);
  await host.page.fill('input[name=title]', 'Budget 2027');
  await host.page.click('form.card .primary');
  await host.page.waitForURL(/\/m\/\d{9}$/);
  await host.page.click('#join');
  await host.page.getByText('Please enter your name.').waitFor();
  await host.page.fill('input[name=name]', 'Ada');
  await host.page.getByRole('heading', { name: 'Budget 2027' }).waitFor();
  await host.page.getByText('Nobody else is here yet.').waitFor();
  await host.page.click('#join');
  await host.page.locator('.alone-card').waitFor();

  const late = await Person.arrive(browser, 'Wei');
  await late.open(host.page.url());
  await late.page.click('#join');
  await late.page.getByText('This meeting is full.').waitFor();
  await host.leave();
  await late.page.click('#join');
  await late.page.locator('.meeting').waitFor();
  await late.page.close();
  await host.page.close();
});

test('a wrong passcode is told in words, then the right one joins', async () => {
  const { join_url } = await server.createMeeting({ passcode: 'bridge' });
  const guest = await Person.arrive(browser, 'Wei');
  await guest.open(join_url);
  await guest.page.fill('input[name=passcode]', 'wrong');
  await guest.page.click('#join');
  await guest.page.getByText('The passcode is not right.').waitFor();
  await guest.page.fill('input[name=passcode]', 'bridge');
  await guest.page.click('#join');
  await guest.page.locator('.meeting').waitFor();
  await guest.page.close();
});

test('an unknown meeting, in both languages', async () => {
  const { page } = await Person.arrive(browser, 'Wei');
  await page.goto(`${server.url}/m/000000000`);
  await page.getByRole('heading', { name: 'There is no meeting with this number.' }).waitFor();
  await page.getByRole('button', { name: '中文' }).click();
  await page.getByRole('heading', { name: '没有找到这个会议。' }).waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN');
  await page.getByRole('button', { name: 'English' }).click();
  await page.close();
});

test('without camera and microphone one can still join and listen', async () => {
  const { join_url } = await server.createMeeting();
  const guest = await Person.arrive(browser, 'Listener');
  await guest.page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('denied', 'NotAllowedError'));
  });
  await guest.open(join_url);
  await guest.page.getByText('You can still join and listen.').waitFor();
  await guest.page.click('#join');
  await guest.page.locator('.meeting').waitFor();
  await guest.page.locator('.tile[data-self] .avatar').waitFor();
  await guest.page.locator('.tile[data-self] .muted').waitFor();
  assert.deepEqual(guest.errors, []);
  await guest.page.close();
});

test('a meeting that the host ends is over in words', async () => {
  const { id, join_url, host_token } = await server.createMeeting();
  const guest = await Person.arrive(browser, 'Wei');
  await guest.join(join_url);
  const ended = await fetch(`${server.url}/api/v1/meetings/${id}`, {
    method: 'DELETE',
    headers: { authorization: `Bearer ${host_token}` },
  });
  assert.ok(ended.ok);
  await guest.page.getByRole('heading', { name: 'The meeting has ended.' }).waitFor();
  await guest.page.close();
});
