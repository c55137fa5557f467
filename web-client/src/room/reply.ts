import { Failure } from '../net/failure.ts';

/** The server has this long to answer; a lost WebSocket is noticed by itself, and sooner. */
const REPLY_TIMEOUT_MS = 15_000;

/** One question to the server whose answer is still to come. */
export class Reply<T> {
  #waiting: { resolve(value: T): void; reject(failure: Failure): void } | undefined;

  /** Calls `ask` and waits for [resolve] or [reject]. */
  async to(ask: () => void): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#waiting = { resolve, reject };
        timer = setTimeout(() => reject(new Failure('network')), REPLY_TIMEOUT_MS);
        ask();
      });
    } finally {
      clearTimeout(timer);
      this.#waiting = undefined;
    }
  }

  get pending(): boolean {
    return this.#waiting !== undefined;
  }

  resolve(value: T): void {
    this.#waiting?.resolve(value);
  }

  reject(failure: Failure): void {
    this.#waiting?.reject(failure);
  }
}
