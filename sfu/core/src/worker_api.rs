//! What the node's control side and a worker say to each other. Plain values over queues: the
//! control side owns rooms, sessions and slot policy, a worker owns connections and packets.

use std::net::SocketAddr;

use crate::allocator::Mode;
use crate::allocator::uplink::{Heights, UplinkPlan, Wants};
use crate::downtrack::voice::AudioFormat;
use crate::negotiated::{Codec, IceCredentials, MediaKind, Negotiated};
use crate::quality::Quality;
use crate::relay::{LinkId, LinkKeys, LinkMessage};
use crate::units::{Bitrate, ConnectionId, Mid, TrackId, WorkerIndex};

#[derive(Debug)]
pub enum WorkerCommand {
    Open(Box<OpenConnection>),
    /// A new offer was answered on a running connection. Media sections are matched by mid: kept
    /// where they are in both, ended where they are missing, begun where they are new.
    Renegotiate(Box<Renegotiate>),
    /// ICE restart without a new offer (WHIP PATCH).
    RestartIce {
        connection: ConnectionId,
        local: IceCredentials,
        remote: IceCredentials,
    },
    /// Sends DTLS close_notify and forgets the connection; no `Closed` event follows.
    Close {
        connection: ConnectionId,
    },
    SetSlot(SetSlot),
    /// How a slot's voice is sent.
    SetAudio(SetAudio),
    /// How much of everything the person at the other end wants.
    SetMode {
        connection: ConnectionId,
        mode: Mode,
    },
    /// The voices of a room that are heard, the most important first: a weak link carries but the first.
    RankVoices {
        voices: Vec<TrackId>,
    },
    /// Packets of a muted track are not forwarded.
    SetMuted {
        track: TrackId,
        muted: bool,
    },
    /// What the publisher of a video was told to send of it.
    SetPlan {
        track: TrackId,
        plan: UplinkPlan,
    },
    /// Opens a link to another node, or gives one that is open its next keys or the peer's address.
    OpenLink(Box<OpenLink>),
    CloseLink {
        link: LinkId,
    },
    /// A track that comes over a link of this worker.
    PublishRemote {
        link: LinkId,
        track: TrackId,
        kind: MediaKind,
    },
    UnpublishRemote {
        link: LinkId,
        track: TrackId,
    },
    /// What the other end of a link has asked for by [`WorkerEvent::LinkWant`].
    SetLinkSource {
        link: LinkId,
        source: SlotSource,
        kind: MediaKind,
        layers: u8,
    },
    /// The voices that go over a link, of those that its other end wants.
    PassVoices {
        link: LinkId,
        voices: Vec<TrackId>,
    },
    TellLink {
        link: LinkId,
        message: Box<LinkMessage>,
    },
}

#[derive(Debug)]
pub struct OpenLink {
    pub link: LinkId,
    pub keys: LinkKeys,
    pub peer: Option<SocketAddr>,
}

#[derive(Debug)]
pub struct OpenConnection {
    pub connection: ConnectionId,
    pub local_ice: IceCredentials,
    pub negotiated: Negotiated,
    /// The track that each receiving media section publishes.
    pub tracks: Vec<PublishedTrack>,
}

#[derive(Debug)]
pub struct Renegotiate {
    pub connection: ConnectionId,
    /// `Some` where the offer restarts ICE; the remote credentials are in `negotiated`.
    pub local_ice: Option<IceCredentials>,
    pub negotiated: Negotiated,
    pub tracks: Vec<PublishedTrack>,
}

/// SSRCs that the slots of a connection may have over its life: a worker remembers where each ended, since its
/// numbers must not be used again under the same keys. The answerer gives none that is new while an old one is
/// free, so there are no more than two answers have slots.
pub const MAX_SLOT_SSRCS: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedTrack {
    pub mid: Mid,
    pub track: TrackId,
    /// A shared screen, which has another ceiling of its bit rate than a camera.
    pub screen: bool,
    /// Which layer of the track the section sends, of a voice: 0 is the full one, 1 a low one of the same microphone,
    /// published under the same track id on a section of its own. 0 of everything else.
    pub voice_layer: u8,
}

/// Puts a source into a subscriber's slot, or empties it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSlot {
    pub connection: ConnectionId,
    /// The media section on which the server sends.
    pub mid: Mid,
    pub source: Option<SlotSource>,
    /// Height in pixels at which the slot is shown: the smallest simulcast layer at least as high is
    /// forwarded. 0: paused. Audio slots ignore it.
    pub height: u16,
    pub rank: SlotRank,
}

/// What goes first where a link does not carry everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotRank {
    /// Place in the viewport, 0 first. Voices have [`WorkerCommand::RankVoices`].
    pub order: u16,
    /// Shows who speaks.
    pub is_speaker: bool,
    /// Shows a shared screen, which has to be legible.
    pub is_screen: bool,
}

impl SlotRank {
    /// Shows what people look at.
    pub fn is_prominent(&self) -> bool {
        self.is_speaker || self.is_screen
    }
}

/// How the voice in a subscriber's slot is sent from now on, whoever's it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetAudio {
    pub connection: ConnectionId,
    /// The media section on which the server sends.
    pub mid: Mid,
    pub format: AudioFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotSource {
    pub track: TrackId,
    /// The worker of the publisher's connection, or of the link to his node.
    pub home: WorkerIndex,
    /// Its publisher is on another node.
    pub is_relayed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// ICE and DTLS are up; sent once per connection.
    Connected { connection: ConnectionId },
    /// The worker gave the connection up and has forgotten it.
    Closed {
        connection: ConnectionId,
        reason: CloseReason,
    },
    /// Video slots that stand still because the client's link does not carry them, or do so no longer.
    SlotsPaused {
        connection: ConnectionId,
        pauses: Vec<SlotPause>,
    },
    /// How well the client's link carries the meeting, whenever that changes; good before the first.
    Quality { connection: ConnectionId, quality: Quality },
    /// What the link of a client with slots that stand still has left beside media: for still pictures. Once a second at
    /// most.
    Spare { connection: ConnectionId, spare: Bitrate },
    /// RFC 6464 levels of the audio tracks that were heard since the last such event, one event
    /// about every [`AUDIO_LEVEL_INTERVAL`].
    AudioLevels { levels: Vec<AudioLevel> },
    /// All that the source of a slot sends is in a codec that the subscriber did not negotiate, so the slot stays
    /// empty. Told once, and anew after another source or another answer.
    CodecUnsupported {
        connection: ConnectionId,
        mid: Mid,
        track: TrackId,
        codec: Codec,
    },
    /// What the worker's subscribers can use of these tracks, where that has changed: at once where somebody needs what
    /// nobody did before, else about once a second.
    Wanted { tracks: Vec<TrackWants> },
    /// The first datagram of a link has come, or one after a silence; or nothing has come for so long that it counts as
    /// cut.
    LinkState { link: LinkId, is_up: bool },
    /// The other end of a link wants these layers of a track; 0: none any longer.
    LinkWant { link: LinkId, track: TrackId, layers: u8 },
    /// What else it says.
    LinkMessage { link: LinkId, message: Box<LinkMessage> },
}

/// What one worker's subscribers can use of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackWants {
    pub track: TrackId,
    pub wants: Box<Wants>,
    /// Of a video: the layers that its publisher could send, as far as the worker knows.
    pub heights: Heights,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPause {
    pub mid: Mid,
    pub is_paused: bool,
}

/// How often a worker reports audio levels.
pub const AUDIO_LEVEL_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    pub track: TrackId,
    /// The loudest packet's level in −dBov: 0 is loudest, 127 is silence (RFC 6464).
    pub level: u8,
    /// The sender's voice-activity bit of any packet.
    pub voice: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// No valid STUN check within the consent time (RFC 7675), or none ever.
    IceTimeout,
    DtlsFailed,
    /// The peer sent DTLS close_notify.
    PeerClosed,
}
