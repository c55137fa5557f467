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

const HEIGHTS = [180, 360, 720];

for (const codec of ['AV1', 'VP9']) {
  for (const mode of ['L1T3', 'L3T3_KEY']) {
    // A page that only receives does not offer the descriptor by itself.
    for (const descriptor of [true, false]) {
      const name = `${codec} ${mode} over WHIP, to viewers ${descriptor ? 'with' : 'without'} the dependency descriptor`;
      test(name, async () => {
        const meeting = await server.createMeeting();
        const layers = { codec: `video/${codec}`, mode, maxBitrate: 2_500_000 };
        const publisher = await cameraPage(browser, server, meeting, layers);
        const viewer = await emptyPage(browser, server);
        for (const height of HEIGHTS) await watch(viewer, meeting, height, descriptor);
        // With one spatial layer everybody gets it.
        const expected = mode === 'L1T3' ? undefined : HEIGHTS;
        const settled = await decodes(viewer, expected);
        await viewer.waitForTimeout(3_000);
        const later = await received(viewer);
        for (const [index, view] of later.entries()) {
          assert.equal(view.plis, settled[index]!.plis, `no PLI once the picture is there: ${JSON.stringify(later)}`);
          assert.ok(view.decoded > settled[index]!.decoded + 15, `the picture moves: ${JSON.stringify(later)}`);
          if (expected) assert.equal(view.height, expected[index]);
        }
        await publisher.close();
        await viewer.close();
      });
    }
  }
}

/** The page shows the meeting's active speaker once more, `height` pixels high. */
async function watch(page: Page, meeting: Meeting, height: number, descriptor: boolean): Promise<void> {
  const join = { url: `${server.url.replace('http', 'ws')}/api/v1/ws`, token: await server.token(meeting, `${height} pixels`) };
  await page.evaluate(
    async ({ join, height, descriptor }) => {
      const pc = new RTCPeerConnection();
      const slot = pc.addTransceiver('video', { direction: 'recvonly' });
      if (descriptor) {
        // "RTP Header Extension Control" (W3C), not in lib.dom yet.
        type Extension = { uri: string; direction: RTCRtpTransceiverDirection };
        const control = slot as unknown as {
          getHeaderExtensionsToNegotiate(): Extension[];
          setHeaderExtensionsToNegotiate(extensions: Extension[]): void;
        };
        const extensions = control.getHeaderExtensionsToNegotiate();
        for (const extension of extensions) {
          if (extension.uri.includes('dependency-descriptor')) extension.direction = 'sendrecv';
        }
        control.setHeaderExtensionsToNegotiate(extensions);
      }
      pc.addEventListener('track', ({ track }) => {
        const video = document.createElementNS('http://www.w3.org/1999/xhtml', 'video') as HTMLVideoElement;
        video.muted = true;
        video.srcObject = new MediaStream([track]);
        void video.play();
      });
      await pc.setLocalDescription();
      const socket = new WebSocket(join.url, 'tianqiao.v1');
      await new Promise<void>((resolve, reject) => {
        socket.addEventListener('open', () => {
          const slots = [{ mid: slot.mid, show: 'active_speaker', height }];
          socket.send(
            JSON.stringify({ type: 'join', token: join.token, sdp: pc.localDescription!.sdp, tracks: [], slots }),
          );
        });
        socket.addEventListener('message', ({ data }) => {
          const message = JSON.parse(data as string) as { type: string; sdp: string };
          if (message.type === 'error') reject(new Error(data as string));
          if (message.type === 'joined') resolve(pc.setRemoteDescription({ type: 'answer', sdp: message.sdp }));
        });
      });
    },
    { join, height, descriptor },
  );
}

interface View {
  decoded: number;
  plis: number;
  height: number | undefined;
}

async function received(page: Page): Promise<View[]> {
  return page.evaluate(async () => {
    const { connections } = (globalThis as unknown as { probe: { connections: RTCPeerConnection[] } }).probe;
    const views: View[] = [];
    for (const connection of connections) {
      for (const report of (await connection.getStats()).values()) {
        const { type, framesDecoded, pliCount, frameHeight } = report as RTCInboundRtpStreamStats;
        if (type !== 'inbound-rtp') continue;
        views.push({ decoded: framesDecoded ?? 0, plis: pliCount ?? 0, height: frameHeight });
      }
    }
    return views;
  });
}

/** Waits until every view decodes, of the height that it should have. */
async function decodes(page: Page, heights: readonly number[] | undefined): Promise<View[]> {
  const deadline = Date.now() + 45_000; // a busy machine makes the encoder leave its largest layer out for a while
  for (;;) {
    const views = await received(page);
    const fits = (view: View, index: number) => view.decoded > 5 && (!heights || view.height === heights[index]);
    if (views.length === HEIGHTS.length && views.every(fits)) return views;
    assert.ok(Date.now() < deadline, `not decoded: ${JSON.stringify(views)}`);
    await page.waitForTimeout(250);
  }
}
