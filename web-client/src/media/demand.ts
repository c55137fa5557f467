/** What a camera or screen sends, of what it could: what others can use of it, and what our own link carries. */

import type { WantedLayer } from '../protocol/index.ts';

/** One encoding as the page would send it of its own accord; without simulcast its `rid` is empty. */
export interface OwnLayer {
  readonly rid: string;
  readonly maxBitrate: number;
  /** Where this one stream has all layers in it: which, and those that a weak link of our own carries. */
  readonly scalable?: { readonly all: Scaling; readonly small: Scaling & { readonly maxBitrate: number } };
  /**
   * Others' links do not lower its bit rate: it has a layer for each of them. With less than all sizes take, Chromium pads the
   * stream up to it, and of VP9 makes all sizes smaller.
   */
  readonly keepsBitrate?: boolean;
}

/** `scalabilityMode` is of WebRTC-SVC (W3C), not in lib.dom yet. */
export interface Scaling {
  readonly scalabilityMode: string;
  readonly scaleResolutionDownBy: number;
}

/** How much of its pictures this side's link carries. */
export type Upload = 'all' | 'small' | 'none';

/** A browser that refuses what is asked for is asked no more than that. */
const MOST_TRIES = 5;

export interface Encoding extends Partial<Scaling> {
  readonly active: boolean;
  readonly maxBitrate: number;
}

/**
 * How each of `own`, smallest first, is to be sent. `wanted`: by the server's word; all of it where that was never given.
 * A weak link carries the smallest alone, for those who wanted any.
 */
export function encodings(own: readonly OwnLayer[], wanted: readonly WantedLayer[] | undefined, upload: Upload): Encoding[] {
  return own.map(({ rid, maxBitrate, scalable, keepsBitrate }, index) => {
    const layer = wanted?.find((layer) => layer.rid === rid);
    const isWanted = wanted === undefined || layer !== undefined;
    const isCarried = upload === 'all' || (upload === 'small' && index === 0);
    const shape = { maxBitrate, ...(upload === 'small' ? scalable?.small : scalable?.all) };
    const ceiling = keepsBitrate && upload !== 'small' ? undefined : layer?.max_bitrate;
    return { ...shape, active: isWanted && isCarried, maxBitrate: Math.min(shape.maxBitrate, ceiling ?? Infinity) };
  });
}

/** Whether `sent` was made to be `target`; encodings keep all that is said of them elsewhere. */
export function adjust(sent: RTCRtpEncodingParameters[], target: readonly Encoding[]): boolean {
  let changed = false;
  sent.forEach((encoding, index) => {
    const next = target[index];
    if (!next) return;
    // What is off keeps all else: it is said anew when it comes back.
    const said: Partial<Encoding> = next.active ? next : { active: false };
    const before: Partial<Encoding> = { ...encoding, active: encoding.active ?? true };
    const differs = (Object.keys(said) as (keyof Encoding)[]).some((key) => said[key] !== before[key]);
    if (!differs) return;
    Object.assign(encoding, said);
    changed = true;
  });
  return changed;
}

/**
 * Keeps a sender to the newest word. Parameters are read, changed and set in one go; what changes meanwhile comes after it.
 */
export class Limiter {
  readonly #sender: RTCRtpSender;
  readonly #own: readonly OwnLayer[];
  #wanted: readonly WantedLayer[] | undefined;
  #upload: Upload = 'all';
  #isRunning = false;
  #isStale = false;

  constructor(sender: RTCRtpSender, own: readonly OwnLayer[]) {
    this.#sender = sender;
    this.#own = own;
  }

  set(wanted: readonly WantedLayer[] | undefined, upload: Upload): void {
    if (wanted === this.#wanted && upload === this.#upload) return;
    [this.#wanted, this.#upload] = [wanted, upload];
    this.apply();
  }

  /** Also after an answer, by which the browser wakes layers that the server does not call paused. */
  apply(): void {
    this.#isStale = true;
    if (!this.#isRunning) void this.#run();
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    while (this.#isStale) {
      this.#isStale = false;
      for (let tries = 0; tries < MOST_TRIES; tries += 1) {
        const parameters = this.#sender.getParameters();
        if (!adjust(parameters.encodings, encodings(this.#own, this.#wanted, this.#upload))) break;
        // A negotiation in between makes the parameters stale.
        await this.#sender.setParameters(parameters).catch(() => undefined);
      }
    }
    this.#isRunning = false;
  }
}
