import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { type Browser, launch } from './support/browser.ts';
import { type Meeting, type Server, startServer } from './support/server.ts';

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
  const publisher = await publish(meeting);
  const viewer = await emptyPage();
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

async function emptyPage(): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${server.url}/favicon.svg`);
  return page;
}

async function token(meeting: Meeting, name: string): Promise<string> {
  const response = await fetch(`${server.url}/api/v1/meetings/${meeting.id}/tokens`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ name }),
  });
  return ((await response.json()) as { token: string }).token;
}

/** A page that sends its camera over WHIP, in three spatial layers. */
async function publish(meeting: Meeting): Promise<Page> {
  const page = await emptyPage();
  const whip = { url: `${server.url}/whip/${meeting.code}`, token: await token(meeting, 'Camera') };
  await page.evaluate(async (whip) => {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720 } });
    const pc = new RTCPeerConnection();
    // `scalabilityMode` is of WebRTC-SVC (W3C), not in lib.dom yet.
    const encoding: RTCRtpEncodingParameters & { scalabilityMode: string } = {
      scalabilityMode: 'L3T3_KEY',
      maxBitrate: 1_500_000,
    };
    const camera = pc.addTransceiver(stream.getVideoTracks()[0]!, { direction: 'sendonly', sendEncodings: [encoding] });
    const codecs = RTCRtpSender.getCapabilities('video')!.codecs;
    camera.setCodecPreferences(codecs.filter(({ mimeType }) => ['video/VP9', 'video/rtx'].includes(mimeType)));
    await pc.setLocalDescription();
    const response = await fetch(whip.url, {
      method: 'POST',
      headers: { 'content-type': 'application/sdp', authorization: `Bearer ${whip.token}` },
      body: pc.localDescription!.sdp,
    });
    await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
  }, whip);
  return page;
}

/** The page shows the camera as one that knows nothing of transport-wide feedback; the answer that it got. */
async function watch(page: Page, meeting: Meeting): Promise<string> {
  const whep = { url: `${server.url}/whep/${meeting.code}`, token: await token(meeting, 'Viewer') };
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
