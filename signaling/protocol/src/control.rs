//! Requests and events between signaling and an SFU node, carried by the bus. An SFU node knows
//! sessions, rooms and tracks; names, tokens and policy stay with signaling.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::error::ErrorCode;
use crate::fleet::NodeReport;
use crate::media::{
    LinkQuality, ParticipantId, ReceiveMode, SlotPause, SlotState, SlotTarget, SlotView, TrackDeclaration, TrackId,
    TrackInfo, UnsupportedSlot, WantedTrack,
};

pub type SessionId = ParticipantId;
/// The meeting's id.
pub type RoomId = String;

/// A signaling instance, from its start to its end: one that is started again is another.
pub type InstanceId = String;

/// Who owns a room and by which claim. Every request names it. A node that has seen a later claim of the room refuses
/// the request with [`ErrorCode::NotOwner`] (fencing), and the room's events go to whoever made the latest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub instance: InstanceId,
    /// The revision of the claim in the key-value store: grows from claim to claim of a room.
    pub epoch: u64,
}

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
    /// A new owner takes the room over; answered by [`SfuReply::Adopted`].
    Adopt { room: RoomId },
    /// What the node is to know of the room's other nodes; answered by [`SfuReply::Relayed`].
    Relay(RoomRelays),
    /// Takes no new rooms from now on, or takes them again; answered by [`SfuReply::Done`].
    Drain { draining: bool },
    /// Answered by [`SfuReply::Described`].
    Describe,
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
    /// Kept for whoever adopts the room; nothing to the node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub memo: String,
}

/// A room's links to other nodes and the participants behind them, as its owner wants it: a state, not a step, so that
/// it may come late, twice or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRelays {
    pub room: RoomId,
    /// Grows with each change under one owner; an older one is passed over.
    pub version: u64,
    /// `participants` and `gone` are the changes since that version; none: `participants` are all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// The link towards the node that decides who is the dominant speaker; none: this one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<LinkId>,
    /// All links of the room; others of it end.
    pub links: Vec<RelayLink>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<RemoteParticipant>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<SessionId>,
}

/// Random, the same on both nodes.
pub type LinkId = u64;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayLink {
    pub id: LinkId,
    pub peer: crate::fleet::NodeId,
    pub keys: RelayKeys,
    /// Where the peer receives, any of them; none as long as the owner does not know: then the peer comes first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<SocketAddr>,
}

/// For AES-128-GCM, 16 bytes of key and 12 of salt in base64 each. Replaced by ones of the next generation from time to time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayKeys {
    pub generation: u8,
    /// What this node sends with.
    pub send: String,
    pub receive: String,
}

impl fmt::Debug for RelayKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelayKeys({})", self.generation)
    }
}

/// A participant whose media is on another node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteParticipant {
    pub session: SessionId,
    pub identity: String,
    /// Over which link its media comes, from its own node or one between.
    pub via: LinkId,
    pub tracks: Vec<TrackInfo>,
}

/// A session as a node knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptedSession {
    pub session: SessionId,
    /// [`OpenSession::memo`].
    pub memo: String,
    pub connected: bool,
    pub tracks: Vec<TrackInfo>,
    pub slots: Vec<SlotState>,
    pub paused: Vec<String>,
    pub unsupported: Vec<UnsupportedSlot>,
    pub wanted: Vec<WantedTrack>,
    pub quality: LinkQuality,
}

/// A room on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLoad {
    pub room: RoomId,
    pub owner: InstanceId,
    pub sessions: u32,
    /// Bits per second over relay links to other nodes.
    pub relayed: u64,
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
    /// All sessions that the node has of the room.
    Adopted {
        sessions: Vec<AdoptedSession>,
    },
    /// Where the node receives each link of the room.
    Relayed {
        endpoints: Vec<RelayEndpoint>,
    },
    /// The node is not at [`RoomRelays::base`]: it wants all.
    RelayBehind,
    Described {
        report: NodeReport,
        rooms: Vec<RoomLoad>,
    },
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayEndpoint {
    pub link: LinkId,
    pub addresses: Vec<SocketAddr>,
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
    /// A link to another node has come up, or has carried nothing for so long that it counts as cut.
    Link { room: RoomId, link: LinkId, up: bool },
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
