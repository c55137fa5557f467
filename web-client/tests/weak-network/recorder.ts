import { closeSync, openSync, writeSync } from 'node:fs';

export const RATE = 16_000;

declare const hear: (samples: string) => void;

/** Runs in the page: hands on what the audio slots of a connection play, mixed, as 16-bit samples in base64. */
export function listen(rate: number): void {
  const context = new AudioContext({ sampleRate: rate });
  // A worklet would need a file of the page's own.
  const tap = context.createScriptProcessor(4096, 1, 1);
  tap.onaudioprocess = ({ inputBuffer }) => {
    const samples = Int16Array.from(inputBuffer.getChannelData(0), (sample) => Math.max(-1, Math.min(1, sample)) * 0x7fff);
    hear(btoa(String.fromCharCode(...new Uint8Array(samples.buffer))));
  };
  tap.connect(context.destination);
  const known = new WeakSet<MediaStreamTrack>();
  globalThis.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      this.addEventListener('track', ({ track }) => {
        if (track.kind !== 'audio' || known.has(track)) return;
        known.add(track);
        context.createMediaStreamSource(new MediaStream([track])).connect(tap);
      });
    }
  };
  void context.resume();
}

/** A .wav file of one channel that grows. */
export class WavFile {
  readonly #file: number;
  #bytes = 0;

  constructor(path: string) {
    this.#file = openSync(path, 'w');
    this.#writeHead();
  }

  append(samples: string): void {
    this.#bytes += writeSync(this.#file, Buffer.from(samples, 'base64'), 0, null, 44 + this.#bytes);
  }

  close(): void {
    this.#writeHead();
    closeSync(this.#file);
  }

  #writeHead(): void {
    const head = Buffer.alloc(44);
    head.write('RIFF');
    head.writeUInt32LE(36 + this.#bytes, 4);
    head.write('WAVEfmt ', 8);
    head.writeUInt32LE(16, 16);
    head.writeUInt16LE(1, 20);
    head.writeUInt16LE(1, 22);
    head.writeUInt32LE(RATE, 24);
    head.writeUInt32LE(RATE * 2, 28);
    head.writeUInt16LE(2, 32);
    head.writeUInt16LE(16, 34);
    head.write('data', 36);
    head.writeUInt32LE(this.#bytes, 40);
    writeSync(this.#file, head, 0, 44, 0);
  }
}
