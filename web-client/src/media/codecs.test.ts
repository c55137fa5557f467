import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CAMERA, pickCodecs, SCREEN, SLOT, VOICE } from './codecs.ts';

const codec = (mimeType: string, sdpFmtpLine?: string) =>
  ({ mimeType, clockRate: 90000, ...(sdpFmtpLine ? { sdpFmtpLine } : {}) }) as RTCRtpCodec;

const video = [
  codec('video/VP9', 'profile-id=2'),
  codec('video/VP9', 'profile-id=0'),
  codec('video/H264', 'level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f'),
  codec('video/H264', 'level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f'),
  codec('video/rtx'),
  codec('video/VP8'),
  codec('video/ulpfec'),
];

test('wishes decide which codecs and in which order', () => {
  const names = (wishes: typeof SLOT, all: RTCRtpCodec[]) => pickCodecs(all, wishes).map((c) => c.mimeType);
  assert.deepEqual(names(SCREEN, video), ['video/VP8', 'video/rtx']);
  assert.deepEqual(names(CAMERA.vp9, video), ['video/VP9', 'video/rtx']);
  assert.deepEqual(names(CAMERA.av1, video), ['video/rtx']);
  assert.deepEqual(names(SLOT, video), ['video/VP8', 'video/H264', 'video/VP9', 'video/rtx']);
  assert.deepEqual(names(VOICE, [codec('audio/opus'), codec('audio/CN'), codec('audio/red')]), [
    'audio/red',
    'audio/opus',
  ]);
});

test('one profile of each codec', () => {
  const slot = pickCodecs(video, SLOT);
  assert.match(slot[1]?.sdpFmtpLine ?? '', /packetization-mode=1/);
  assert.equal(slot[2]?.sdpFmtpLine, 'profile-id=0');
});
