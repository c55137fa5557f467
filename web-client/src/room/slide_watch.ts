/** When a still picture of what one shows is worth sending. Plain numbers in and out. */

/** Of a frame's 96 by 54 grey values this share must differ for another slide … */
const SLIDE = 0.02;
/** … and by this much, of 255, each: noise of a camera stays below. */
const DIFFERENCE = 12;
/** A slide that moves in is waited for until it stands still, but no longer than this. */
const PATIENCE_MS = 4_000;
/** Stills are at least so far apart … */
const SOONEST_MS = 5_000;
/** … and what changes a little, as text that is typed, goes after this. */
const LATEST_MS = 15_000;

/** Looks at frames, about one a second, and says which to send. */
export class SlideWatch {
  #sent: Uint8Array | undefined;
  #sentAt = -Infinity;
  #before: Uint8Array | undefined;
  #changedAt: number | undefined;

  /** `grey`: a frame, small; `now` in milliseconds. */
  isDue(now: number, grey: Uint8Array): boolean {
    const moves = this.#before !== undefined && differing(grey, this.#before) >= SLIDE;
    this.#before = grey;
    const changed = this.#sent ? differing(grey, this.#sent) : 1;
    if (changed === 0) this.#changedAt = undefined;
    else this.#changedAt ??= now;
    if (this.#changedAt === undefined || now - this.#sentAt < SOONEST_MS) return false;
    if (changed >= SLIDE) return !moves || now - this.#changedAt >= PATIENCE_MS;
    return now - this.#sentAt >= LATEST_MS;
  }

  /** That frame goes out. */
  onSent(now: number, grey: Uint8Array): void {
    this.#sent = grey;
    this.#sentAt = now;
    this.#changedAt = undefined;
  }

  /** What was sent did not arrive. */
  onLost(): void {
    this.#sent = undefined;
  }
}

/** Share of the values that differ, 0 to 1. */
function differing(a: Uint8Array, b: Uint8Array): number {
  if (a.length !== b.length) return 1;
  let count = 0;
  for (let index = 0; index < a.length; index += 1) {
    if (Math.abs(a[index]! - b[index]!) > DIFFERENCE) count += 1;
  }
  return count / Math.max(1, a.length);
}
