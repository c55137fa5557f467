import type { LinkStats } from './quality.ts';

/** Who only listens loses nothing by hearing later, until an answer may be due. */
const MUTED_FOR_MS = 5_000;
/** Who has not muted may want to say something. */
const SILENT_FOR_MS = 30_000;
/** Below both a link carries voices well with the browser's own, shorter buffer. */
const WEAK_LOSS = 0.02;
const WEAK_RTT_MS = 400;
/** A link that was weak stays so for this long: a buffer that changes often is heard. */
const STAYS_WEAK_MS = 20_000;
/** Waits for one retransmission or a redundant copy at least; later than this a listener falls behind the chat. */
const SHORTEST_MS = 600;
const LONGEST_MS = 1_500;
/** Each percent of loss makes a second retransmission of the same packet likelier. */
const MS_PER_LOSS = 4_000;
/** Steps smaller than this are not worth a change. */
const STEP_MS = 100;

/**
 * How long receivers hold what came before they play it, while one's own microphone is silent: over a weak
 * link there is time then to send lost packets again. `null` leaves it to the browser.
 */
export class ListeningBuffer {
  /** Since when nothing is said, and how long that is to last before it counts. */
  #silentSince: number | undefined;
  #patience = SILENT_FOR_MS;
  #weakUntil = 0;
  #target: number | null = null;

  get target(): number | null {
    return this.#target;
  }

  /** What the own microphone does. Answers must not come late, so speech and unmuting end the buffer at once. */
  setMicrophone(now: number, muted: boolean, speaks: boolean): void {
    const patience = muted ? MUTED_FOR_MS : SILENT_FOR_MS;
    if (patience > this.#patience || (!muted && speaks)) {
      this.#silentSince = undefined;
      this.#target = null;
    }
    this.#patience = patience;
    if (muted || !speaks) this.#silentSince ??= now;
  }

  /**
   * Nothing comes, and the path is to be another one. Chromium waits after a gap until half of its buffer is filled: who has
   * waited for long enough already is spared that.
   */
  onInterruption(now: number): void {
    this.#target = null;
    if (this.#silentSince !== undefined) this.#silentSince = now;
  }

  onLink(now: number, { lossIn, rttMs = 0 }: Pick<LinkStats, 'lossIn' | 'rttMs'>): void {
    const weak = lossIn > WEAK_LOSS || rttMs > WEAK_RTT_MS;
    if (weak) this.#weakUntil = now + STAYS_WEAK_MS;
    if (this.#silentSince === undefined || now - this.#silentSince < this.#patience || now >= this.#weakUntil) {
      this.#target = null;
    } else if (weak) {
      const asked = Math.max(SHORTEST_MS, 1.5 * rttMs + MS_PER_LOSS * lossIn);
      const target = Math.min(LONGEST_MS, Math.ceil(asked / STEP_MS) * STEP_MS);
      // Longer at once, shorter only when the link is well again.
      this.#target = Math.max(target, this.#target ?? 0);
    }
  }
}

/** A picture stands still for as long as its buffer grows: so much is not seen … */
const PICTURE_STEP_MS = 100;
/** … so often. */
export const PICTURE_STEP_EVERY_MS = 500;

/** The next value of the buffer of pictures on its way to that of speech: up step by step, down at once. */
export function nextPictureBuffer(now: number | null, target: number | null): number | null {
  if (target === null) return null;
  return Math.min(target, (now ?? 0) + PICTURE_STEP_MS);
}
