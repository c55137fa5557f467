import { Failure } from './failure.ts';
import { compressFrame, decodeFrame, plainFrame } from './frames.ts';
import { isGivenUp } from './patience.ts';
import { type ClientMessage, type ServerMessage, SUBPROTOCOL } from '../protocol/index.ts';

export interface SocketHandlers {
  onMessage(message: ServerMessage): void;
  /** Called once, unless the page itself closed the socket. */
  onLost(): void;
  /** Whether media shows that the server can be reached. */
  hasMedia(): boolean;
}

/** How long the server may take to accept a connection. */
const OPEN_TIMEOUT_MS = 10_000;
/** A silent connection is asked for a sign of life after this time. */
const PING_EVERY_MS = 10_000;
/** While an answer is waited for, it is looked this often whether that is still worth it. */
const LOOK_EVERY_MS = 500;

/** One WebSocket to the server: keeps messages in order both ways and notices a dead connection. */
export class SignalingSocket {
  readonly #ws: WebSocket;
  readonly #handlers: SocketHandlers;
  #sending: Promise<void> = Promise.resolve();
  #receiving: Promise<void> = Promise.resolve();
  #queued = 0;
  #hasSent = false;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #over = false;

  static open(handlers: SocketHandlers): Promise<SignalingSocket> {
    const url = new URL('/api/v1/ws', location.href);
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const ws = new WebSocket(url, SUBPROTOCOL);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => ws.close(), OPEN_TIMEOUT_MS);
      ws.onopen = () => {
        clearTimeout(timer);
        resolve(new SignalingSocket(ws, handlers));
      };
      ws.onerror = ws.onclose = () => {
        clearTimeout(timer);
        reject(new Failure('network'));
      };
    });
  }

  private constructor(ws: WebSocket, handlers: SocketHandlers) {
    this.#ws = ws;
    this.#handlers = handlers;
    ws.binaryType = 'arraybuffer';
    ws.onerror = null;
    ws.onmessage = (event: MessageEvent<string | ArrayBuffer>) => this.#handleFrame(event.data);
    ws.onclose = () => {
      // What came before the end is still to be read: it may say why it ended.
      this.#receiving = this.#receiving.then(() => this.#finish(true));
    };
    this.#watch();
  }

  get isOpen(): boolean {
    return this.#ws.readyState === WebSocket.OPEN;
  }

  send(message: ClientMessage): void {
    const json = JSON.stringify(message);
    // The first one is compressed however short it is: then the server compresses too.
    const plain = this.#hasSent ? plainFrame(json) : undefined;
    this.#hasSent = true;
    if (plain !== undefined && this.#queued === 0) {
      this.#transmit(plain);
      return;
    }
    this.#queued += 1;
    this.#sending = this.#sending.then(async () => {
      const frame = plain ?? (await compressFrame(json));
      this.#queued -= 1;
      this.#transmit(frame);
    });
  }

  /** Asks for a sign of life now, for instance after the network has changed. */
  probe(patienceMs?: number): void {
    if (this.#over) return;
    const asked = performance.now();
    const look = () => {
      if (isGivenUp(performance.now() - asked, this.#handlers.hasMedia(), patienceMs)) this.#finish(true);
      else this.#timer = setTimeout(look, LOOK_EVERY_MS);
    };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(look, LOOK_EVERY_MS);
    this.send({ type: 'ping', t: Math.floor(asked) % 2 ** 32 });
  }

  close(): void {
    this.#finish(false);
  }

  #transmit(frame: string | ArrayBuffer): void {
    if (this.isOpen) this.#ws.send(frame);
  }

  #handleFrame(data: string | ArrayBuffer): void {
    this.#watch();
    this.#receiving = this.#receiving.then(async () => {
      if (this.#over) return;
      try {
        this.#handlers.onMessage((await decodeFrame(data)) as ServerMessage);
      } catch (error) {
        console.error('a frame that cannot be read', error);
      }
    });
  }

  #watch(): void {
    clearTimeout(this.#timer);
    if (!this.#over) this.#timer = setTimeout(() => this.probe(), PING_EVERY_MS);
  }

  #finish(lost: boolean): void {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#timer);
    this.#ws.close();
    if (lost) this.#handlers.onLost();
  }
}
