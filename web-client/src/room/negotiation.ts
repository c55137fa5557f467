import type { MediaConnection, Muted } from '../media/connection.ts';
import { Failure, failureCode } from '../net/failure.ts';
import type { Answer, ClientMessage, SlotView } from '../protocol/index.ts';
import { Reply } from './reply.ts';

export interface NegotiationHost {
  /** Whether a message would reach the server now. */
  isLive(): boolean;
  send(message: ClientMessage): void;
  muted(): Muted;
  views(): SlotView[];
}

/**
 * Further offers on one connection, one at a time. One that is lost with its WebSocket is made
 * again when the session is resumed.
 */
export class Negotiation {
  #connection: MediaConnection;
  readonly #host: NegotiationHost;
  readonly #reply = new Reply<Answer>();
  #queue: Promise<void> = Promise.resolve();
  #offers = 0;
  /** Wanted, but not answered; whether with an ICE restart. */
  #missed: { iceRestart: boolean } | undefined;
  #closed = false;

  constructor(connection: MediaConnection, host: NegotiationHost) {
    this.#connection = connection;
    this.#host = host;
  }

  /** Rejects if the server refuses the offer; being cut off is no refusal. */
  offer(iceRestart: boolean): Promise<void> {
    const run = this.#queue.then(() => this.#offer(iceRestart));
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /**
   * Offers `twin` as the connection of a move, and goes on with it once `flows` resolves. Other offers wait, and are then made on
   * the connection that is used. Rejects if nothing comes of it; `signal` gives it up.
   */
  move(move: number, twin: MediaConnection, flows: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const run = this.#queue.then(() => this.#move(move, twin, flows, signal));
    this.#queue = run.catch(() => undefined);
    return run;
  }

  async #move(move: number, twin: MediaConnection, flows: () => Promise<void>, signal: AbortSignal): Promise<void> {
    const giveUp = () => this.#reply.reject(new Failure('network'));
    signal.throwIfAborted();
    const sdp = await twin.offer();
    signal.throwIfAborted();
    if (this.#closed || !this.#host.isLive()) throw new Failure('network');
    signal.addEventListener('abort', giveUp);
    try {
      const id = (this.#offers += 1);
      const tracks = twin.declarations(this.#host.muted());
      const answer = await this.#reply.to(() =>
        this.#host.send({ type: 'offer', id, sdp, tracks, slots: this.#host.views(), move }),
      );
      signal.throwIfAborted();
      await twin.accept(answer.sdp);
      await flows();
      signal.throwIfAborted();
      this.#connection = twin;
      // Whatever path the old connection lacked.
      if (this.#missed) this.#missed = { iceRestart: false };
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  }

  /** The session is resumed. Returns whether there was an offer to make again. */
  catchUp(): boolean {
    if (!this.#missed) return false;
    this.offer(this.#missed.iceRestart).catch(console.error);
    return true;
  }

  handleAnswer(answer: Answer): boolean {
    if (!this.#reply.pending || answer.id !== this.#offers) return false;
    this.#reply.resolve(answer);
    return true;
  }

  handleFailure(failure: Failure, offer: number): boolean {
    if (!this.#reply.pending || offer !== this.#offers) return false;
    this.#reply.reject(failure);
    return true;
  }

  onLost(failure: Failure): void {
    this.#reply.reject(failure);
  }

  close(): void {
    this.#closed = true;
  }

  async #offer(iceRestart: boolean): Promise<void> {
    if (this.#closed) return;
    const restart = iceRestart || (this.#missed?.iceRestart ?? false);
    this.#missed = { iceRestart: restart };
    if (!this.#host.isLive()) return;
    const connection = this.#connection;
    const sdp = await connection.offer(restart);
    const id = (this.#offers += 1);
    try {
      const answer = await this.#reply.to(() =>
        this.#host.send({
          type: 'offer',
          id,
          sdp,
          tracks: connection.declarations(this.#host.muted()),
          slots: this.#host.views(),
        }),
      );
      this.#missed = undefined;
      await connection.accept(answer.sdp);
    } catch (error) {
      if (this.#closed || failureCode(error) === 'network') return;
      this.#missed = undefined;
      await connection.rollBack();
      throw error;
    }
  }
}
