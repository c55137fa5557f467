import type { Upload } from './demand.ts';

/** What is known of the way to the server. */
export interface UploadStats {
  /** Bits per second that the browser thinks it carries; not every browser says. */
  available: number | undefined;
  /** The browser sends less of a picture than it may, for want of bandwidth. */
  limited: boolean;
  /** Bits per second of all pictures that are to be sent, at most: others may want little of them. */
  pictures: number;
  /** Share of the voice's packets that the server reports lost, 0 to 1. */
  lossOut: number;
}

/**
 * What each step takes at least: a voice as browsers send it takes 60 to 95 kbit/s on the wire, the smallest picture 150 and
 * is of use from 30 on, the middle one 500; and an estimate of a full link is some tenths too high now and then.
 */
const LEAST: Record<Upload, number> = { all: 350_000, small: 160_000, none: 0 };
const VOICE = 95_000;
/** A voice that loses more needs all there is. */
const MUCH_LOSS = 0.15;
/** On a link of this much losses are not of our making. */
const PLENTY = 1_000_000;
/** A single look may fall on a key frame. */
const SHORT_FOR_MS = 1_500;
/** More is tried after this; an estimate says nothing of what a link carries beyond what is sent. */
const FIRST_TRY_MS = 20_000;
/** Each time that it fails the next try comes later, up to this. */
const LAST_TRY_MS = 160_000;
/** A try that held for so long has not failed. */
const HELD_MS = 30_000;

const HIGHER: Record<Upload, Upload> = { all: 'all', small: 'all', none: 'small' };

/** How much of one's own pictures the way to the server carries, so that the voice gets through. */
export class UploadGuard {
  #level: Upload = 'all';
  #shortSince: number | undefined;
  #changedAt = 0;
  #raised = false;
  #patience = FIRST_TRY_MS;

  get level(): Upload {
    return this.#level;
  }

  /** Call every few seconds while pictures are sent or held back. */
  onLink(now: number, { available = Infinity, limited, lossOut, pictures }: UploadStats): Upload {
    // An estimate that little was sent for may be as little: it is enough then.
    const asked = VOICE + pictures;
    const isShort = available < Math.min(LEAST[this.#level], asked) && (limited || lossOut > MUCH_LOSS);
    const loses = lossOut > MUCH_LOSS && available < PLENTY;
    const held = now - this.#changedAt;
    if (this.#raised && held >= HELD_MS) {
      this.#raised = false;
      this.#patience = FIRST_TRY_MS;
    }
    if ((isShort || loses) && this.#level !== 'none') {
      this.#shortSince ??= now;
      if (now - this.#shortSince >= SHORT_FOR_MS) {
        if (this.#raised) this.#patience = Math.min(2 * this.#patience, LAST_TRY_MS);
        this.#set(now, this.#level === 'small' || available < LEAST.small ? 'none' : 'small', false);
      }
    } else {
      this.#shortSince = undefined;
      if (this.#level !== 'all' && held >= this.#patience && !loses) this.#set(now, HIGHER[this.#level], true);
    }
    return this.#level;
  }

  #set(now: number, level: Upload, raised: boolean): void {
    this.#level = level;
    this.#changedAt = now;
    this.#raised = raised;
    this.#shortSince = undefined;
  }
}
