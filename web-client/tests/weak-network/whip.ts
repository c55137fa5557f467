/** A camera that is published over WHIP (RFC 9725) in one stream of several layers, as no part of the web client does. */

export interface WhipOptions {
  endpoint: string;
  token: string;
  /** Such as video/AV1. */
  codec: string;
  /** Such as L3T3_KEY. */
  mode: string;
}

/** Runs in a page of the server's. */
export async function publish({ endpoint, token, codec, mode }: WhipOptions): Promise<void> {
  const camera = await navigator.mediaDevices.getUserMedia({ video: { width: 1280, height: 720, frameRate: 15 } });
  const pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  const transceiver = pc.addTransceiver(camera.getVideoTracks()[0]!, {
    direction: 'sendonly',
    sendEncodings: [{ scalabilityMode: mode, maxBitrate: 1_500_000 } as RTCRtpEncodingParameters],
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
