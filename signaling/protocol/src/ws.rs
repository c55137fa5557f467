//! The WebSocket of a participant: `GET /api/v1/ws`, sub-protocol `tianqiao.v1`.
//!
//! A text frame is one JSON message; a binary frame is the same JSON compressed (see
//! [`crate::frame`]). The server compresses only towards a client that has sent a binary frame.
//! The first message of a connection is [`ClientMessage::Join`] or [`ClientMessage::Resume`].

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::error::ErrorCode;
use crate::media::{
    LinkQuality, ParticipantId, ReceiveMode, SlotPause, SlotState, SlotView, TrackDeclaration, TrackId, TrackInfo,
    UnsupportedSlot, WantedTrack,
};

/// `Sec-WebSocket-Protocol` of this version.
pub const SUBPROTOCOL: &str = "tianqiao.v1";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ClientMessage {
    Join(Join),
    Resume(Resume),
    Offer(Offer),
    Viewport {
        slots: Vec<SlotView>,
        #[serde(default)]
        mode: ReceiveMode,
    },
    Mute {
        track: TrackId,
        muted: bool,
    },
    Chat {
        text: String,
    },
    /// Asks for lines of chat before that number, or for the latest; answered by [`ServerMessage::History`].
    History {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[ts(optional)]
        before: Option<u32>,
    },
    Ping {
        t: u32,
    },
    /// Media flows over the connection of that [`ServerMessage::Move`]: the one before may end.
    Moved {
        #[serde(rename = "move")]
        number: u32,
    },
    Leave,
}

/// Joins with an offer; answered by [`Joined`] in one round trip, or by an error after which the
/// server closes the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Join {
    pub token: String,
    pub sdp: String,
    #[serde(default)]
    pub tracks: Vec<TrackDeclaration>,
    #[serde(default)]
    pub slots: Vec<SlotView>,
}

/// Takes up a session again after its WebSocket was lost; the media has gone on meanwhile.
/// Answered by [`Resumed`]. A second WebSocket that resumes a session replaces the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Resume {
    /// [`Joined::session`].
    pub session: String,
}

/// A new offer in a running session (more slots, a track added or stopped, ICE restart).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Offer {
    /// Chosen by the client, repeated in the answer or the error.
    pub id: u32,
    pub sdp: String,
    /// All tracks that the offer sends, not only the new ones.
    #[serde(default)]
    pub tracks: Vec<TrackDeclaration>,
    /// All slots, as in [`ClientMessage::Viewport`].
    #[serde(default)]
    pub slots: Vec<SlotView>,
    /// The offer is of a second connection, which [`ServerMessage::Move`] asked for: the number that it gave.
    #[serde(default, rename = "move", skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub move_number: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    Joined(Box<Joined>),
    Resumed(Box<Resumed>),
    Answer(Answer),
    /// Changes of the participants list since the last such message.
    Roster {
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        joined: Vec<Participant>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        left: Vec<ParticipantId>,
    },
    /// All tracks that a participant publishes now (published, unpublished, muted, unmuted).
    Tracks {
        participant: ParticipantId,
        tracks: Vec<TrackInfo>,
    },
    /// Video slots that show another track than before.
    Slots {
        slots: Vec<SlotState>,
    },
    /// Video slots that stand still because the receiver's link does not carry them, or do so no longer.
    SlotsPaused {
        slots: Vec<SlotPause>,
    },
    /// What a slot shows cannot be seen: the receiver did not offer its codec. Holds until the slot shows another track.
    CodecUnsupported(UnsupportedSlot),
    /// What others can use of the receiver's own tracks: those of which it has changed. Of a track that was never named, and
    /// of one that is unmuted until it is named again, all is sent.
    Wanted {
        tracks: Vec<WantedTrack>,
    },
    Speakers(Speakers),
    /// Whether stills of one of the receiver's own tracks are wanted, since somebody's link does not carry its video.
    StillWanted {
        track: TrackId,
        wanted: bool,
    },
    /// A newer still of a track whose video the receiver's link does not carry.
    Still(Still),
    /// Participants whose links carry the meeting better or worse than before.
    Quality {
        changed: Vec<ParticipantQuality>,
    },
    Chat(ChatLine),
    /// Lines of chat, oldest first; none where there are no earlier ones.
    History {
        chat: Vec<ChatLine>,
    },
    /// Lines of chat were left out because the client took its messages too slowly; `history` brings them.
    ChatLost,
    Pong {
        t: u32,
    },
    Error(WsError),
    /// The client is to open a second media connection with an [`Offer`] that names this number, to use it instead of its
    /// present one once media flows, to say [`ClientMessage::Moved`] then and to close the old one. Sent again where nothing
    /// comes of it; a higher number replaces a lower one.
    Move {
        #[serde(rename = "move")]
        number: u32,
        /// The present connection is dead: there is nothing to wait for.
        lost: bool,
        /// Milliseconds within which to begin, at a random time, so that not all come at once.
        within: u32,
    },
    /// The session is over; the server closes the WebSocket after it.
    Ended {
        reason: EndReason,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Joined {
    pub participant: ParticipantId,
    /// Secret with which this session can be resumed.
    pub session: String,
    pub sdp: String,
    pub meeting: MeetingSummary,
    pub state: RoomState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Resumed {
    pub state: RoomState,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct MeetingSummary {
    pub id: String,
    pub code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub title: Option<String>,
}

/// The room as the participant sees it: what later messages change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct RoomState {
    /// Everyone, the receiver included.
    pub participants: Vec<Participant>,
    /// The receiver's video slots that show something.
    pub slots: Vec<SlotState>,
    /// Those of its slots that stand still for want of bandwidth, by mid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paused: Vec<String>,
    /// Those of its slots whose codec it did not offer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsupported: Vec<UnsupportedSlot>,
    /// What others can use of its own tracks, as far as it was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted: Vec<WantedTrack>,
    pub speakers: Speakers,
    /// Those whose links are not good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quality: Vec<ParticipantQuality>,
    /// Those of the receiver's own tracks of which stills are wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stills_wanted: Vec<TrackId>,
    /// The latest stills of tracks whose video the receiver's link does not carry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stills: Vec<Still>,
    /// The latest lines, oldest first; [`ClientMessage::History`] brings earlier ones.
    pub chat: Vec<ChatLine>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Participant {
    pub id: ParticipantId,
    pub name: String,
    pub tracks: Vec<TrackInfo>,
}

/// The latest still picture of a track: `GET /api/v1/meetings/{id}/stills/{track}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Still {
    pub track: TrackId,
    /// Grows with each still of the track.
    pub version: u32,
    /// Bytes.
    pub size: u32,
    /// When it came to the server, in milliseconds since the Unix epoch.
    #[ts(type = "number")]
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ParticipantQuality {
    pub participant: ParticipantId,
    #[serde(flatten)]
    pub quality: LinkQuality,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Speakers {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub dominant: Option<ParticipantId>,
    /// Those whose audio is forwarded and who speak now, loudest first.
    pub speaking: Vec<ParticipantId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Answer {
    pub id: u32,
    pub sdp: String,
    /// The receiver's own tracks after the change, with their ids.
    pub tracks: Vec<TrackInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ChatLine {
    /// Grows by one with each line of the meeting, so that a line is shown once after a resume.
    pub seq: u32,
    pub from: ParticipantId,
    /// The sender's name, who may have left since.
    pub name: String,
    pub text: String,
    /// Milliseconds since the Unix epoch.
    #[ts(type = "number")]
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WsError {
    pub code: ErrorCode,
    /// A sentence in English for logs; the page words the code in its own language.
    pub message: String,
    /// The `id` of the offer that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub offer: Option<u32>,
    /// Seconds after which another try may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub retry_after: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The participant left.
    Left,
    /// The host ended the meeting.
    MeetingEnded,
    /// Media was not seen for too long, or never came.
    MediaTimeout,
    /// Another WebSocket resumed the session.
    Replaced,
    /// The server stops; join again.
    ServerShutdown,
}
