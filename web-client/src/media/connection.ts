import type { CameraEncoding, TrackDeclaration, WantedLayer } from '../protocol/index.ts';
import { addCamera } from './camera.ts';
import {
  CAMERA_EXTENSIONS,
  keepExtensions,
  LOW_VOICE,
  preferCodecs,
  SCREEN,
  SLOT,
  SLOT_EXTENSIONS,
  VOICE,
  VOICE_EXTENSIONS,
} from './codecs.ts';
import { nextPictureBuffer, PICTURE_STEP_EVERY_MS } from './jitter.ts';
import { Limiter, type OwnLayer, type Upload } from './demand.ts';
import { trimOffer, tuneAnswer } from './sdp.ts';

/** The server forwards the loudest few; more voices at once nobody understands. */
const AUDIO_SLOTS = 4;

const SCREEN_ENCODING = { maxBitrate: 2_500_000, maxFramerate: 15 };

/** A voice as browsers send it, and one that its way to the server carries twice, as RED has it, where little is carried. */
const VOICE_LAYERS: OwnLayer[] = [{ rid: '', maxBitrate: 32_000 }];
const THRIFTY_VOICE: WantedLayer[] = [{ rid: '', max_bitrate: 20_000 }];

/** Sound goes before one's own pictures. */
const FIRST: RTCRtpEncodingParameters = { priority: 'high', networkPriority: 'high' };

/** What is published besides the sections themselves. */
export interface Muted {
  microphone: boolean;
  camera: boolean;
}

interface Slot {
  readonly transceiver: RTCRtpTransceiver;
  readonly stream: MediaStream;
}

/**
 * The one RTCPeerConnection of a session: a microphone, a camera, receive slots, and a shared
 * screen while there is one. The page always offers. Microphone and camera are offered from the
 * start and filled by `replaceTrack`, so that switching them never negotiates.
 */
export class MediaConnection {
  readonly pc = new RTCPeerConnection({ bundlePolicy: 'max-bundle' });
  readonly audioSlots: readonly Slot[];
  readonly videoSlots: readonly Slot[];
  /** The first packet of a voice. */
  readonly firstSound: Promise<unknown>;
  /** As the server wished it; the browser may do less. */
  readonly cameraEncoding: CameraEncoding;
  readonly #microphone: RTCRtpTransceiver;
  readonly #camera: RTCRtpTransceiver;
  #buffer: number | null = null;
  #pictureBuffer: number | null = null;
  #following: ReturnType<typeof setTimeout> | undefined;
  readonly #limiters: { microphone: Limiter; camera: Limiter; screen?: Limiter };
  #screen: RTCRtpTransceiver | undefined;
  #screenAudio: RTCRtpTransceiver | undefined;
  /** A second sender of the microphone, for those behind weak links. */
  #lowVoice: RTCRtpTransceiver | undefined;
  #sendsLowVoice = false;

  constructor(videoSlots: number, cameraEncoding: CameraEncoding) {
    this.cameraEncoding = cameraEncoding;
    this.#microphone = this.pc.addTransceiver('audio', { direction: 'sendonly', sendEncodings: [FIRST] });
    preferCodecs(this.#microphone, 'audio', VOICE);
    keepExtensions(this.#microphone, VOICE_EXTENSIONS);
    const camera = addCamera(this.pc, cameraEncoding);
    this.#camera = camera.transceiver;
    this.#limiters = {
      microphone: new Limiter(this.#microphone.sender, VOICE_LAYERS),
      camera: new Limiter(this.#camera.sender, camera.layers),
    };
    this.audioSlots = Array.from({ length: AUDIO_SLOTS }, () => this.#addSlot('audio'));
    this.firstSound = Promise.race(
      this.audioSlots.map(({ transceiver: { receiver } }) => new Promise((resolve) => (receiver.track.onunmute = resolve))),
    );
    this.videoSlots = Array.from({ length: videoSlots }, () => this.#addSlot('video'));
  }

  /** A second connection with all that this one sends and receives, for another node. */
  async twin(): Promise<MediaConnection> {
    const twin = new MediaConnection(this.videoSlots.length, this.cameraEncoding);
    await twin.setMicrophone(this.#microphone.sender.track);
    await twin.setCamera(this.#camera.sender.track);
    if (this.#sendsLowVoice) await twin.setLowVoice(true);
    const shared = [this.#screen, this.#screenAudio].flatMap((transceiver) => transceiver?.sender.track ?? []);
    if (shared.length > 0) await twin.setScreen(new MediaStream(shared));
    twin.#buffer = this.#buffer;
    twin.#pictureBuffer = this.#pictureBuffer;
    hold(twin.audioSlots, twin.#buffer);
    hold(twin.videoSlots, twin.#pictureBuffer);
    return twin;
  }

  /** Whether each slot has received something yet, voices first. */
  arrived(): boolean[] {
    return [...this.audioSlots, ...this.videoSlots].map(({ transceiver }) => !transceiver.receiver.track.muted);
  }

  #addSlot(kind: 'audio' | 'video'): Slot {
    const transceiver = this.pc.addTransceiver(kind, { direction: 'recvonly' });
    preferCodecs(transceiver, kind, kind === 'audio' ? VOICE : SLOT);
    keepExtensions(transceiver, kind === 'audio' ? VOICE_EXTENSIONS : SLOT_EXTENSIONS);
    return { transceiver, stream: new MediaStream([transceiver.receiver.track]) };
  }

  /** Makes a new offer the local description; what it returns is for the server. */
  async offer(iceRestart = false): Promise<string> {
    await this.pc.setLocalDescription(await this.pc.createOffer({ iceRestart }));
    return trimOffer(this.pc.localDescription?.sdp ?? '');
  }

  async accept(answer: string): Promise<void> {
    const sdp = tuneAnswer(answer, this.#microphone.mid ?? '');
    await this.pc.setRemoteDescription({ type: 'answer', sdp });
    this.#limiters.camera.apply();
    this.#limiters.screen?.apply();
  }

  /** Takes back an offer that was refused. */
  async rollBack(): Promise<void> {
    if (this.pc.signalingState === 'have-local-offer') await this.pc.setLocalDescription({ type: 'rollback' });
  }

  async setMicrophone(track: MediaStreamTrack | null): Promise<void> {
    await this.#microphone.sender.replaceTrack(track);
    await this.#fillLowVoice();
  }

  /**
   * Starts or stops to send the microphone a second time, in a few bits. Returns whether that takes an offer, as it does the
   * first time.
   */
  async setLowVoice(on: boolean): Promise<boolean> {
    if (on === this.#sendsLowVoice) return false;
    this.#sendsLowVoice = on;
    const isNew = on && !this.#lowVoice;
    if (isNew) {
      this.#lowVoice = this.pc.addTransceiver('audio', { direction: 'sendonly', sendEncodings: [FIRST] });
      preferCodecs(this.#lowVoice, 'audio', LOW_VOICE);
      keepExtensions(this.#lowVoice, VOICE_EXTENSIONS);
    }
    await this.#fillLowVoice();
    return isNew;
  }

  /** The server does not take it: it is in no further offer. */
  dropLowVoice(): void {
    this.#lowVoice?.stop();
    this.#lowVoice = undefined;
  }

  async #fillLowVoice(): Promise<void> {
    await this.#lowVoice?.sender.replaceTrack(this.#sendsLowVoice ? this.#microphone.sender.track : null);
  }

  /** What others can use of a picture (`undefined`: all, as far as is known), and what our own link carries of it. */
  limit(source: 'camera' | 'screen', wanted: readonly WantedLayer[] | undefined, upload: Upload): void {
    this.#limiters[source]?.set(wanted, upload);
  }

  async setCamera(track: MediaStreamTrack | null): Promise<void> {
    await this.#camera.sender.replaceTrack(track);
  }

  /** Starts (or with `null` stops) to send a screen; the caller offers afterwards. */
  async setScreen(stream: MediaStream | null): Promise<void> {
    const video = stream?.getVideoTracks()[0] ?? null;
    const audio = stream?.getAudioTracks()[0] ?? null;
    if (video && !this.#screen) {
      this.#screen = this.pc.addTransceiver('video', { direction: 'sendonly', sendEncodings: [SCREEN_ENCODING] });
      preferCodecs(this.#screen, 'video', SCREEN);
      keepExtensions(this.#screen, CAMERA_EXTENSIONS);
      this.#limiters.screen = new Limiter(this.#screen.sender, [{ rid: '', ...SCREEN_ENCODING }]);
    }
    if (audio && !this.#screenAudio) {
      this.#screenAudio = this.pc.addTransceiver('audio', { direction: 'sendonly' });
      preferCodecs(this.#screenAudio, 'audio', VOICE);
      keepExtensions(this.#screenAudio, VOICE_EXTENSIONS);
    }
    await fill(this.#screen, video);
    await fill(this.#screenAudio, audio);
  }

  /** The sections of the current offer that send. */
  declarations(muted: Muted): TrackDeclaration[] {
    const sections: [RTCRtpTransceiver | undefined, TrackDeclaration['source'], boolean][] = [
      [this.#microphone, 'microphone', muted.microphone],
      [this.#lowVoice, 'microphone_low', muted.microphone],
      [this.#camera, 'camera', muted.camera],
      [this.#screen, 'screen', false],
      [this.#screenAudio, 'screen_audio', false],
    ];
    return sections.flatMap(([transceiver, source, muted]) =>
      transceiver?.mid && transceiver.direction === 'sendonly' ? [{ mid: transceiver.mid, source, muted }] : [],
    );
  }

  videoSlot(mid: string): Slot | undefined {
    return this.videoSlots.find((slot) => slot.transceiver.mid === mid);
  }

  /** How long receivers hold what came before it is played; `null`: as the browser thinks. Pictures follow bit by bit. */
  setBuffer(ms: number | null): void {
    if (ms === this.#buffer) return;
    this.#buffer = ms;
    hold(this.audioSlots, ms);
    this.#followBuffer();
  }

  #followBuffer(): void {
    clearTimeout(this.#following);
    this.#pictureBuffer = nextPictureBuffer(this.#pictureBuffer, this.#buffer);
    hold(this.videoSlots, this.#pictureBuffer);
    if (this.#pictureBuffer !== this.#buffer) this.#following = setTimeout(() => this.#followBuffer(), PICTURE_STEP_EVERY_MS);
  }

  /** Bytes that have come over the network so far, of whatever kind. */
  async received(): Promise<number> {
    const entries = [...(await this.pc.getStats()).values()] as { type: string; bytesReceived?: number }[];
    // Not every browser counts at both.
    const counts = entries.filter(({ type }) => type === 'transport' || type === 'candidate-pair');
    return counts.reduce((sum, { bytesReceived = 0 }) => sum + bytesReceived, 0);
  }

  /** The way to the server carries little more than the voice. */
  setThriftyVoice(on: boolean): void {
    this.#limiters.microphone.set(on ? THRIFTY_VOICE : undefined, 'all');
  }

  close(): void {
    clearTimeout(this.#following);
    this.pc.close();
  }
}

function hold(slots: readonly Slot[], ms: number | null): void {
  for (const { transceiver } of slots) {
    const { receiver } = transceiver;
    if ('jitterBufferTarget' in receiver && receiver.jitterBufferTarget !== ms) receiver.jitterBufferTarget = ms;
  }
}

async function fill(transceiver: RTCRtpTransceiver | undefined, track: MediaStreamTrack | null): Promise<void> {
  if (!transceiver) return;
  transceiver.direction = track ? 'sendonly' : 'inactive';
  await transceiver.sender.replaceTrack(track);
}
