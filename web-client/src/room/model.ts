import type {
  ChatLine,
  Joined,
  LinkQuality,
  MeetingSummary,
  Participant,
  ParticipantQuality,
  ReceiveMode,
  RoomState,
  ServerMessage,
  SlotPause,
  Speakers,
  Still,
  TrackInfo,
  TrackSource,
  WantedTrack,
} from '../protocol/index.ts';

/** The meeting as this participant sees it. Values are never changed, only replaced. */
export interface Room {
  readonly self: string;
  readonly meeting: MeetingSummary;
  /** In the order in which they came, oneself included. */
  readonly participants: readonly Participant[];
  /** What each video slot shows: section id to track id. */
  readonly slots: ReadonlyMap<string, number>;
  /** Slots that stand still because this side's link does not carry them. */
  readonly paused: ReadonlySet<string>;
  /** Slots whose track this browser cannot show: section id to track id. */
  readonly unsupported: ReadonlyMap<string, number>;
  /** What others can use of one's own tracks, by track id; all of those that are not named. */
  readonly wanted: ReadonlyMap<number, WantedTrack>;
  readonly speakers: Speakers;
  /** Those whose links do not carry the meeting well, by participant. */
  readonly quality: ReadonlyMap<string, LinkQuality>;
  /** One's own tracks of which stills are wanted. */
  readonly stillsWanted: ReadonlySet<number>;
  /** The latest stills of tracks that this side lacks, by track. */
  readonly stills: ReadonlyMap<number, Still>;
  readonly chat: readonly ChatLine[];
}

/** As many lines as are kept on the page. */
const CHAT_LINES = 2_000;

export function enter(joined: Joined): Room {
  const room: Room = {
    self: joined.participant,
    meeting: joined.meeting,
    participants: [],
    slots: new Map(),
    paused: new Set(),
    unsupported: new Map(),
    wanted: new Map(),
    speakers: { speaking: [] },
    quality: new Map(),
    stillsWanted: new Set(),
    stills: new Map(),
    chat: [],
  };
  return renew(room, joined.state);
}

/** Takes over the server's state after a resume; chat lines already here stay. */
export function renew(room: Room, state: RoomState): Room {
  return {
    ...room,
    participants: state.participants,
    slots: withSlots(new Map(), state.slots),
    paused: new Set(state.paused),
    unsupported: withSlots(new Map(), state.unsupported ?? []),
    wanted: withWanted(new Map(), state.wanted ?? []),
    speakers: state.speakers,
    quality: withQuality(new Map(), state.quality ?? []),
    stillsWanted: new Set(state.stills_wanted),
    stills: new Map(state.stills?.map((still) => [still.track, still])),
    chat: withLines(room.chat, state.chat),
  };
}

export function apply(room: Room, message: ServerMessage): Room {
  switch (message.type) {
    case 'resumed':
      return renew(room, message.state);
    case 'roster':
      return withRoster(room, message.joined ?? [], message.left ?? []);
    case 'tracks':
      return withTracks(room, message.participant, message.tracks);
    case 'answer':
      return withTracks(room, room.self, message.tracks);
    case 'slots':
      return { ...room, slots: withSlots(room.slots, message.slots) };
    case 'slots_paused':
      return { ...room, paused: withPauses(room.paused, message.slots) };
    case 'codec_unsupported':
      return { ...room, unsupported: withSlots(room.unsupported, [message]) };
    case 'wanted':
      return { ...room, wanted: withWanted(room.wanted, message.tracks) };
    case 'speakers': {
      const { dominant, speaking } = message;
      return { ...room, speakers: dominant === undefined ? { speaking } : { dominant, speaking } };
    }
    case 'quality':
      return { ...room, quality: withQuality(room.quality, message.changed) };
    case 'still_wanted': {
      const stillsWanted = new Set(room.stillsWanted);
      if (message.wanted) stillsWanted.add(message.track);
      else stillsWanted.delete(message.track);
      return { ...room, stillsWanted };
    }
    case 'still':
      return { ...room, stills: new Map(room.stills).set(message.track, message) };
    case 'chat':
      return { ...room, chat: withLines(room.chat, [message]) };
    case 'history':
      return { ...room, chat: withLines(room.chat, message.chat) };
    default:
      return room;
  }
}

function withRoster(room: Room, joined: readonly Participant[], left: readonly string[]): Room {
  const gone = new Set([...left, ...joined.map((participant) => participant.id)]);
  const quality = new Map([...room.quality].filter(([id]) => !left.includes(id)));
  return { ...room, quality, participants: [...room.participants.filter(({ id }) => !gone.has(id)), ...joined] };
}

function withTracks(room: Room, id: string, tracks: TrackInfo[]): Room {
  return {
    ...room,
    wanted: id === room.self ? withoutUnmuted(room, tracks) : room.wanted,
    participants: room.participants.map((participant) =>
      participant.id === id ? { ...participant, tracks } : participant,
    ),
  };
}

function withSlots(before: ReadonlyMap<string, number>, changes: RoomState['slots']): Map<string, number> {
  const slots = new Map(before);
  for (const { mid, track } of changes) {
    if (track === null || track === undefined) slots.delete(mid);
    else slots.set(mid, track);
  }
  return slots;
}

function withWanted(before: ReadonlyMap<number, WantedTrack>, changes: readonly WantedTrack[]): Map<number, WantedTrack> {
  return new Map([...before, ...changes.map((wanted) => [wanted.track, wanted] as const)]);
}

/** What is unmuted is sent whole until it is said anew what of it is wanted; a low voice goes on. */
function withoutUnmuted(room: Room, tracks: readonly TrackInfo[]): ReadonlyMap<number, WantedTrack> {
  const before = room.participants.find(({ id }) => id === room.self)?.tracks ?? [];
  const muted = before.filter((track) => track.muted).map(({ id }) => id);
  const unmuted = tracks.filter(({ id, muted: is }) => !is && muted.includes(id)).map(({ id }) => id);
  if (!unmuted.some((id) => room.wanted.has(id))) return room.wanted;
  return new Map([...room.wanted].filter(([id, wanted]) => !unmuted.includes(id) || wanted.low_voice));
}

function withPauses(before: ReadonlySet<string>, changes: readonly SlotPause[]): Set<string> {
  const paused = new Set(before);
  for (const { mid, paused: is } of changes) {
    if (is) paused.add(mid);
    else paused.delete(mid);
  }
  return paused;
}

function withQuality(
  before: ReadonlyMap<string, LinkQuality>,
  changed: readonly ParticipantQuality[],
): ReadonlyMap<string, LinkQuality> {
  const quality = new Map(before);
  for (const { participant, ...link } of changed) {
    if (link.grade === 'good') quality.delete(participant);
    else quality.set(participant, link);
  }
  return quality;
}

/** Lines come in order, but for those that were asked for. */
function withLines(chat: readonly ChatLine[], lines: readonly ChatLine[]): readonly ChatLine[] {
  const known = new Set(chat.map(({ seq }) => seq));
  const added = lines.filter(({ seq }) => !known.has(seq));
  if (added.length === 0) return chat;
  const all = [...chat, ...added.map(({ seq, from, name, text, at }) => ({ seq, from, name, text, at }))];
  return all.sort((a, b) => a.seq - b.seq).slice(-CHAT_LINES);
}

/** The number of the line before which one is missing, from the newest on. */
export function gapBefore(chat: readonly ChatLine[]): number | undefined {
  for (let index = chat.length - 1; index > 0; index -= 1) {
    if (chat[index]!.seq !== chat[index - 1]!.seq + 1) return chat[index]!.seq;
  }
  return undefined;
}

export function trackOf(participant: Participant | undefined, source: TrackSource): TrackInfo | undefined {
  return participant?.tracks.find((track) => track.source === source);
}

/** Whether something of this source is to be seen or heard. */
export function sends(participant: Participant | undefined, source: TrackSource): boolean {
  return trackOf(participant, source)?.muted === false;
}

/** The stills of tracks that are still there. */
export function stillsOf(room: Room): ReadonlyMap<number, Still> {
  const tracks = new Set(room.participants.flatMap(({ tracks }) => tracks.map(({ id }) => id)));
  return new Map([...room.stills].filter(([track]) => tracks.has(track)));
}

/** Why the picture of a slot is not to be seen although it is sent. */
export type Hindrance = 'paused' | 'saving' | 'unwanted' | 'unsupported';

/** `mode`: how much this side wants to receive. */
export function hindranceOf(room: Room, mid: string, track: number, mode: ReceiveMode = 'full'): Hindrance | undefined {
  if (mode === 'audio_only') return 'unwanted';
  if (room.unsupported.get(mid) === track) return 'unsupported';
  if (!room.paused.has(mid)) return undefined;
  return mode === 'save_data' ? 'saving' : 'paused';
}

export function ownTrack(room: Room, source: TrackSource): TrackInfo | undefined {
  return trackOf(
    room.participants.find(({ id }) => id === room.self),
    source,
  );
}
