import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server as HttpServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { gunzipSync, inflateRawSync } from 'node:zlib';
import type { Page } from 'playwright-core';
import { dismiss, gather, type Guest } from './support/gathering.ts';
import type { Person } from './support/person.ts';
import { type Meeting, type Server, startServer } from './support/server.ts';
import { type Wire, wireTo } from './support/wire.ts';

let server: Server;
let wire: Wire;
let meeting: Meeting;
let guests: Guest[];
let ada: Person;
let wei: Person;

before(async () => {
  server = await startServer();
  wire = await wireTo(server.url);
  meeting = await server.createMeeting();
  guests = await gather(2);
  [ada, wei] = guests.map(({ person }) => person) as [Person, Person];
  await wei.join(meeting.join_url);
});

after(async () => {
  await dismiss(guests ?? []);
  wire?.close();
  await server?.stop();
});

test('the page joins by POST, and its WebSocket takes the session up', async () => {
  const first = new Promise<string>((resolve) => {
    ada.page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => resolve(textOf(payload))));
  });
  const posted = ada.page.waitForRequest((request) => request.url().endsWith('/join'));
  await ada.join(meeting.join_url);
  const request = await posted;
  assert.equal(request.method(), 'POST');
  assert.equal((await request.allHeaders())['content-encoding'], 'gzip');
  const body = JSON.parse(gunzipSync(request.postDataBuffer()!).toString()) as Record<string, unknown>;
  assert.match(String(body.sdp), /^v=0/);
  const joined = (await (await request.response())!.json()) as { session: string };
  assert.deepEqual(JSON.parse(await first), { type: 'resume', session: joined.session });
  await ada.sees('Wei');
  await wei.sees('Ada');
  await ada.leave();
  await wei.tile('Ada').waitFor({ state: 'detached' });
});

test('media comes though the WebSocket does not, which then brings what was missed', async () => {
  await ada.open(`${wire.url}/m/${meeting.code}`);
  await ada.page.locator('.preview video').waitFor();
  const answered = ada.page.waitForResponse((response) => response.url().endsWith('/join'));
  await ada.page.click('#join');
  await (await answered).finished();
  wire.cut();
  await ada.page.getByText('Connection lost. Reconnecting…').waitFor();
  await ada.hearsSomebody();
  await wei.page.click('#control-chat');
  await wei.page.fill('textarea', 'said meanwhile');
  await wei.page.press('textarea', 'Enter');
  wire.mend();
  await ada.page.getByText('Connection lost. Reconnecting…').waitFor({ state: 'detached' });
  await ada.sees('Wei');
  await ada.page.locator('#control-chat').click();
  await ada.page.locator('.chat li', { hasText: 'said meanwhile' }).waitFor();
  assert.equal(await ada.connectionCount(), 1);
  await ada.leave();
});

test('a second visit takes nothing of the page over the network', async () => {
  await ada.join(meeting.join_url);
  await ada.page.evaluate(() => navigator.serviceWorker.ready.then(() => undefined));
  await ada.leave();
  const fromNetwork: string[] = [];
  ada.page.on('response', (response) => {
    if (!response.fromServiceWorker()) fromNetwork.push(new URL(response.url()).pathname);
  });
  await ada.join(meeting.join_url);
  await ada.sees('Wei');
  assert.ok(fromNetwork.length > 0, 'the API is asked');
  assert.deepEqual(fromNetwork.filter((path) => !path.startsWith('/api/v1/meetings/')), []);
});

test('another version of the page comes with the visit after the next', { timeout: 90_000 }, async () => {
  const { origin, publish, close } = await serveDist();
  const page = await guests[0]!.browser.newPage();
  const shown = () => page.locator('meta[name=version]').getAttribute('content');
  try {
    publish('first');
    await page.goto(origin);
    assert.equal(await shown(), 'first');
    await page.evaluate(() => navigator.serviceWorker.register('/sw.js', { updateViaCache: 'none' }));
    await keeps(page, 'first');
    publish('second');
    await page.reload();
    assert.equal(await shown(), 'first', 'what is kept is shown at once');
    await keeps(page, 'second');
    await page.reload();
    assert.equal(await shown(), 'second');
  } finally {
    await page.close();
    close();
  }
});

test('no page had an error', () => {
  for (const { person } of guests) assert.deepEqual(person.errors, []);
});

function textOf(payload: string | Buffer): string {
  return typeof payload === 'string' ? payload : inflateRawSync(payload).toString();
}

/** Waits until that version is all that is kept. */
async function keeps(page: Page, version: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (let kept = ''; kept !== `page-${version}`; kept = String(await page.evaluate(() => caches.keys()))) {
    assert.ok(Date.now() < deadline, `${version} is not kept, but ${kept}`);
    await page.waitForTimeout(200);
  }
  // Its files are kept once the worker that fetches them is installed.
  await page.evaluate(async () => {
    const { active } = await navigator.serviceWorker.ready;
    while (active!.state !== 'activated') await new Promise((changed) => active!.addEventListener('statechange', changed, { once: true }));
  });
}

/** Serves the page as it was built, in versions that differ in a line of the document. */
async function serveDist() {
  const dist = join(import.meta.dirname, '../dist');
  const types: Record<string, string> = { '.js': 'text/javascript', '.css': 'text/css' };
  let version = '';
  const document = () => readFileSync(join(dist, 'index.html'), 'utf8').replace('<title>', `<meta name="version" content="${version}"><title>`);
  const hash = (text: string) => `sha256-${createHash('sha256').update(text).digest('base64')}`;
  const worker = () =>
    readFileSync(join(dist, 'sw.js'), 'utf8')
      .replace(/"\/":"[^"]+"/, () => `"/":"${hash(document())}"`)
      .replace(/VERSION="[^"]+"/, () => `VERSION="${version}"`);
  const listener: HttpServer = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://any').pathname;
    if (path === '/') response.setHeader('content-type', 'text/html').end(document());
    else if (path === '/sw.js') response.setHeader('content-type', 'text/javascript').end(worker());
    else if (path.startsWith('/assets/')) response.setHeader('content-type', types[extname(path)] ?? '').end(readFileSync(join(dist, path)));
    else response.writeHead(404).end();
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  return {
    origin: `http://127.0.0.1:${(listener.address() as AddressInfo).port}/`,
    publish: (next: string) => (version = next),
    close: () => listener.close().closeAllConnections(),
  };
}
