//! Requests and events between signaling and an SFU node, carried by the bus. An SFU node knows
//! sessions, rooms and tracks; names, tokens and policy stay with signaling.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::ErrorCode;
use crate::media::{
    LinkQuality, ParticipantId, ReceiveMode, SlotPause, SlotState, SlotTarget, SlotView, TrackDeclaration, TrackId,
    TrackInfo, UnsupportedSlot, WantedTrack,
};

pub type SessionId = ParticipantId;
/// The meeting's id.
pub type RoomId = String;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum SfuRequest {
    /// Answered by [`SfuReply::Answered`]. The room comes into being with its first session.
    Open(OpenSession),
    /// A new offer in a running session, also for ICE restart; answered by [`SfuReply::Answered`].
    Offer {
        session: SessionId,
        origin: Origin,
        sdp: String,
        tracks: Vec<TrackDeclaration>,
        slots: Vec<SlotView>,
    },
    /// ICE restart by a trickle fragment (RFC 8840), as WHIP's PATCH has it: the client's new
    /// credentials; answered by [`SfuReply::IceRestarted`].
    RestartIce {
        session: SessionId,
        ufrag: String,
        pwd: String,
    },
    /// Answered by [`SfuReply::Done`].
    Viewport {
        session: SessionId,
        slots: Vec<SlotView>,
        #[serde(default)]
        mode: ReceiveMode,
    },
    Mute {
        session: SessionId,
        track: TrackId,
        muted: bool,
    },
    /// Ends a session; no `Closed` event follows. Unknown sessions are no error.
    Close { session: SessionId },
    /// Ends every session of a room.
    CloseRoom { room: RoomId },
    /// Answered by [`SfuReply::Done`] on the way of all other requests: the node is at work.
    Ping,
}

/// From where a request comes, as signaling groups addresses: an opaque number. Offers of one origin share its turn,
/// so that nobody delays others by sending many.
pub type Origin = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenSession {
    pub room: RoomId,
    pub session: SessionId,
    pub origin: Origin,
    pub sdp: String,
    /// Media sections that send and are not declared here are taken as microphone and camera.
    pub tracks: Vec<TrackDeclaration>,
    pub slots: Vec<SlotView>,
    /// What the audio slots carry.
    pub audio: AudioPolicy,
    /// Whose session it is, an opaque name: all sessions of one identity have one voice among the loudest.
    pub identity: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioPolicy {
    /// The loudest speakers of the room, never the session's own.
    #[default]
    Loudest,
    /// One participant's microphone in the first audio slot, and with [`SlotTarget::ActiveSpeaker`]
    /// the dominant speaker's; and in every video slot the same participant's camera unless
    /// `slots` names another (WHEP).
    Follow(SlotTarget),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "snake_case")]
pub enum SfuReply {
    Answered {
        sdp: String,
        /// The session's own tracks.
        tracks: Vec<TrackInfo>,
        /// The session's video slots that show something.
        slots: Vec<SlotState>,
    },
    /// An SDP fragment (RFC 8840) with the server's new credentials and its candidates.
    IceRestarted {
        sdpfrag: String,
    },
    Done,
}

#[derive(Clone, Debug, Error, PartialEq, Eq, Serialize, Deserialize)]
#[error("{message}")]
pub struct SfuError {
    pub code: ErrorCode,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum SfuEvent {
    /// ICE and DTLS are up.
    Connected { session: SessionId },
    /// The SFU gave the session up by itself.
    Closed { session: SessionId, reason: CloseReason },
    /// Video slots that show another track than before.
    Slots { session: SessionId, slots: Vec<SlotState> },
    /// Video slots that stand still for want of bandwidth, or do so no longer.
    SlotsPaused { session: SessionId, slots: Vec<SlotPause> },
    /// Good before the first.
    Quality { session: SessionId, quality: LinkQuality },
    /// What the link of a session with paused slots has left beside media; once a second at most.
    Spare { session: SessionId, bits_per_second: u64 },
    /// Follows the [`Self::Slots`] that names the track.
    CodecUnsupported { session: SessionId, slot: UnsupportedSlot },
    /// What others can use of tracks of the session has changed.
    Wanted {
        session: SessionId,
        tracks: Vec<WantedTrack>,
    },
    Speakers {
        room: RoomId,
        dominant: Option<SessionId>,
        speaking: Vec<SessionId>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// No valid STUN check within the consent time (RFC 7675), or none ever.
    IceTimeout,
    DtlsFailed,
    /// The peer closed DTLS.
    PeerClosed,
    Shutdown,
}
