/** The way of a session's media to another node: which of the server's requests is followed, and when the new connection is used. */

/** A move that has not come about by then is given up; the server asks again. */
export const MOVE_TIMEOUT_MS = 10_000;
/** Media that was received before is waited for no longer than this once there is a connection. */
const MEDIA_WITHIN_MS = 3_000;
/** Pictures come with a key frame, which may take longer than sound. */
const ALL_WITHIN_MS = 1_000;

/** `again`: it is done already, of which the server does not know. */
export type MoveStep = 'begin' | 'again' | 'ignore';

/** Orders the server's requests: a higher number replaces a lower one. */
export class Moves {
  #running: number | undefined;
  #done: number | undefined;
  #lost = false;

  /** `lost` hurries on what was to take its time. */
  onMove(move: number, lost: boolean): MoveStep {
    if (move === this.#done) return 'again';
    if (this.#done !== undefined && move < this.#done) return 'ignore';
    if (this.#running !== undefined && (move < this.#running || (move === this.#running && (this.#lost || !lost)))) return 'ignore';
    this.#running = move;
    this.#lost = lost;
    return 'begin';
  }

  onDone(move: number): void {
    this.#done = move;
    this.#running = undefined;
  }

  /** It has failed, or its WebSocket is lost. */
  onGivenUp(): void {
    this.#running = undefined;
  }
}

/** What of the new connection is seen; `missing`: slots that received before and do not yet. */
export interface Arrival {
  connected: boolean;
  received: number;
  missing: number;
  /** Since it was connected. */
  connectedFor: number;
}

/** Whether the new connection is to be used from now on. */
export function isReady({ connected, received, missing, connectedFor }: Arrival, lost: boolean): boolean {
  if (!connected) return false;
  if (lost || missing === 0 || connectedFor >= MEDIA_WITHIN_MS) return true;
  return received > 0 && connectedFor >= ALL_WITHIN_MS;
}
