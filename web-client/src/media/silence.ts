/** What was under way when something happened may still come within this time, and counts are that old. */
const SETTLE_MS = 100;
/** A voice sends twenty times in this time, and five times while it pauses. */
const SPAN_MS = 200;

/** Whether anything has come since this was made. */
export class Silence {
  readonly #received: () => Promise<number>;
  readonly #before: Promise<number>;
  readonly #over: Promise<void>;

  /** `received`: what has come so far. */
  constructor(received: () => Promise<number>) {
    this.#received = received;
    this.#before = pause(SETTLE_MS).then(received);
    this.#before.catch(() => undefined);
    this.#over = pause(SETTLE_MS + SPAN_MS);
  }

  /** The later it is asked, the more is it worth; it takes its time where it is asked too early. */
  async lasts(): Promise<boolean> {
    try {
      const before = await this.#before;
      await this.#over;
      return (await this.#received()) <= before;
    } catch {
      return false; // closed meanwhile
    }
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
