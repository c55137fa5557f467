import { batch, effect, signal } from '@preact/signals';
import { MediaConnection } from '../media/connection.ts';
import { IceWatch } from '../media/ice_watch.ts';
import { ListeningBuffer } from '../media/jitter.ts';
import type { LocalMedia } from '../media/local.ts';
import { Playback } from '../media/playback.ts';
import { Presenter } from '../media/presenter.ts';
import type { LinkStats } from '../media/quality.ts';
import { Silence } from '../media/silence.ts';
import { answered, joinMeeting, putStill, still } from '../net/api.ts';
import type { Upload } from '../media/demand.ts';
import { UploadGuard, type UploadStats } from '../media/upload.ts';
import { backoff } from '../net/backoff.ts';
import { Failure, failureCode, type FailureCode, failureOf } from '../net/failure.ts';
import type { ChatLine, EndReason, JoinedMeeting, ServerMessage, WsError } from '../protocol/index.ts';
import { SignalingSocket } from '../net/socket.ts';
import { Album } from './album.ts';
import { apply, enter, gapBefore, ownTrack, type Room, sends, stillsOf, trackOf } from './model.ts';
import { notePresence } from './memory.ts';
import { isReady, MOVE_TIMEOUT_MS, Moves } from './move.ts';
import { Negotiation } from './negotiation.ts';
import { Reply } from './reply.ts';
import { Slots } from './slots.ts';
import { keyOf, type Wanted } from './viewport.ts';

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
  | { kind: 'failure'; code: FailureCode; retryAfter?: number | undefined };

/** The server is not waited for longer than this when it names a time. */
const LONGEST_WAIT_S = 30;

/** What a WebSocket may take to answer where there is reason to doubt it. */
const PROBE_MS = 3_000;

/** The connection before is kept for so long after a move, until the first pictures of the new one are shown. */
const OVERLAP_MS = 400;
const LOOK_EVERY_MS = 20;

/** Failures after which it is worth trying again. */
const PASSING: readonly FailureCode[] = ['network', 'unavailable', 'rate_limited', 'internal'];

/**
 * One stay in a meeting, from the click on "join" to its end: orders the WebSocket, the
 * RTCPeerConnection and the room's state, and brings them back when the network fails. It joins by
 * POST, after which media flows, and is from then on a session that waits for its WebSocket.
 */
export class Session {
  readonly phase = signal<Phase>('joining');
  readonly ending = signal<Ending | null>(null);
  readonly room = signal<Room | null>(null);
  readonly connection = signal<MediaConnection>(null!);
  readonly playback = signal<Playback | null>(null);
  /** Whether media flows; `null` before it ever has. */
  readonly mediaUp = signal<boolean | null>(null);
  readonly slots = new Slots(
    () => this.connection.peek().videoSlots.map((slot) => slot.transceiver.mid ?? ''),
    (slots, mode) => {
      if (!this.#socket) return false;
      this.#socket.send({ type: 'viewport', slots, mode });
      return true;
    },
  );
  /** Sound and pictures in both directions since one joined. */
  readonly bytes = signal(0);
  readonly screen = signal<MediaStream | null>(null);
  /** How much of the own pictures the way to the server carries. */
  readonly upload = signal<Upload>('all');
  /** Stills of pictures that this side's link does not carry. */
  readonly album = new Album((track, signal) => still(this.#meeting(), track, this.#secret ?? '', signal));
  readonly notice = signal<Notice | null>(null);
  /** Whether there may be chat from before what is here. */
  readonly earlierChat = signal(true);
  joinedAt = 0;

  readonly #entry: Entry;
  readonly #local: LocalMedia;
  #token: string | undefined;
  #offered: Promise<string>;
  /** The one that carries the session. */
  #socket: SignalingSocket | undefined;
  /** One that is to carry it. */
  #opening: Promise<SignalingSocket | undefined> | undefined;
  #secret: string | undefined;
  readonly #resuming = new Reply<void>();
  /** Of media, since the WebSocket was lost. */
  #silence: Silence | undefined;
  #negotiation: Negotiation | undefined;
  #ice: IceWatch | undefined;
  readonly #buffer = new ListeningBuffer();
  readonly #presenter = new Presenter((track, image) => putStill(this.#meeting(), track, this.#secret ?? '', image));
  readonly #moves = new Moves();
  /** The connection that is to be used next. */
  readonly #twin = signal<MediaConnection | null>(null);
  #moving: AbortController | undefined;
  #connecting = false;
  #guard = new UploadGuard();
  #hurry: (() => void) | undefined;
  #disposers: (() => void)[] = [];

  /** `connection`, `offered` and `token` may have been prepared before the click. */
  constructor(entry: Entry, local: LocalMedia, connection: MediaConnection, offered: Promise<string>, token?: string) {
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
      effect(() => {
        const room = this.room.value;
        const speaks = room?.speakers.speaking.includes(room.self) ?? false;
        this.#buffer.setMicrophone(performance.now(), this.#muted().microphone, speaks);
        this.connection.peek().setBuffer(this.#buffer.target);
      }),
      effect(() => this.playback.value?.setSpeaker(local.speaker.value)),
      effect(() => this.#obey()),
      effect(() => this.#presenter.set(this.#presented())),
      effect(() => this.album.set(this.room.value ? stillsOf(this.room.value) : new Map())),
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
    void this.#connect();
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
    const connection = this.connection.value;
    const sdp = await this.#offered;
    this.#opening ??= answered.then(() => this.#open()).catch(() => undefined);
    const who = this.#token ? { token: this.#token } : passcode ? { name, passcode } : { name };
    let joined: JoinedMeeting;
    try {
      joined = await joinMeeting(code, { ...who, sdp, tracks: connection.declarations(this.#muted()), slots: [] });
    } catch (error) {
      // The same token says that one comes back, unless it is what is wrong.
      if (failureCode(error) !== 'network') this.#token = undefined;
      throw error;
    }
    this.#token = joined.token ?? this.#token;
    this.#secret = joined.session;
    notePresence(passcode ? { code, passcode } : { code });
    batch(() => {
      this.joinedAt ||= performance.now();
      const room = (this.room.value = enter(joined));
      this.slots.startAnew(() => firstGuess(room));
    });
    this.#negotiation = new Negotiation(connection, {
      isLive: () => this.#socket !== undefined,
      send: (message) => this.#socket?.send(message),
      muted: () => this.#muted(),
      views: () => this.slots.views(),
    });
    this.#watch(connection);
    await connection.accept(joined.sdp);
    this.playback.value = new Playback(
      connection.audioSlots.map((slot) => slot.stream),
      this.#local.speaker.peek(),
    );
  }

  #watch(connection: MediaConnection): void {
    this.#ice = new IceWatch(connection.pc, {
      onUp: () => this.#onMediaUp(),
      onDown: () => this.#onMediaDown(),
      onRestart: () => {
        this.#buffer.onInterruption(performance.now());
        connection.setBuffer(null);
        this.#negotiation?.offer(true).catch(console.error);
        return this.#socket !== undefined;
      },
      onHopeless: () => this.#startOver(),
    });
  }

  async #open(): Promise<SignalingSocket> {
    const socket = await SignalingSocket.open({
      onMessage: (message) => socket === this.#socket && this.#handleMessage(message),
      onLost: () => socket === this.#socket && this.#onSocketLost(),
      hasMedia: () => this.mediaUp.peek() === true,
    });
    if (this.#isOn()) return socket;
    socket.close();
    throw new Failure('network');
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
    this.slots.close();
    this.#moving?.abort();
    this.#negotiation?.close();
    for (const dispose of this.#disposers.splice(0)) dispose();
    this.#ice?.close();
    this.#socket?.close();
    void this.#opening?.then((socket) => socket?.close());
    this.playback.value?.close();
    this.#presenter.close();
    this.album.close();
    this.connection.value.close();
    for (const track of this.screen.value?.getTracks() ?? []) track.stop();
    this.#hurry?.();
  }

  // ---- messages

  #handleMessage(message: ServerMessage): void {
    this.#ice?.onNetwork();
    switch (message.type) {
      case 'resumed':
        this.#update(message);
        this.#resuming.resolve();
        return;
      case 'answer':
        if (this.#negotiation?.handleAnswer(message)) this.#update(message);
        return;
      case 'move':
        this.#handleMove(message.move, message.lost, message.within).catch(console.warn);
        return;
      case 'error':
        this.#handleError(message);
        return;
      case 'chat_lost':
        this.#socket?.send({ type: 'history' });
        return;
      case 'history':
        this.#handleHistory(message.chat);
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

  #handleHistory(chat: ChatLine[]): void {
    const before = this.room.peek()?.chat ?? [];
    this.#update({ type: 'history', chat });
    const after = this.room.peek()?.chat ?? [];
    if (chat.length === 0) {
      this.earlierChat.value = false;
      return;
    }
    // What was left out may be longer than one answer.
    const gap = gapBefore(after);
    if (gap !== undefined && gap <= chat[0]!.seq && after.length > before.length) this.#socket?.send({ type: 'history', before: gap });
  }

  #handleError({ code, message, offer, retry_after: retryAfter }: WsError): void {
    console.warn(`the server says ${code}: ${message}`);
    const failure = new Failure(code, retryAfter);
    if (offer !== undefined && this.#negotiation?.handleFailure(failure, offer)) return;
    if (this.#resuming.pending) this.#resuming.reject(failure);
    else this.notice.value = { kind: 'failure', code, retryAfter };
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
    this.#socket?.close();
    this.#socket = undefined;
    const lost = new Failure('network');
    this.#resuming.reject(lost);
    this.#moving?.abort();
    this.#negotiation?.onLost(lost);
    if (this.phase.value !== 'live') return;
    this.phase.value = 'reconnecting';
    const connection = this.connection.value;
    this.#silence = new Silence(() => connection.received());
    void this.#connect();
  }

  /** Brings the session a WebSocket, and where it is over a new session. */
  async #connect(): Promise<void> {
    if (this.#connecting) return;
    this.#connecting = true;
    for (let attempt = 0; this.#isOn(); attempt += 1) {
      let wait = 0;
      try {
        if (this.#secret === undefined) await this.#rejoin();
        if (this.#secret !== undefined) await this.#resume(this.#secret);
        // It may have ended already.
        if (this.#secret !== undefined && this.#socket) break;
      } catch (error) {
        if (!this.#isOn()) break;
        this.phase.value = 'reconnecting';
        const code = failureCode(error);
        wait = Math.min(failureOf(error).retryAfter ?? 0, LONGEST_WAIT_S) * 1_000;
        if (this.#secret !== undefined && !PASSING.includes(code)) {
          this.#secret = undefined; // the server knows us no more: come in anew, at once
          continue;
        }
        if (!PASSING.includes(code)) {
          notePresence(null);
          this.#end(code);
        }
      }
      if (this.#isOn()) await this.#pause(Math.max(backoff(attempt), wait));
    }
    this.#connecting = false;
    if (!this.#isOn()) return;
    this.phase.value = 'live';
  }

  #isOn(): boolean {
    return this.phase.value !== 'ended';
  }

  async #resume(session: string): Promise<void> {
    const opened = await this.#opening;
    this.#opening = undefined;
    const socket = opened?.isOpen ? opened : await this.#open();
    this.#socket?.close();
    this.#socket = socket;
    const resumed = this.#resuming.to(() => socket.send({ type: 'resume', session }));
    // The server takes one message after the other, so what is to be told need not wait for the answer.
    this.slots.forget();
    if (!this.#negotiation?.catchUp()) void this.#checkMedia(socket);
    await resumed;
    this.#silence = undefined;
  }

  /** Where media has stood still since the last WebSocket was lost, it is the network that has changed. */
  async #checkMedia(socket: SignalingSocket): Promise<void> {
    const ice = this.#ice;
    ice?.check();
    if (this.mediaUp.peek() === null || !(await this.#silence?.lasts())) return;
    if (this.#socket === socket && this.#ice === ice) ice?.onSilence();
  }

  // ---- to another node

  async #handleMove(move: number, lost: boolean, within: number): Promise<void> {
    const step = this.#moves.onMove(move, lost);
    if (step === 'again') this.#socket?.send({ type: 'moved', move });
    const negotiation = this.#negotiation;
    if (step !== 'begin' || !negotiation) return;
    this.#moving?.abort();
    // The dead do not answer.
    if (lost) negotiation.onLost(new Failure('network'));
    const moving = (this.#moving = new AbortController());
    let twin: MediaConnection | undefined;
    const own = this.#ownTracks();
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise((resolve) => setTimeout(resolve, Math.random() * within));
      moving.signal.throwIfAborted();
      const old = this.connection.peek();
      const next = (twin = await old.twin());
      moving.signal.throwIfAborted();
      this.#twin.value = next;
      timer = setTimeout(() => moving.abort(), MOVE_TIMEOUT_MS);
      const ready = async () => {
        await flows(old, next, lost, moving.signal);
        // Shared or ended meanwhile: the offer about it waits for the move.
        await next.setScreen(this.screen.peek());
      };
      await negotiation.move(move, next, ready, moving.signal);
      this.#moves.onDone(move);
      await this.#switchTo(next, move, lost);
    } catch (error) {
      if (this.connection.peek() === twin) throw error;
      twin?.close();
      if (this.#twin.peek() === twin) this.#twin.value = null;
      // A later move has its own.
      if (this.#moving !== moving) return;
      this.#moves.onGivenUp();
      negotiation.catchUp();
      const room = this.room.peek();
      if (room && own !== this.#ownTracks()) this.#update({ type: 'tracks', participant: room.self, tracks: own });
      console.warn('a move failed', error);
    } finally {
      clearTimeout(timer);
    }
  }

  #ownTracks() {
    const room = this.room.peek();
    return room?.participants.find(({ id }) => id === room.self)?.tracks ?? [];
  }

  async #switchTo(next: MediaConnection, move: number, lost: boolean): Promise<void> {
    const old = this.connection.peek();
    this.#ice?.close();
    batch(() => {
      this.playback.value = new Playback(
        next.audioSlots.map((slot) => slot.stream),
        this.#local.speaker.peek(),
        this.playback.peek() ?? undefined,
      );
      this.connection.value = next;
      this.#twin.value = null;
    });
    next.setBuffer(this.#buffer.target);
    this.#watch(next);
    this.#ice?.check();
    this.#negotiation?.catchUp();
    if (!lost) await new Promise((resolve) => setTimeout(resolve, OVERLAP_MS));
    this.#socket?.send({ type: 'moved', move });
    old.close();
  }

  async #rejoin(): Promise<void> {
    this.#moving?.abort();
    this.#ice?.close();
    this.#negotiation?.close();
    this.playback.value?.close();
    this.connection.value.close();
    const { videoSlots, cameraEncoding } = this.connection.value;
    const connection = new MediaConnection(videoSlots.length, cameraEncoding);
    await connection.setScreen(this.screen.value);
    batch(() => {
      this.connection.value = connection;
      this.mediaUp.value = null;
      this.#offered = connection.offer();
    });
    await this.#enter();
  }

  /** What comes after silence is the first sign that the network is there again. */
  #onMediaUp(): void {
    if (this.mediaUp.peek() === false) {
      this.#hurry?.();
      this.#socket?.probe(PROBE_MS);
    }
    this.mediaUp.value = true;
  }

  /** An answer shows that the network is there, and with it that the path of media is not. */
  #onMediaDown(): void {
    if (this.mediaUp.peek()) this.#socket?.probe();
    this.mediaUp.value = false;
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
    this.#socket?.probe(PROBE_MS);
    this.#ice?.check();
  };

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

  /** Sends what others can use, and no more. */
  #obey(): void {
    const room = this.room.value;
    const connection = this.#twin.value ?? this.connection.value;
    if (!room) return;
    const wantedOf = (source: 'microphone' | 'camera' | 'screen') => {
      const track = ownTrack(room, source);
      return track && room.wanted.get(track.id);
    };
    for (const source of ['camera', 'screen'] as const) connection.limit(source, wantedOf(source)?.layers, this.upload.value);
    connection.setThriftyVoice(this.upload.value === 'none');
    this.#sendLowVoice(connection, wantedOf('microphone')?.low_voice ?? false).catch(console.error);
  }

  async #sendLowVoice(connection: MediaConnection, on: boolean): Promise<void> {
    if (!(await connection.setLowVoice(on))) return;
    try {
      await this.#negotiation?.offer(false);
    } catch (error) {
      connection.dropLowVoice();
      throw error;
    }
  }

  async shareScreen(stream: MediaStream): Promise<void> {
    const video = stream.getVideoTracks()[0];
    if (!video) return;
    video.contentHint = 'detail';
    for (const audio of stream.getAudioTracks()) audio.contentHint = 'music';
    video.onended = () => void this.stopScreen(); // the browser's own "stop sharing"
    this.screen.value = stream;
    try {
      await this.connection.value.setScreen(stream);
      await this.#negotiation?.offer(false);
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
    await this.#negotiation?.offer(false);
  }

  /** Asks for chat from before what is here. */
  askEarlierChat(): void {
    const first = this.room.peek()?.chat[0]?.seq;
    this.#socket?.send(first === undefined ? { type: 'history' } : { type: 'history', before: first });
  }

  sendChat(text: string): void {
    this.#socket?.send({ type: 'chat', text });
  }

  #meeting(): string {
    return this.room.peek()?.meeting.id ?? '';
  }

  /** What is shown on the tracks of which stills are wanted. */
  #presented(): Map<number, MediaStreamTrack> {
    const room = this.room.value;
    if (!room) return new Map();
    const tracks = { screen: this.screen.value?.getVideoTracks()[0], camera: this.#local.camera.track.value };
    const presented = new Map<number, MediaStreamTrack>();
    for (const source of ['screen', 'camera'] as const) {
      const [own, track] = [ownTrack(room, source), tracks[source]];
      if (own && track && room.stillsWanted.has(own.id)) presented.set(own.id, track);
    }
    return presented;
  }

  // ---- what is shown

  /** The link as it was in the last seconds. */
  onLink(link: LinkStats): void {
    this.bytes.value += link.bytes;
    this.#buffer.onLink(performance.now(), link);
    this.connection.peek().setBuffer(this.#buffer.target);
  }

  /** The way to the server as it was in the last seconds. */
  onUpload(stats: UploadStats): void {
    const sendsPictures = !this.#muted().camera || this.screen.peek() !== null;
    if (!sendsPictures) this.#guard = new UploadGuard();
    this.upload.value = sendsPictures ? this.#guard.onLink(performance.now(), stats) : 'all';
  }

  /** The slot that shows this picture now, if one does. */
  slotOf(participant: string, source: 'camera' | 'screen') {
    const room = this.room.value;
    const track = trackOf(
      room?.participants.find(({ id }) => id === participant),
      source,
    );
    const mid = this.slots.assigned.value.get(keyOf({ participant, source }));
    if (!room || !track || track.muted || mid === undefined || room.slots.get(mid) !== track.id) return undefined;
    const slot = this.connection.value.videoSlot(mid);
    return slot && { mid, trackId: track.id, stream: slot.stream, receiver: slot.transceiver.receiver };
  }
}

/** Resolves once media flows over `next` as it did over `old`. */
async function flows(old: MediaConnection, next: MediaConnection, lost: boolean, signal: AbortSignal): Promise<void> {
  let connectedAt: number | undefined;
  for (;;) {
    signal.throwIfAborted();
    const { connectionState } = next.pc;
    if (connectionState === 'failed') throw new Failure('network');
    const connected = connectionState === 'connected';
    if (connected) connectedAt ??= performance.now();
    const [before, now] = [old.arrived(), next.arrived()];
    const received = now.filter(Boolean).length;
    const missing = before.filter((had, slot) => had && !now[slot]).length;
    const connectedFor = performance.now() - (connectedAt ?? performance.now());
    if (isReady({ connected, received, missing, connectedFor }, lost)) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
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
