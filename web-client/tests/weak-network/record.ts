/**
 * Encodes once, by Chromium's own encoders and without a hurry, what the city's participants send again and again:
 * a camera in three simulcast layers and speech. Prints nothing; what is there already is kept.
 *
 *     node --import tsx tests/weak-network/record.ts FOLDER
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { launch } from '../support/browser.ts';
import { drawScene, SCENES } from '../support/scenes.ts';
import { speechFiles } from './speech.ts';

/** As in src/media/connection.ts. */
const LAYERS = [
  { rid: 'q', width: 320, height: 180, bitrate: 150_000 },
  { rid: 'h', width: 640, height: 360, bitrate: 500_000 },
  { rid: 'f', width: 1280, height: 720, bitrate: 1_700_000 },
];
const FRAMES_PER_SECOND = 30;
/** Before the encoder's rate control has settled, nothing is kept. */
const WARM_UP_SECONDS = 2;
/** The film begins with a key frame and has another now and then: where to go on when one is asked for. */
const SCENE_SECONDS = 12;
const SCENES_OF_FILM = 3;
/** How Chromium sends a voice, and the low layer of it. */
const VOICES = [
  { name: 'voice', bitrate: 32_000, ms: 20 },
  { name: 'low', bitrate: 14_000, ms: 60 },
];
const AUDIO_CLOCK = 48_000;
const VIDEO_CLOCK = 90_000;

/** A frame as the page hands it over: its payload in base64. */
interface Frame {
  payload: string;
  /** Of video: bit 0 a key frame, above it the temporal layer. Of audio: the level in −dBov (RFC 6464). */
  note: number;
}

const folder = process.argv[2];
if (!folder) throw new Error('usage: record.ts FOLDER');
mkdirSync(folder, { recursive: true });
const speech = speechFiles(folder);
const missing = (name: string) => !existsSync(join(folder, name));

const films = LAYERS.map(({ rid }) => `camera-${rid}.frames`);
const voices = speech.flatMap((file, index) => VOICES.map((voice) => ({ ...voice, file, name: `${voice.name}-${index}.frames` })));
if ([...films, ...voices.map(({ name }) => name)].some(missing)) {
  const browser = await launch();
  const page = await browser.newPage();
  page.setDefaultTimeout(0);
  // Encoders are only for secure pages.
  await page.route('https://recorder.invalid/', (route) => route.fulfill({ body: '', contentType: 'text/html' }));
  await page.goto('https://recorder.invalid/');
  await page.evaluate(`globalThis.drawScene = ${drawScene}`);
  for (const { name, file, bitrate, ms } of voices) {
    const wav = readFileSync(file).toString('base64');
    save(name, (AUDIO_CLOCK * ms) / 1000, await page.evaluate(encodeSpeech, { wav, bitrate, ms }));
  }
  const film = await page.evaluate(encodeCamera, {
    scene: SCENES.ada,
    layers: LAYERS,
    fps: FRAMES_PER_SECOND,
    warmUp: WARM_UP_SECONDS * FRAMES_PER_SECOND,
    keyEvery: SCENE_SECONDS * FRAMES_PER_SECOND,
    frames: SCENES_OF_FILM * SCENE_SECONDS * FRAMES_PER_SECOND,
  });
  film.forEach((frames, layer) => save(films[layer]!, VIDEO_CLOCK / FRAMES_PER_SECOND, frames));
  await browser.close();
}

/** Ticks of the RTP clock a frame, then each frame with its length and its note before it. */
function save(name: string, ticks: number, frames: Frame[]): void {
  const head = Buffer.alloc(4);
  head.writeUInt32BE(ticks);
  const parts = [head];
  for (const { payload, note } of frames) {
    const bytes = Buffer.from(payload, 'base64');
    const before = Buffer.alloc(5);
    before.writeUInt32BE(bytes.length);
    before.writeUInt8(note, 4);
    parts.push(before, bytes);
  }
  const unfinished = join(folder!, `${name}.${process.pid}`);
  writeFileSync(unfinished, Buffer.concat(parts));
  renameSync(unfinished, join(folder!, name));
}

interface CameraPlan {
  scene: (typeof SCENES)['ada'];
  /** The largest last. */
  layers: { width: number; height: number; bitrate: number }[];
  fps: number;
  warmUp: number;
  keyEvery: number;
  frames: number;
}

/**
 * Runs in the page. The drawn person before a camera with the noise of a cheap one, so that layers need their bit
 * rates; the smaller layers are the largest one's picture, scaled, as libwebrtc makes them.
 */
async function encodeCamera({ scene, layers, fps, warmUp, keyEvery, frames }: CameraPlan): Promise<Frame[][]> {
  const { width, height } = layers.at(-1)!;
  const base64 = (bytes: Uint8Array) => {
    let text = '';
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return btoa(text);
  };
  const grain = Array.from({ length: 8 }, () => {
    const canvas = new OffscreenCanvas(width, height);
    const g = canvas.getContext('2d')!;
    const image = g.createImageData(width, height);
    for (let at = 0; at < image.data.length; at += 4) {
      image.data[at] = image.data[at + 1] = image.data[at + 2] = Math.random() * 255;
      image.data[at + 3] = 22;
    }
    g.putImageData(image, 0, 0);
    return canvas;
  });
  let failure: unknown;
  const encoders = layers.map((layer) => {
    const encoded: Frame[] = [];
    const canvas = new OffscreenCanvas(layer.width, layer.height);
    const encoder = new VideoEncoder({
      output(chunk, metadata) {
        const bytes = new Uint8Array(chunk.byteLength);
        chunk.copyTo(bytes);
        const temporal = (metadata as { svc?: { temporalLayerId?: number } }).svc?.temporalLayerId ?? 0;
        encoded.push({ payload: base64(bytes), note: Number(chunk.type === 'key') + 2 * temporal });
      },
      error: (error) => (failure = error),
    });
    encoder.configure({
      codec: 'vp8',
      ...layer,
      framerate: fps,
      latencyMode: 'realtime',
      bitrateMode: 'constant',
      scalabilityMode: 'L1T3',
    });
    return { encoded, encoder, canvas, g: canvas.getContext('2d')! };
  });
  for (let index = 0; index < warmUp + frames; index += 1) {
    const picture = drawScene({ scene, width, height, phase: (index / (4 * fps)) % 1 });
    const g = picture.getContext('2d')!;
    g.setTransform(1, 0, 0, 1, 0, 0);
    // The grain moves, so that no two pictures of the film are alike.
    const [dx, dy] = [(index * 37) % width, (index * 53) % height];
    for (const [x, y] of [[dx, dy], [dx - width, dy], [dx, dy - height], [dx - width, dy - height]] as const) // prettier-ignore
      g.drawImage(grain[index % grain.length]!, x, y);
    for (const { encoder, canvas, g } of encoders) {
      g.drawImage(picture, 0, 0, canvas.width, canvas.height);
      const frame = new VideoFrame(canvas, { timestamp: (index * 1e6) / fps, duration: 1e6 / fps });
      encoder.encode(frame, { keyFrame: index >= warmUp && (index - warmUp) % keyEvery === 0 });
      frame.close();
      while (encoder.encodeQueueSize > 4) await new Promise((resolve) => setTimeout(resolve, 1));
    }
    if (failure) throw failure;
  }
  for (const { encoder } of encoders) await encoder.flush();
  if (failure) throw failure;
  return encoders.map(({ encoded }) => encoded.slice(warmUp));
}

/** Runs in the page. Opus as libwebrtc sends a voice: 48 kHz, mono, without DTX. */
async function encodeSpeech({ wav, bitrate, ms }: { wav: string; bitrate: number; ms: number }): Promise<Frame[]> {
  const file = Uint8Array.from(atob(wav), (char) => char.charCodeAt(0));
  const rate = 48_000;
  const decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(file.buffer);
  const samples = decoded.getChannelData(0);
  const step = (rate * ms) / 1000;
  const frames: Frame[] = [];
  let failure: unknown;
  const encoder = new AudioEncoder({
    output(chunk) {
      const bytes = new Uint8Array(chunk.byteLength);
      chunk.copyTo(bytes);
      const at = frames.length * step;
      let sum = 0;
      for (const sample of samples.subarray(at, at + step)) sum += sample * sample;
      const level = Math.round(-10 * Math.log10(sum / step + 1e-13));
      frames.push({ payload: btoa(String.fromCharCode(...bytes)), note: Math.min(127, Math.max(0, level)) });
    },
    error: (error) => (failure = error),
  });
  encoder.configure({
    codec: 'opus',
    sampleRate: rate,
    numberOfChannels: 1,
    bitrate,
    opus: { frameDuration: ms * 1000, application: 'voip', signal: 'voice' },
  } as AudioEncoderConfig);
  for (let at = 0; at + step <= samples.length; at += step) {
    const data = samples.slice(at, at + step);
    const timestamp = (at * 1e6) / rate;
    const audio = new AudioData({ format: 'f32', sampleRate: rate, numberOfFrames: step, numberOfChannels: 1, timestamp, data });
    encoder.encode(audio);
    audio.close();
  }
  await encoder.flush();
  if (failure) throw failure;
  return frames;
}
