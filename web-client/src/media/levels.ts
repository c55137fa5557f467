/** How loud everyone is, from 0 to 1. */

/** A source counts as heard if a packet of it was played within this time. */
const FRESH_MS = 400;

/** Loudness by track id of what the audio slots play now: the CSRC of a packet is its track. */
export function heardLevels(receivers: readonly RTCRtpReceiver[]): Map<number, number> {
  const levels = new Map<number, number>();
  const now = performance.timeOrigin + performance.now();
  for (const receiver of receivers) {
    const sources = receiver.getContributingSources?.() ?? [];
    const level = receiver.getSynchronizationSources?.()[0]?.audioLevel;
    for (const { source, timestamp, audioLevel } of sources) {
      // Browsers count this timestamp from the epoch or from the start of the page.
      const age = timestamp > 1e12 ? now - timestamp : performance.now() - timestamp;
      if (age < FRESH_MS) levels.set(source, curve(audioLevel ?? level ?? 0));
    }
  }
  return levels;
}

/** Linear amplitude to what a meter shows: −50 dB is silence, −10 dB is full. */
export function curve(amplitude: number): number {
  if (amplitude <= 0) return 0;
  const decibels = 20 * Math.log10(amplitude);
  return Math.min(1, Math.max(0, (decibels + 50) / 40));
}

/** Measures one's own microphone. */
export class Meter {
  readonly #context = new AudioContext();
  readonly #analyser = this.#context.createAnalyser();
  readonly #samples: Float32Array<ArrayBuffer>;
  #source: MediaStreamAudioSourceNode | undefined;

  constructor(track: MediaStreamTrack) {
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.setTrack(track);
    void this.#context.resume();
  }

  setTrack(track: MediaStreamTrack): void {
    this.#source?.disconnect();
    this.#source = this.#context.createMediaStreamSource(new MediaStream([track]));
    this.#source.connect(this.#analyser);
  }

  level(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    return curve(Math.sqrt(sum / this.#samples.length) * 1.8);
  }

  close(): void {
    this.#source?.disconnect();
    void this.#context.close();
  }
}
