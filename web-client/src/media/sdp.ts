/** Line work on SDP: what the server needs of our offers, and what we ask for in its answers. */

/**
 * Lines of an offer that say nothing to a server that is ICE-lite, bundles, and names tracks by the
 * WebSocket: they are left out of what is sent (the browser's own description keeps them). `a=extmap-allow-mixed` stays:
 * the dependency descriptor of AV1's key frames is longer than a one-byte header allows.
 */
const UNSENT =
  /^a=(candidate:|end-of-candidates|msid:|msid-semantic:|rtcp:|rtcp-xr:|rtcp-fb:\d+ goog-remb|ssrc:\d+ (?!cname:))/;

/** The offer as it goes to the server. */
export function trimOffer(sdp: string): string {
  return sdp
    .split('\r\n')
    .filter((line) => !UNSENT.test(line))
    .join('\r\n');
}

/**
 * The server's answer with our wishes for the microphone: the answer's `fmtp` is what the sender
 * goes by (RFC 7587, section 7), so in-band FEC and DTX are asked for here.
 */
export function tuneAnswer(sdp: string, microphoneMid: string): string {
  return sdp
    .split(/(?=^m=)/m)
    .map((section) => (section.includes(`a=mid:${microphoneMid}\r\n`) ? tuneVoice(section) : section))
    .join('');
}

function tuneVoice(section: string): string {
  const payloadType = /^a=rtpmap:(\d+) opus\//im.exec(section)?.[1];
  if (payloadType === undefined) return section;
  const wishes = ['useinbandfec=1', 'usedtx=1'];
  const fmtp = new RegExp(`^a=fmtp:${payloadType} (.*)\\r\\n`, 'm');
  const found = fmtp.exec(section)?.[1];
  if (found === undefined) {
    const rtpmap = new RegExp(`^a=rtpmap:${payloadType} .*\\r\\n`, 'm');
    return section.replace(rtpmap, (line) => `${line}a=fmtp:${payloadType} ${wishes.join(';')}\r\n`);
  }
  const kept = found.split(';').filter((part) => !/^\s*(useinbandfec|usedtx)=/.test(part));
  return section.replace(fmtp, `a=fmtp:${payloadType} ${[...kept, ...wishes].join(';')}\r\n`);
}
