import { batch, effect, signal } from '@preact/signals';
import { MediaConnection } from '../media/connection.ts';
import { IceWatch } from '../media/ice_watch.ts';
import type { LocalMedia } from '../media/local.ts';
import { Playback } from '../media/playback.ts';
import { joinToken } from '../net/api.ts';
import { backoff } from '../net/backoff.ts';
import { Failure, failureCode, type FailureCode } from '../net/failure.ts';
import type { Answer, EndReason, Joined, ServerMessage, WsError } from '../protocol/index.ts';
import { SignalingSocket } from '../net/socket.ts';
import { apply, enter, ownTrack, type Room, sends, trackOf } from './model.ts';
import { notePresence } from './memory.ts';
import { assignSlots, slotViews, type Wanted } from './viewport.ts';

export type Phase = 'joining' | 'live' | 'reconnecting' | 'ended';
export type Ending = EndReason | FailureCode;

/** Who joins what. */
export interface Entry {
  code: string;
  name: string;
  passcode?: string;
}

/** What is told to the user in passing. */
export type Notice =
  | { kind: 'joined' | 'left'; name: string }
  | { kind: 'chat'; name: string; text: string }
  | { kind: 'failure'; code: FailureCode };

interface Waiting<T> {
  resolve(value: T): void;
  reject(error: Failure): void;
}

/** A viewport that only changes in heights, as while a window is dragged, is sent this late. */
const RESIZE_DEBOUNCE_MS = 250;

/** Failures after which it is worth trying again. */
const PASSING: readonly FailureCode[] = ['network', 'unavailable', 'rate_limited', 'internal'];

/**
 * One stay in a meeting, from the click on "join" to its end: orders the WebSocket, the
 * RTCPeerConnection and the room's state, and brings them back when the network fails.
 */
export class Session {
  readonly phase = signal<Phase>('joining');
  readonly ending = signal<Ending | null>(null);
  readonly room = signal<Room | null>(null);
  readonly connection = signal<MediaConnection>(null!);
  readonly playback = signal<Playback | null>(null);
  /** Whether media flows; `null` before it ever has. */
  readonly mediaUp = signal<boolean | null>(null);
  /** Picture to slot, as last asked for. */
  readonly assigned = signal<ReadonlyMap<string, string>>(new Map());
  readonly screen = signal<MediaStream | null>(null);
  readonly notice = signal<Notice | null>(null);
  joinedAt = 0;

  readonly #entry: Entry;
  readonly #local: LocalMedia;
  #token: Promise<string> | undefined;
  #offered: Promise<string>;
  #socket: SignalingSocket | undefined;
  #secret: string | undefined;
  #joining: Waiting<Joined> | undefined;
  #resuming: Waiting<void> | undefined;
  #offering: (Waiting<Answer> & { id: number }) | undefined;
  #offers = 0;
  #negotiation: Promise<void> = Promise.resolve();
  /** An offer got lost with its WebSocket; whether it was for an ICE restart. */
  #unanswered: { iceRestart: boolean } | undefined;
  #ice: IceWatch | undefined;
  #recovering = false;
  #hurry: (() => void) | undefined;
  #wanted: readonly Wanted[] = [];
  #hidden = false;
  #sentViews = '';
  #viewTimer: ReturnType<typeof setTimeout> | undefined;
  #disposers: (() => void)[] = [];

  /** `connection`, `offered` and `token` may have been prepared before the click. */
  constructor(entry: Entry, local: LocalMedia, connection: MediaConnection, offered: Promise<string>, token?: Promise<string>) {
    this.#entry = entry;
    this.#local = local;
    this.#token = token;
    this.#offered = offered;
    this.connection.value = connection;
    this.#disposers.push(
      effect(() => void this.connection.value.setMicrophone(local.microphone.track.value).catch(console.error)),
      effect(() => void this.connection.value.setCamera(local.camera.track.value).catch(console.error)),
      effect(() => {
        this.#muted();
        if (this.room.value) this.#syncMutes();
      }),
      effect(() => this.playback.value?.setSpeaker(local.speaker.value)),
    );
  }

  // ---- in and out

  async join(): Promise<void> {
    try {
      await this.#enter();
    } catch (error) {
      this.#close();
      throw error;
    }
    globalThis.addEventListener('online', this.#onOnline);
    this.phase.value = 'live';
  }

  /** `forGood`: by the user's wish, so a reload shall not come back. */
  leave(forGood: boolean): void {
    if (this.phase.value === 'ended') return;
    if (forGood) notePresence(null);
    this.#socket?.send({ type: 'leave' });
    this.#end('left');
  }

  async #enter(): Promise<void> {
    const { code, name, passcode } = this.#entry;
    const opening = this.#open();
    let token: string;
    try {
      token = await (this.#token ?? joinToken(code, passcode ? { name, passcode } : { name }));
    } catch (error) {
      opening.then((socket) => socket.close()).catch(() => undefined);
      throw error;
    } finally {
      this.#token = undefined; // the next time a fresh one
    }
    const [socket, sdp] = await Promise.all([opening, this.#offered]);
    const connection = this.connection.value;
    const joined = await new Promise<Joined>((resolve, reject) => {
      this.#joining = { resolve, reject };
      socket.send({ type: 'join', token, sdp, tracks: connection.declarations(this.#muted()), slots: [] });
    }).finally(() => (this.#joining = undefined));
    this.#secret = joined.session;
    notePresence(passcode ? { code, passcode } : { code });
    batch(() => {
      this.joinedAt ||= performance.now();
      this.assigned.value = new Map();
      this.room.value = enter(joined);
      this.#sentViews = '';
      if (this.#wanted.length === 0) this.#wanted = firstGuess(this.room.value);
    });
    this.#sendViewport();
    this.#ice = new IceWatch(connection.pc, {
      onUp: () => (this.mediaUp.value = true),
      onDown: () => (this.mediaUp.value = false),
      onRestart: () => {
        void this.#negotiate(true).catch(console.error);
        return this.phase.value === 'live';
      },
      onHopeless: () => this.#startOver(),
    });
    await connection.accept(joined.sdp);
    this.playback.value = new Playback(
      connection.audioSlots.map((slot) => slot.stream),
      this.#local.speaker.peek(),
    );
  }

  async #open(): Promise<SignalingSocket> {
    const socket = await SignalingSocket.open({
      onMessage: (message) => socket === this.#socket && this.#handleMessage(message),
      onLost: () => socket === this.#socket && this.#onSocketLost(),
    });
    this.#socket?.close();
    this.#socket = socket;
    if (this.phase.value === 'ended') socket.close();
    return socket;
  }

  #end(ending: Ending): void {
    this.#close();
    batch(() => {
      this.ending.value = ending;
      this.phase.value = 'ended';
    });
  }

  #close(): void {
    globalThis.removeEventListener('online', this.#onOnline);
    clearTimeout(this.#viewTimer);
    for (const dispose of this.#disposers.splice(0)) dispose();
    this.#ice?.close();
    this.#socket?.close();
    this.playback.value?.close();
    this.connection.value.close();
    for (const track of this.screen.value?.getTracks() ?? []) track.stop();
    this.#hurry?.();
  }

  // ---- messages

  #handleMessage(message: ServerMessage): void {
    switch (message.type) {
      case 'joined':
        this.#joining?.resolve(message);
        return;
      case 'resumed':
        this.#update(message);
        this.#resuming?.resolve();
        return;
      case 'answer':
        if (this.#offering?.id !== message.id) return;
        this.#update(message);
        this.#offering.resolve(message);
        return;
      case 'error':
        this.#handleError(message);
        return;
      case 'ended':
        this.#handleEnded(message.reason);
        return;
      default:
        this.#announce(message);
        this.#update(message);
    }
  }

  #update(message: ServerMessage): void {
    if (this.room.value) this.room.value = apply(this.room.value, message);
  }

  #handleError({ code, message, offer }: WsError): void {
    console.warn(`the server says ${code}: ${message}`);
    const failure = new Failure(code);
    if (offer !== undefined && this.#offering?.id === offer) this.#offering.reject(failure);
    else if (this.#joining) this.#joining.reject(failure);
    else if (this.#resuming) this.#resuming.reject(failure);
    else this.notice.value = { kind: 'failure', code };
  }

  #handleEnded(reason: EndReason): void {
    if (reason === 'media_timeout' || reason === 'server_shutdown') {
      this.#secret = undefined; // this session is over, the meeting is not
      this.#onSocketLost();
      return;
    }
    notePresence(null);
    this.#end(reason);
  }

  #announce(message: ServerMessage): void {
    const room = this.room.value;
    if (!room) return;
    if (message.type === 'chat' && message.from !== room.self) {
      this.notice.value = { kind: 'chat', name: message.name, text: message.text };
    } else if (message.type === 'roster' && room.participants.length < 20) {
      const known = new Map(room.participants.map(({ id, name }) => [id, name]));
      for (const { id, name } of message.joined ?? []) if (!known.has(id)) this.notice.value = { kind: 'joined', name };
      for (const id of message.left ?? []) {
        const name = known.get(id);
        if (name !== undefined) this.notice.value = { kind: 'left', name };
      }
    }
  }

  // ---- recovery

  #onSocketLost(): void {
    const lost = new Failure('network');
    this.#joining?.reject(lost);
    this.#resuming?.reject(lost);
    this.#offering?.reject(lost);
    if (this.phase.value === 'live') void this.#recover();
  }

  async #recover(): Promise<void> {
    if (this.#recovering) return;
    this.#recovering = true;
    this.phase.value = 'reconnecting';
    for (let attempt = 0; this.#isOn(); attempt += 1) {
      try {
        await (this.#secret === undefined ? this.#rejoin() : this.#resume(this.#secret));
        break;
      } catch (error) {
        const code = failureCode(error);
        if (this.#secret !== undefined && !PASSING.includes(code)) {
          this.#secret = undefined; // the server knows us no more: come in anew, at once
          continue;
        }
        if (!PASSING.includes(code)) {
          notePresence(null);
          this.#end(code);
        }
      }
      if (this.#isOn()) await this.#pause(backoff(attempt));
    }
    this.#recovering = false;
    if (!this.#isOn()) return;
    this.phase.value = 'live';
    if (this.#unanswered) void this.#negotiate(this.#unanswered.iceRestart);
    else this.#ice?.check();
  }

  #isOn(): boolean {
    return this.phase.value !== 'ended';
  }

  async #resume(session: string): Promise<void> {
    const socket = await this.#open();
    await new Promise<void>((resolve, reject) => {
      this.#resuming = { resolve, reject };
      socket.send({ type: 'resume', session });
    }).finally(() => (this.#resuming = undefined));
    this.#sentViews = '';
    this.#sendViewport();
  }

  async #rejoin(): Promise<void> {
    this.#ice?.close();
    this.playback.value?.close();
    this.connection.value.close();
    const connection = new MediaConnection(this.connection.value.videoSlots.length);
    await connection.setScreen(this.screen.value);
    batch(() => {
      this.connection.value = connection;
      this.mediaUp.value = null;
      this.#unanswered = undefined;
      this.#offered = connection.offer();
    });
    await this.#enter();
  }

  /** Media is beyond an ICE restart: leaves and joins again. */
  #startOver(): void {
    this.#socket?.send({ type: 'leave' });
    this.#socket?.close();
    this.#secret = undefined;
    this.#onSocketLost();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#hurry = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #onOnline = (): void => {
    this.#hurry?.();
    this.#socket?.probe(3_000);
    this.#ice?.check();
  };

  // ---- offers

  /** One offer at a time; later ones wait for the answer of the earlier. */
  #negotiate(iceRestart: boolean): Promise<void> {
    const run = this.#negotiation.then(() => this.#offer(iceRestart));
    this.#negotiation = run.catch(() => undefined);
    return run.catch((error) => {
      if (failureCode(error) !== 'network') throw error;
    });
  }

  async #offer(iceRestart: boolean): Promise<void> {
    if (this.phase.value !== 'live' || !this.#socket) {
      this.#unanswered = { iceRestart: iceRestart || (this.#unanswered?.iceRestart ?? false) };
      return;
    }
    const connection = this.connection.value;
    const sdp = await connection.offer(iceRestart);
    const id = (this.#offers += 1);
    try {
      const answer = await new Promise<Answer>((resolve, reject) => {
        this.#offering = { id, resolve, reject };
        this.#socket?.send({
          type: 'offer',
          id,
          sdp,
          tracks: connection.declarations(this.#muted()),
          slots: this.#views(),
        });
      }).finally(() => (this.#offering = undefined));
      this.#unanswered = undefined;
      await connection.accept(answer.sdp);
    } catch (error) {
      if (failureCode(error) === 'network') this.#unanswered = { iceRestart };
      else await connection.pc.setLocalDescription({ type: 'rollback' });
      throw error;
    }
  }

  // ---- what is published

  #muted(): { microphone: boolean; camera: boolean } {
    const { microphone, camera } = this.#local;
    return {
      microphone: !(microphone.on.value && microphone.track.value),
      camera: !(camera.on.value && camera.track.value),
    };
  }

  /** Tells the server what is switched off, until it and the page agree. */
  #syncMutes(): void {
    const muted = this.#muted();
    for (const source of ['microphone', 'camera'] as const) {
      const room = this.room.peek();
      const track = room && ownTrack(room, source);
      if (!room || !track || track.muted === muted[source]) continue;
      this.#socket?.send({ type: 'mute', track: track.id, muted: muted[source] });
      const tracks = room.participants.find(({ id }) => id === room.self)?.tracks ?? [];
      this.#update({
        type: 'tracks',
        participant: room.self,
        tracks: tracks.map((info) => (info.id === track.id ? { ...info, muted: muted[source] } : info)),
      });
    }
  }

  async shareScreen(stream: MediaStream): Promise<void> {
    const video = stream.getVideoTracks()[0];
    if (!video) return;
    video.contentHint = 'detail';
    video.onended = () => void this.stopScreen(); // the browser's own "stop sharing"
    this.screen.value = stream;
    try {
      await this.connection.value.setScreen(stream);
      await this.#negotiate(false);
    } catch (error) {
      this.notice.value = { kind: 'failure', code: failureCode(error) };
      for (const track of stream.getTracks()) track.stop();
      this.screen.value = null;
      await this.connection.value.setScreen(null);
    }
  }

  async stopScreen(): Promise<void> {
    if (!this.screen.value) return;
    for (const track of this.screen.value.getTracks()) track.stop();
    this.screen.value = null;
    await this.connection.value.setScreen(null);
    await this.#negotiate(false);
  }

  sendChat(text: string): void {
    this.#socket?.send({ type: 'chat', text });
  }

  // ---- what is shown

  /** The pictures on the page, most important first. */
  setWanted(wanted: readonly Wanted[]): void {
    const pictures = (list: readonly Wanted[]) => list.map((w) => w.participant + w.source).join();
    const onlyHeights = pictures(wanted) === pictures(this.#wanted);
    this.#wanted = wanted;
    clearTimeout(this.#viewTimer);
    if (onlyHeights) this.#viewTimer = setTimeout(() => this.#sendViewport(), RESIZE_DEBOUNCE_MS);
    else this.#sendViewport();
  }

  /** A hidden page keeps its slots but pauses them; voices go on. */
  setHidden(hidden: boolean): void {
    this.#hidden = hidden;
    this.#sendViewport();
  }

  #views() {
    const wanted = this.#hidden ? this.#wanted.map((picture) => ({ ...picture, height: 0 })) : this.#wanted;
    const mids = this.connection.peek().videoSlots.map((slot) => slot.transceiver.mid ?? '');
    this.assigned.value = assignSlots(wanted, mids, this.assigned.peek());
    return slotViews(wanted, mids, this.assigned.peek());
  }

  #sendViewport(): void {
    if (!this.room.peek() || !this.#socket) return;
    const slots = this.#views();
    const text = JSON.stringify(slots);
    if (text === this.#sentViews) return;
    this.#sentViews = text;
    this.#socket.send({ type: 'viewport', slots });
  }

  /** The slot that shows this picture now, if one does. */
  slotOf(participant: string, source: 'camera' | 'screen') {
    const room = this.room.value;
    const track = trackOf(
      room?.participants.find(({ id }) => id === participant),
      source,
    );
    const mid = this.assigned.value.get(`${participant} ${source}`);
    if (!room || !track || track.muted || mid === undefined || room.slots.get(mid) !== track.id) return undefined;
    const slot = this.connection.value.videoSlot(mid);
    return slot && { mid, trackId: track.id, stream: slot.stream, receiver: slot.transceiver.receiver };
  }
}

/** Before the page has laid out its tiles: everyone's camera, so that nothing waits for the layout. */
function firstGuess(room: Room): Wanted[] {
  const others = room.participants.filter((participant) => participant.id !== room.self);
  const height = others.length > 1 ? 360 : 720;
  return others.flatMap((participant) => [
    ...(sends(participant, 'screen') ? [{ participant: participant.id, source: 'screen' as const, height: 720 }] : []),
    ...(sends(participant, 'camera') ? [{ participant: participant.id, source: 'camera' as const, height }] : []),
  ]);
}
