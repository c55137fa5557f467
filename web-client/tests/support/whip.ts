/** A camera that is published over WHIP (RFC 9725) in one stream of several layers, as no part of the web client does. */

import type { Page } from 'playwright-core';
import type { Browser } from './browser.ts';
import type { Meeting, Server } from './server.ts';

interface Layers {
  /** Such as video/AV1. */
  codec: string;
  /** Such as L3T3_KEY. */
  mode: string;
  maxBitrate?: number;
  /** As the camera's own, where it is left out. */
  frameRate?: number;
}

export interface WhipOptions extends Layers {
  endpoint: string;
  token: string;
}

/** A page of the server's with nothing in it. */
export async function emptyPage(browser: Browser, server: Server): Promise<Page> {
  const page = await browser.newPage();
  await page.goto(`${server.url}/favicon.svg`);
  return page;
}

/** A page that sends its camera. */
export async function cameraPage(browser: Browser, server: Server, meeting: Meeting, layers: Layers): Promise<Page> {
  const page = await emptyPage(browser, server);
  const endpoint = `${server.url}/whip/${meeting.code}`;
  await page.evaluate(publish, { endpoint, token: await server.token(meeting, 'Camera'), ...layers });
  return page;
}

/** Runs in a page of the server's. */
export async function publish({ endpoint, token, codec, mode, maxBitrate = 1_500_000, frameRate }: WhipOptions): Promise<void> {
  const video = { width: 1280, height: 720, ...(frameRate === undefined ? {} : { frameRate }) };
  const camera = await navigator.mediaDevices.getUserMedia({ video });
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const transceiver = pc.addTransceiver(camera.getVideoTracks()[0]!, {
    direction: 'sendonly',
    sendEncodings: [{ scalabilityMode: mode, maxBitrate } as RTCRtpEncodingParameters],
  });
  const wanted = RTCRtpSender.getCapabilities('video')!.codecs.filter(({ mimeType, sdpFmtpLine }) => {
    const isFirstProfile = !/profile(-id)?=[1-9]/.test(sdpFmtpLine ?? '');
    return mimeType === 'video/rtx' || (mimeType === codec && isFirstProfile);
  });
  transceiver.setCodecPreferences(wanted);
  await pc.setLocalDescription();
  const response = await fetch(endpoint, {
    method: 'POST',
    headers: { 'content-type': 'application/sdp', authorization: `Bearer ${token}` },
    body: pc.localDescription!.sdp,
  });
  if (response.status !== 201) throw new Error(`WHIP: ${response.status} ${await response.text()}`);
  await pc.setRemoteDescription({ type: 'answer', sdp: await response.text() });
}
