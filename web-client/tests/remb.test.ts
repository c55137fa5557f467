import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { type Browser, launch } from './support/browser.ts';
import { type Meeting, type Server, startServer } from './support/server.ts';
import { cameraPage, emptyPage } from './support/whip.ts';

let server: Server;
let browser: Browser;

before(async () => {
  server = await startServer();
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await server?.stop();
});

test('a viewer with REMB in place of transport-wide feedback gets the full picture', async () => {
  const meeting = await server.createMeeting();
  const layers = { codec: 'video/VP9', mode: 'L3T3_KEY' };
  const publisher = await cameraPage(browser, server, meeting, layers);
  const viewer = await emptyPage(browser, server);
  const answer = await watch(viewer, meeting);
  assert.match(answer, /a=rtcp-fb:\d+ goog-remb/);
  assert.match(answer, /a=extmap:\d+\S* \S+abs-send-time/);
  assert.doesNotMatch(answer, /transport-cc|transport-wide-cc/);
  // Chromium estimates at most 1.5 times what comes in and rises by 8 % a second, so this takes half a minute.
  const seen: (number | undefined)[] = [];
  const deadline = Date.now() + 90_000;
  while (seen.at(-1) !== 720) {
    const height = await frameHeight(viewer);
    if (height !== seen.at(-1)) seen.push(height);
    assert.ok(Date.now() < deadline, `heights: ${seen.join()}`);
    await viewer.waitForTimeout(250);
  }
  await publisher.close();
  await viewer.close();
});

/** The page shows the camera as one that knows nothing of transport-wide feedback; the answer that it got. */
async function watch(page: Page, meeting: Meeting): Promise<string> {
  const whep = { url: `${server.url}/whep/${meeting.code}`, token: await server.token(meeting, 'Viewer') };
  return page.evaluate(async (whep) => {
    const pc = new RTCPeerConnection();
    pc.addTransceiver('video', { direction: 'recvonly' });
    pc.addEventListener('track', ({ track }) => {
      const video = document.createElementNS('http://www.w3.org/1999/xhtml', 'video') as HTMLVideoElement;
      video.muted = true;
      video.srcObject = new MediaStream([track]);
      void video.play();
    });
    await pc.setLocalDescription();
    const offer = pc.localDescription!.sdp.split('\r\n').filter((line) => !/transport-(cc|wide-cc)/.test(line));
    const response = await fetch(whep.url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', authorization: `Bearer ${whep.token}` },
      body: offer.join('\r\n'),
    });
    const sdp = await response.text();
    await pc.setRemoteDescription({ type: 'answer', sdp });
    return sdp;
  }, whep);
}

async function frameHeight(page: Page): Promise<number | undefined> {
  return page.evaluate(async () => {
    const { connections } = (globalThis as unknown as { probe: { connections: RTCPeerConnection[] } }).probe;
    for (const report of (await connections[0]!.getStats()).values()) {
      const { type, frameHeight } = report as RTCInboundRtpStreamStats;
      if (type === 'inbound-rtp') return frameHeight;
    }
    return undefined;
  });
}
