import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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

test('names cannot turn the words of the page around', async () => {
  const { join_url } = await server.createMeeting({ title: '\u202Eegdirb' });
  const guest = await Person.arrive(browser, 'Eve \u202E(uoy) אבג');
  await guest.join(join_url);
  const name = guest.page.locator('.tile[data-self] .name');
  await guest.page.click('#control-people');
  const inList = guest.page.locator('.people .name');
  const own = '\u2068Eve (uoy) אבג\u2069 (you)';
  assert.equal(await inList.textContent(), own);
  // The label goes on where the fake microphone is heard just now.
  const label = await guest.page.locator('.tile[data-self]').getAttribute('aria-label');
  assert.equal(label?.split(', ')[0], own);
  assert.equal(await name.count(), 1);
  assert.equal(await guest.page.locator('.topbar h1').textContent(), 'egdirb');
  // As it is painted: the page's own word is at the end and reads from left to right.
  const edges = await inList.evaluate((element) => {
    const [node] = [...element.childNodes].filter(({ nodeType }) => nodeType === Node.TEXT_NODE);
    const text = node!.textContent!;
    const left = (index: number) => {
      const range = document.createRange();
      range.setStart(node!, index);
      range.setEnd(node!, index + 1);
      return range.getBoundingClientRect().left;
    };
    const start = text.indexOf(' (you)');
    return [1, 2, 3, 4, 5].map((offset) => left(start + offset));
  });
  assert.deepEqual(edges, [...edges].sort((a, b) => a - b));
  await guest.page.close();
});

test('where others have guessed too much the page does the work and gets in', async () => {
  const guessing = await startServer({ TIANQIAO_PASSCODE_ATTEMPTS: '1', TIANQIAO_LOOKUP_MISSES: '1' });
  const { join_url, code } = await guessing.createMeeting({ passcode: 'bridge' });
  const wrong = () =>
    fetch(`${guessing.url}/api/v1/meetings/${code}/tokens`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Eve', passcode: 'x' }),
    });
  assert.equal((await wrong()).status, 403);
  assert.equal((await wrong()).status, 429);
  await fetch(`${guessing.url}/api/v1/meetings/000000000`);
  assert.equal((await fetch(`${guessing.url}/api/v1/meetings/${code}`)).status, 429);
  const guest = await Person.arrive(browser, 'Wei');
  await guest.open(join_url);
  await guest.page.fill('input[name=passcode]', 'bridge');
  await guest.page.click('#join');
  await guest.page.locator('.meeting').waitFor();
  await guest.page.close();
  await guessing.stop();
});

test('on a server that wants a key the start page asks for it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'tianqiao-keys-'));
  const hash = createHash('sha256').update('open sesame').digest('hex');
  writeFileSync(join(folder, 'keys'), `school ${hash}\n`);
  const keyed = await startServer({ TIANQIAO_CREATE_MEETINGS: 'token', TIANQIAO_API_KEYS_FILE: join(folder, 'keys') });
  const { page } = await Person.arrive(browser, 'Ada');
  await page.goto(keyed.url);
  await page.click('form.card .primary');
  await page.getByText('On this server meetings are started with a key. Please enter it.').waitFor();
  await page.fill('input[name=key]', 'open sesame');
  await page.click('form.card .primary');
  await page.waitForURL(/\/m\/\d{9}$/);
  await page.close();
  await keyed.stop();
  rmSync(folder, { recursive: true });
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
