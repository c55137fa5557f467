export interface IceHandlers {
  onUp(): void;
  onDown(): void;
  /**
   * Media is away long enough that new ICE credentials and a new path are worth an offer.
   * Returns whether the offer could go out now.
   */
  onRestart(): boolean;
  /** Restarts have not helped. */
  onHopeless(): void;
}

/** As long as nothing says that the network is there, a path that was good is as likely to come back as another. */
const OUTAGE_MS = 7_000;
/** Where it is there, a browser's checks have come through in this time if the path is good. */
const PATIENCE_MS = 500;
/** Over a link that loses a fifth so many checks in a row are lost now and then; until then nobody need be told. */
const TELL_AFTER_MS = 1_000;
/** What a restart may take before the next step. */
const RESTART_TIMEOUT_MS = 7_000;
const RESTARTS = 3;

/** Watches the connection of one RTCPeerConnection and says when to restart ICE. */
export class IceWatch {
  readonly #pc: RTCPeerConnection;
  readonly #handlers: IceHandlers;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #telling: ReturnType<typeof setTimeout> | undefined;
  #restarts = 0;
  #isHurried = false;

  constructor(pc: RTCPeerConnection, handlers: IceHandlers) {
    this.#pc = pc;
    this.#handlers = handlers;
    pc.onconnectionstatechange = pc.oniceconnectionstatechange = () => this.check();
    this.#wait(RESTART_TIMEOUT_MS);
  }

  check(): void {
    const { connectionState, iceConnectionState } = this.#pc;
    if (connectionState === 'connected') {
      clearTimeout(this.#timer);
      clearTimeout(this.#telling);
      this.#timer = this.#telling = undefined;
      this.#restarts = 0;
      this.#isHurried = false;
      this.#handlers.onUp();
    } else if (iceConnectionState === 'failed') {
      this.#handlers.onDown();
      this.#restart();
    } else if (iceConnectionState === 'disconnected') {
      this.#telling ??= setTimeout(() => this.#handlers.onDown(), TELL_AFTER_MS);
      if (this.#timer === undefined) this.#wait(OUTAGE_MS);
    } else if (connectionState === 'failed') {
      this.#handlers.onHopeless(); // DTLS has failed: no path will help
    }
  }

  /** Nothing comes any more, as when the network has changed, whatever the browser still believes. */
  onSilence(): void {
    this.#restart();
  }

  /** The server can be reached, by whatever way. */
  onNetwork(): void {
    if (this.#pc.iceConnectionState !== 'disconnected' || this.#restarts > 0 || this.#isHurried) return;
    this.#isHurried = true;
    this.#wait(PATIENCE_MS);
  }

  close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#telling);
    this.#pc.onconnectionstatechange = this.#pc.oniceconnectionstatechange = null;
  }

  #wait(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#onTimeout(), ms);
  }

  #onTimeout(): void {
    this.#timer = undefined;
    if (this.#pc.connectionState === 'connected') this.check();
    else this.#restart();
  }

  #restart(): void {
    if (this.#restarts >= RESTARTS) {
      this.close();
      this.#handlers.onHopeless();
      return;
    }
    this.#wait(RESTART_TIMEOUT_MS);
    if (this.#handlers.onRestart()) this.#restarts += 1;
  }
}
