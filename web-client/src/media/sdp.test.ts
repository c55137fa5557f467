import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trimOffer, tuneAnswer } from './sdp.ts';

function lines(...text: string[]): string {
  return text.join('\r\n') + '\r\n';
}

test('an offer loses what the server does not read and keeps the rest in order', () => {
  const offer = lines(
    'v=0',
    'a=group:BUNDLE 0',
    'a=extmap-allow-mixed',
    'a=msid-semantic: WMS',
    'm=video 9 UDP/TLS/RTP/SAVPF 96 97',
    'a=rtcp:9 IN IP4 0.0.0.0',
    'a=candidate:1 1 udp 2113937151 abc.local 41234 typ host',
    'a=ice-ufrag:i7Ng',
    'a=mid:0',
    'a=msid:- 94454164',
    'a=rtcp-mux',
    'a=rtcp-rsize',
    'a=rtcp-xr:rcvr-rtt=all',
    'a=rtpmap:96 VP8/90000',
    'a=rtcp-fb:96 goog-remb',
    'a=rtcp-fb:96 nack pli',
    'a=ssrc:39 cname:P1Z',
    'a=ssrc:39 msid:- 94454164',
    'a=ssrc-group:FID 39 40',
  );
  assert.equal(
    trimOffer(offer),
    lines(
      'v=0',
      'a=group:BUNDLE 0',
      'a=extmap-allow-mixed',
      'm=video 9 UDP/TLS/RTP/SAVPF 96 97',
      'a=ice-ufrag:i7Ng',
      'a=mid:0',
      'a=rtcp-mux',
      'a=rtcp-rsize',
      'a=rtpmap:96 VP8/90000',
      'a=rtcp-fb:96 nack pli',
      'a=ssrc:39 cname:P1Z',
      'a=ssrc-group:FID 39 40',
    ),
  );
});

const section = (mid: string, ...rest: string[]) =>
  lines('m=audio 9 UDP/TLS/RTP/SAVPF 111', `a=mid:${mid}`, 'a=rtpmap:111 opus/48000/2', ...rest);

test('the microphone is asked for FEC and DTX, other sections are left alone', () => {
  const cases: [string, string][] = [
    [section('0'), 'a=fmtp:111 useinbandfec=1;usedtx=1'],
    [section('0', 'a=fmtp:111 minptime=10;useinbandfec=1'), 'a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1'],
    [section('0', 'a=fmtp:111 usedtx=0;minptime=10'), 'a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1'],
  ];
  for (const [microphone, expected] of cases) {
    const other = section('1', 'a=fmtp:111 minptime=10');
    const tuned = tuneAnswer(lines('v=0') + microphone + other, '0');
    assert.ok(tuned.includes(expected + '\r\n'), tuned);
    assert.ok(tuned.endsWith(other));
    assert.equal(tuned.match(/usedtx/g)?.length, 1);
  }
});

test('what the answer says of another voice, such as a low one, is let be', () => {
  const section = (mid: string, ...more: string[]) =>
    lines('m=audio 9 UDP/TLS/RTP/SAVPF 111', `a=mid:${mid}`, 'a=rtpmap:111 opus/48000/2', ...more);
  const low = section('10', 'a=fmtp:111 minptime=10;useinbandfec=0;usedtx=1;maxaveragebitrate=14000', 'a=ptime:60');
  const tuned = tuneAnswer(lines('v=0') + section('1') + low, '1');
  assert.ok(tuned.endsWith(low));
  assert.ok(tuned.includes('a=fmtp:111 useinbandfec=1;usedtx=1'));
});
