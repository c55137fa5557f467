//! What goes into and comes out of [`super::Rooms`]. Plain values: names are the caller's, text such
//! as SDP stays outside.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::negotiated::{IceCredentials, MediaKind, Negotiated};
use crate::quality::Quality;
use crate::relay::LinkId;
use crate::units::{Bitrate, ConnectionId, Mid, Rid, TrackId, WorkerIndex};
use crate::worker_api::{self, SlotPause, WorkerCommand};

/// A session's name, unique on the node; it is also the participant that slot targets name.
pub type SessionId = Arc<str>;

/// A room's name, unique on the node.
pub type RoomId = Arc<str>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrackSource {
    Microphone,
    /// A second, low voice of the microphone: a layer of its track, never a track of its own.
    MicrophoneLow,
    Camera,
    Screen,
    ScreenAudio,
}

impl TrackSource {
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Microphone | Self::MicrophoneLow | Self::ScreenAudio => MediaKind::Audio,
            Self::Camera | Self::Screen => MediaKind::Video,
        }
    }

    /// What a media section is taken for that nobody declared.
    pub fn default_of(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::Microphone,
            MediaKind::Video => Self::Camera,
        }
    }
}

/// What a session says of a media section on which it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackDeclaration {
    pub mid: Mid,
    pub source: TrackSource,
    pub muted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    pub id: TrackId,
    pub source: TrackSource,
    pub muted: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SlotTarget {
    #[default]
    Nobody,
    /// The dominant speaker's camera, never the viewer's own.
    ActiveSpeaker,
    Source {
        participant: SessionId,
        source: TrackSource,
    },
}

/// What a video slot is to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotView {
    pub mid: Mid,
    pub target: SlotTarget,
    /// Height in pixels at which it is shown; 0 pauses it.
    pub height: u16,
}

/// What a video slot shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotState {
    pub mid: Mid,
    pub track: Option<TrackId>,
}

/// What others can use of a track: its publisher need not send more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTrack {
    pub track: TrackId,
    /// Of a video. What is not named here is not wanted.
    pub layers: Vec<WantedLayer>,
    /// Of a microphone: a second, low voice is wanted.
    pub low_voice: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedLayer {
    /// Empty where the publisher sends one stream without a name.
    pub rid: Rid,
    pub max_bitrate: Bitrate,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AudioPolicy {
    /// The loudest speakers of the room.
    #[default]
    Loudest,
    /// One participant's microphone in the first audio slot, and the target in every video slot
    /// that no view names.
    Follow(SlotTarget),
}

/// A place for a session, made before its offer is answered because the answer names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seat {
    pub worker: WorkerIndex,
    pub connection: ConnectionId,
    pub local_ice: IceCredentials,
    /// `sess-id` of the answer's `o=` line; fits 63 bits as RFC 8829 asks.
    pub sdp_session_id: u64,
    /// Where the SSRCs of the slots start.
    pub first_ssrc: u32,
    /// The offer sends media; publishers and subscribers are spread apart.
    pub publishes: bool,
}

#[derive(Clone, Debug)]
pub struct OpenSession {
    pub room: RoomId,
    pub session: SessionId,
    pub seat: Seat,
    pub negotiated: Negotiated,
    pub tracks: Vec<TrackDeclaration>,
    pub slots: Vec<SlotView>,
    pub audio: AudioPolicy,
    /// All sessions of one identity have one place among the loudest speakers.
    pub identity: String,
}

/// A new offer of a running session, answered.
#[derive(Clone, Debug)]
pub struct Reoffer {
    pub session: SessionId,
    pub negotiated: Negotiated,
    /// Fresh credentials where the offer restarts ICE.
    pub local_ice: Option<IceCredentials>,
    pub tracks: Vec<TrackDeclaration>,
    pub slots: Vec<SlotView>,
}

/// What the answer to an offer tells besides the SDP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionState {
    /// The session's own tracks, in the order of their media sections.
    pub tracks: Vec<TrackInfo>,
    /// Its video slots that show something.
    pub slots: Vec<SlotState>,
}

#[derive(Debug)]
pub enum RoomsOutput {
    Command(WorkerIndex, WorkerCommand),
    Event(RoomsEvent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomsEvent {
    /// ICE and DTLS are up.
    Connected { session: SessionId },
    /// The session ended other than by [`super::Rooms::close`].
    Closed { session: SessionId, reason: EndReason },
    /// Video slots that show another track than before.
    Slots { session: SessionId, slots: Vec<SlotState> },
    /// A slot stays empty: the session does not take the codec of the track that it shows.
    CodecUnsupported {
        session: SessionId,
        mid: Mid,
        track: TrackId,
    },
    /// Video slots that stand still because the session's link does not carry them, or do so no longer.
    SlotsPaused { session: SessionId, pauses: Vec<SlotPause> },
    /// What others can use of tracks of the session has changed.
    Wanted {
        session: SessionId,
        tracks: Vec<WantedTrack>,
    },
    /// How well the session's link carries the meeting, whenever that changes; good before the first.
    Quality { session: SessionId, quality: Quality },
    /// What the link of a session with slots that stand still has left beside media.
    Spare { session: SessionId, spare: Bitrate },
    /// Who speaks, loudest first; only those whose audio is forwarded.
    Speakers {
        room: RoomId,
        dominant: Option<SessionId>,
        speaking: Vec<SessionId>,
    },
    /// A link to another node has come up, or has carried nothing for so long that it counts as cut.
    Link { room: RoomId, link: LinkId, is_up: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    Connection(worker_api::CloseReason),
    /// The node stops.
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomsLimits {
    pub sessions: usize,
    pub sessions_per_room: usize,
    /// Media sections on which one session sends.
    pub tracks_per_session: usize,
    /// Media sections on which one session receives; also the most views in one viewport.
    pub slots_per_session: usize,
    /// Other nodes that a room has links to.
    pub links_per_room: usize,
    /// Participants of other nodes, of all rooms.
    pub remote_sessions: usize,
}

impl Default for RoomsLimits {
    fn default() -> Self {
        Self {
            sessions: 5_000,
            sessions_per_room: 1_000,
            tracks_per_session: 8,
            slots_per_session: 64,
            links_per_room: 64,
            remote_sessions: 50_000,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoomsConfig {
    pub workers: u8,
    pub limits: RoomsLimits,
    /// How many speakers of a room are forwarded to each listener.
    pub loudest: usize,
    /// Least time between two [`RoomsEvent::Speakers`] of one room.
    pub speakers_interval: Duration,
}

impl Default for RoomsConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            limits: RoomsLimits::default(),
            // More than three voices at once are not understood; the fourth covers the change of speakers.
            loudest: 4,
            speakers_interval: Duration::from_millis(200),
        }
    }
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum RoomsError {
    #[error("session {0} is open already")]
    SessionExists(SessionId),
    #[error("no session {0}")]
    SessionUnknown(String),
    #[error("track {0} is not of this session")]
    TrackUnknown(TrackId),
    #[error("the media section {mid} is of another kind than the declared {source_declared:?}")]
    TrackKind { mid: Mid, source_declared: TrackSource },
    #[error("the media section {mid} is a low voice without a microphone of its own")]
    LowVoiceAlone { mid: Mid },
    #[error("more than {limit} media sections that send")]
    TooManyTracks { limit: usize },
    #[error("more than {limit} slots")]
    TooManySlots { limit: usize },
    #[error("the session has had {limit} slots in its life: join anew")]
    SlotsUsedUp { limit: usize },
    #[error("the room is full ({limit})")]
    RoomFull { limit: usize },
    #[error("the node is full ({limit})")]
    NodeFull { limit: usize },
    #[error("the room has {limit} links already")]
    TooManyLinks { limit: usize },
    #[error("the link is another room's")]
    LinkTaken,
    #[error("no such link")]
    LinkUnknown,
    #[error("track {0} is somebody else's")]
    TrackTaken(TrackId),
}
