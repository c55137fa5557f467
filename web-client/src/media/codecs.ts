/** Which codecs and header extensions the offer names, so that it stays short. */

import type { CameraCodec } from '../protocol/index.ts';

type Wanted = (codec: RTCRtpCodec) => boolean;

const named =
  (mimeType: string): Wanted =>
  (codec) =>
    codec.mimeType.toLowerCase() === mimeType;

const RTX = named('video/rtx');
const VP8 = named('video/vp8');
const H264: Wanted = (codec) =>
  named('video/h264')(codec) && /packetization-mode=1;.*profile-level-id=42e0/.test(codec.sdpFmtpLine ?? '');
const VP9: Wanted = (codec) => named('video/vp9')(codec) && /profile-id=0/.test(codec.sdpFmtpLine ?? 'profile-id=0');
const AV1: Wanted = (codec) => named('video/av1')(codec) && /profile=0/.test(codec.sdpFmtpLine ?? 'profile=0');

/** RED first: a lost packet is made good by the next one. */
export const VOICE: readonly Wanted[] = [named('audio/red'), named('audio/opus')];
/** Its redundancy is made by the server, for each listener. */
export const LOW_VOICE: readonly Wanted[] = [named('audio/opus')];
/** One codec each: the server prefers VP8 to others that are offered beside it. */
export const CAMERA: Readonly<Record<CameraCodec, readonly Wanted[]>> = {
  vp8: [VP8, RTX],
  h264: [H264, RTX],
  vp9: [VP9, RTX],
  av1: [AV1, RTX],
};
export const SCREEN: readonly Wanted[] = CAMERA.vp8;
/** A slot takes whatever others send: this page mostly VP8, encoders over WHIP mostly H.264. */
export const SLOT: readonly Wanted[] = [VP8, H264, VP9, AV1, RTX];

/** The codecs of `available` that are wanted, in the order of the wishes. */
export function pickCodecs<C extends RTCRtpCodec>(available: readonly C[], wishes: readonly Wanted[]): C[] {
  return wishes.flatMap((wish) => {
    const found = available.find(wish);
    return found ? [found] : [];
  });
}

/** Only what a browser can decode too, it lets a page prefer. */
export function canEncode(codec: CameraCodec): boolean {
  const wanted = CAMERA[codec][0]!;
  return [RTCRtpSender, RTCRtpReceiver].every((end) => end.getCapabilities('video')?.codecs.some(wanted));
}

export function preferCodecs(transceiver: RTCRtpTransceiver, kind: 'audio' | 'video', wishes: readonly Wanted[]): void {
  const codecs = pickCodecs(RTCRtpReceiver.getCapabilities(kind)?.codecs ?? [], wishes);
  if (codecs.length === 0) return;
  try {
    transceiver.setCodecPreferences(codecs);
  } catch {
    // A browser that cannot: the offer is longer, that is all.
  }
}

const MID = 'urn:ietf:params:rtp-hdrext:sdes:mid';
const RID = 'urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id';
const REPAIRED_RID = 'urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id';
const AUDIO_LEVEL = 'urn:ietf:params:rtp-hdrext:ssrc-audio-level';
const ORIENTATION = 'urn:3gpp:video-orientation';
const TRANSPORT_CC = 'http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01';
const DEPENDENCY_DESCRIPTOR = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

export const VOICE_EXTENSIONS: readonly string[] = [MID, TRANSPORT_CC, AUDIO_LEVEL];
export const CAMERA_EXTENSIONS: readonly string[] = [MID, RID, REPAIRED_RID, TRANSPORT_CC, ORIENTATION];
/** A picture with layers in it tells of them in the dependency descriptor. */
export const SVC_EXTENSIONS: readonly string[] = [MID, TRANSPORT_CC, ORIENTATION, DEPENDENCY_DESCRIPTOR];
export const SLOT_EXTENSIONS: readonly string[] = SVC_EXTENSIONS;

interface HeaderExtension {
  uri: string;
  direction: RTCRtpTransceiverDirection;
}

/** Of "RTP Header Extension Control" (W3C), not in lib.dom yet. */
interface ExtensionControl {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: HeaderExtension[]): void;
}

export function keepExtensions(transceiver: RTCRtpTransceiver, uris: readonly string[]): void {
  const control = transceiver as ExtensionControl;
  const extensions = control.getHeaderExtensionsToNegotiate?.();
  if (!extensions) return;
  for (const extension of extensions) {
    if (!uris.includes(extension.uri)) extension.direction = 'stopped';
  }
  try {
    control.setHeaderExtensionsToNegotiate?.(extensions);
  } catch {
    // Some extensions may be mandatory for the browser: a longer offer will do.
  }
}
