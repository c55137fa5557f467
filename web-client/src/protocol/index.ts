// Generated from signaling/protocol by `cargo run -p tianqiao-protocol --example generate-typescript`.
// A test of that crate fails where this file differs; do not edit.

export const SUBPROTOCOL = "tianqiao.v1";

export const PROOF_HEADER = "tianqiao-proof";

/**
 * Every error that a client can be told, with its HTTP status.
 */
export type ErrorCode = "bad_message" | "too_large" | "rate_limited" | "token_invalid" | "token_expired" | "passcode_required" | "passcode_wrong" | "meeting_not_found" | "meeting_ended" | "meeting_full" | "session_unknown" | "not_joined" | "already_joined" | "sdp_invalid" | "sdp_unsupported" | "too_many_tracks" | "slots_used_up" | "track_unknown" | "forbidden" | "not_found" | "misdirected" | "unavailable" | "internal" | "proof_required" | "api_key_required" | "not_owner";

/**
 * JSON body of every REST answer that is not 2xx.
 */
export type ErrorBody = { code: ErrorCode, message: string,
/**
 * Seconds after which another try may succeed.
 */
retry_after?: number,
/**
 * With [`ErrorCode::ProofRequired`].
 */
proof?: ProofOfWork, };

/**
 * Work that buys one try: a nonce (1 to 32 letters and digits) with which the SHA-256 of
 * `<challenge>.<nonce>.<passcode>` begins with `bits` zero bits. The passcode is that of the request,
 * or empty. The same request is then sent again with `<challenge>.<nonce>` in its header `tianqiao-proof`.
 */
export type ProofOfWork = { challenge: string, bits: number, };

export type MediaKind = "audio" | "video";

export type TrackSource = "microphone" | "microphone_low" | "camera" | "screen" | "screen_audio";

/**
 * What a client says of each media section in its offer on which it sends.
 */
export type TrackDeclaration = {
/**
 * The `a=mid` of the media section (at most 16 characters).
 */
mid: string, source: TrackSource, muted: boolean, };

/**
 * How pages are asked to send their cameras. A browser that cannot sends VP8 in simulcast.
 */
export type CameraEncoding = { codec: CameraCodec,
/**
 * Of WebRTC-SVC (W3C): one stream with these layers. None: simulcast.
 */
scalability_mode?: string, };

export type CameraCodec = "vp8" | "h264" | "vp9" | "av1";

/**
 * A published track as others see it.
 */
export type TrackInfo = { id: number, source: TrackSource, muted: boolean, };

/**
 * What a receive slot is to show.
 */
export type SlotTarget = { "show": "nobody" } | { "show": "active_speaker" } | { "show": "source", participant: string, source: TrackSource, };

/**
 * One video slot of a client's viewport. Audio slots are filled by the server with the loudest
 * speakers and are not asked for.
 */
export type SlotView = {
/**
 * The `a=mid` of the receive-only media section.
 */
mid: string,
/**
 * Height in physical pixels at which it is shown; the SFU picks the smallest simulcast layer
 * that is at least as high. 0 pauses the slot.
 */
height: number, } & ({ "show": "nobody" } | { "show": "active_speaker" } | { "show": "source", participant: string, source: TrackSource, });

/**
 * How much a receiver wants of what its slots show.
 */
export type ReceiveMode = "full" | "audio_only" | "save_data";

/**
 * How well a participant's link carries the meeting, as the server sees it.
 */
export type LinkQuality = { grade: QualityGrade,
/**
 * What it lacks most; none where it is good.
 */
cause?: QualityCause, };

export type QualityGrade = "good" | "fair" | "poor";

export type QualityCause = "downlink" | "uplink" | "loss" | "delay";

/**
 * What a slot shows now.
 */
export type SlotState = { mid: string,
/**
 * `None`: the slot is empty.
 */
track: number | null, };

/**
 * Whether a slot stands still because the receiver's link does not carry it.
 */
export type SlotPause = { mid: string, paused: boolean, };

/**
 * A slot that stays empty because the receiver did not offer the codec of its track.
 */
export type UnsupportedSlot = { mid: string, track: number, };

/**
 * What others can use of a published track: its publisher need not send more than that.
 */
export type WantedTrack = { track: number,
/**
 * Of a video, by simulcast layer: what is not named here is not wanted.
 */
layers: Array<WantedLayer>,
/**
 * Of a microphone: a second, low voice is wanted.
 */
low_voice: boolean, };

export type WantedLayer = {
/**
 * As in the offer's `a=rid`; empty where the track is one stream without it.
 */
rid: string,
/**
 * Bits per second at most.
 */
max_bitrate: number, };

/**
 * `POST /api/v1/meetings` → 201 [`CreatedMeeting`].
 */
export type CreateMeeting = { title?: string, passcode?: string, };

export type CreatedMeeting = {
/**
 * Opaque, not guessable.
 */
id: string,
/**
 * Nine digits for people and telephones.
 */
code: string,
/**
 * `<origin>/m/<code>`
 */
join_url: string,
/**
 * Bearer token for `DELETE /api/v1/meetings/{id}`.
 */
host_token: string, };

/**
 * `GET /api/v1/meetings/{id-or-code}` → 200. Strangers learn that it is there, whether it has a passcode and
 * what is asked of cameras, so that a page makes its offer before anybody joins; the rest is for who has a join token for it, as `Authorization: Bearer`.
 */
export type MeetingInfo = { code: string, passcode_required: boolean, camera: CameraEncoding, id?: string, title?: string, participants?: number, };

/**
 * `POST /api/v1/meetings/{id-or-code}/tokens` → 201 [`JoinToken`].
 */
export type CreateToken = { name: string, passcode?: string, };

/**
 * `PUT /api/v1/meetings/{id-or-code}/stills/{track}` → 200.
 */
export type StillTaken = {
/**
 * A next still of so many bytes is there within seconds also on the weakest of the links that wait for it.
 */
next_bytes: number, };

export type JoinToken = {
/**
 * A JWT (HS256).
 */
token: string, };

/**
 * `POST /api/v1/meetings/{id-or-code}/join` → 201 [`JoinedMeeting`]. Who joins says it by a token, or by a name and what else
 * [`CreateToken`] takes.
 */
export type JoinMeeting = { token?: string, name?: string, passcode?: string, sdp: string, tracks: Array<TrackDeclaration>, slots: Array<SlotView>, };

/**
 * What [`crate::ws::ServerMessage::Joined`] says.
 */
export type JoinedMeeting = {
/**
 * With which the same person comes again, for who has given a name.
 */
token?: string, participant: string,
/**
 * Secret with which this session can be resumed.
 */
session: string, sdp: string, meeting: MeetingSummary, state: RoomState, };

export type ClientMessage = { "type": "join" } & Join | { "type": "resume" } & Resume | { "type": "offer" } & Offer | { "type": "viewport", slots: Array<SlotView>, mode: ReceiveMode, } | { "type": "mute", track: number, muted: boolean, } | { "type": "chat", text: string, } | { "type": "history", before?: number, } | { "type": "ping", t: number, } | { "type": "moved", move: number, } | { "type": "leave" };

/**
 * Joins with an offer; answered by [`Joined`] in one round trip, or by an error after which the
 * server closes the WebSocket.
 */
export type Join = { token: string, sdp: string, tracks: Array<TrackDeclaration>, slots: Array<SlotView>, };

/**
 * Takes up a session again after its WebSocket was lost; the media has gone on meanwhile.
 * Answered by [`Resumed`]. A second WebSocket that resumes a session replaces the first.
 */
export type Resume = {
/**
 * [`Joined::session`].
 */
session: string, };

/**
 * A new offer in a running session (more slots, a track added or stopped, ICE restart).
 */
export type Offer = {
/**
 * Chosen by the client, repeated in the answer or the error.
 */
id: number, sdp: string,
/**
 * All tracks that the offer sends, not only the new ones.
 */
tracks: Array<TrackDeclaration>,
/**
 * All slots, as in [`ClientMessage::Viewport`].
 */
slots: Array<SlotView>,
/**
 * The offer is of a second connection, which [`ServerMessage::Move`] asked for: the number that it gave.
 */
move?: number, };

export type ServerMessage = { "type": "joined" } & Joined | { "type": "resumed" } & Resumed | { "type": "answer" } & Answer | { "type": "roster", joined?: Array<Participant>, left?: Array<string>, } | { "type": "tracks", participant: string, tracks: Array<TrackInfo>, } | { "type": "slots", slots: Array<SlotState>, } | { "type": "slots_paused", slots: Array<SlotPause>, } | { "type": "codec_unsupported" } & UnsupportedSlot | { "type": "wanted", tracks: Array<WantedTrack>, } | { "type": "speakers" } & Speakers | { "type": "still_wanted", track: number, wanted: boolean, } | { "type": "still" } & Still | { "type": "quality", changed: Array<ParticipantQuality>, } | { "type": "chat" } & ChatLine | { "type": "history", chat: Array<ChatLine>, } | { "type": "chat_lost" } | { "type": "pong", t: number, } | { "type": "error" } & WsError | { "type": "move", move: number,
/**
 * The present connection is dead: there is nothing to wait for.
 */
lost: boolean,
/**
 * Milliseconds within which to begin, at a random time, so that not all come at once.
 */
within: number, } | { "type": "ended", reason: EndReason, };

export type Joined = { participant: string,
/**
 * Secret with which this session can be resumed.
 */
session: string, sdp: string, meeting: MeetingSummary, state: RoomState, };

export type Resumed = { state: RoomState, };

export type MeetingSummary = { id: string, code: string, title?: string, };

/**
 * The room as the participant sees it: what later messages change.
 */
export type RoomState = {
/**
 * Everyone, the receiver included.
 */
participants: Array<Participant>,
/**
 * The receiver's video slots that show something.
 */
slots: Array<SlotState>,
/**
 * Those of its slots that stand still for want of bandwidth, by mid.
 */
paused?: Array<string>,
/**
 * Those of its slots whose codec it did not offer.
 */
unsupported?: Array<UnsupportedSlot>,
/**
 * What others can use of its own tracks, as far as it was told.
 */
wanted?: Array<WantedTrack>, speakers: Speakers,
/**
 * Those whose links are not good.
 */
quality?: Array<ParticipantQuality>,
/**
 * Those of the receiver's own tracks of which stills are wanted.
 */
stills_wanted?: Array<number>,
/**
 * The latest stills of tracks whose video the receiver's link does not carry.
 */
stills?: Array<Still>,
/**
 * The latest lines, oldest first; [`ClientMessage::History`] brings earlier ones.
 */
chat: Array<ChatLine>, };

export type Participant = { id: string, name: string, tracks: Array<TrackInfo>, };

/**
 * The latest still picture of a track: `GET /api/v1/meetings/{id}/stills/{track}`.
 */
export type Still = { track: number,
/**
 * Grows with each still of the track.
 */
version: number,
/**
 * Bytes.
 */
size: number,
/**
 * When it came to the server, in milliseconds since the Unix epoch.
 */
at: number, };

export type ParticipantQuality = { participant: string, grade: QualityGrade,
/**
 * What it lacks most; none where it is good.
 */
cause?: QualityCause, };

export type Speakers = { dominant?: string,
/**
 * Those whose audio is forwarded and who speak now, loudest first.
 */
speaking: Array<string>, };

export type Answer = { id: number, sdp: string,
/**
 * The receiver's own tracks after the change, with their ids.
 */
tracks: Array<TrackInfo>, };

export type ChatLine = {
/**
 * Grows by one with each line of the meeting, so that a line is shown once after a resume.
 */
seq: number, from: string,
/**
 * The sender's name, who may have left since.
 */
name: string, text: string,
/**
 * Milliseconds since the Unix epoch.
 */
at: number, };

export type WsError = { code: ErrorCode,
/**
 * A sentence in English for logs; the page words the code in its own language.
 */
message: string,
/**
 * The `id` of the offer that failed.
 */
offer?: number,
/**
 * Seconds after which another try may succeed.
 */
retry_after?: number, };

export type EndReason = "left" | "meeting_ended" | "media_timeout" | "replaced" | "server_shutdown";
