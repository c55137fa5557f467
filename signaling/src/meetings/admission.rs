//! How a client gets into a meeting: a place, an answer to its offer, the room's state. The same
//! for WebSocket, WHIP and WHEP.

use std::sync::Arc;

use tianqiao_bus::BusError;
use tianqiao_protocol::control::{AudioPolicy, OpenSession, Origin, SfuReply, SfuRequest};
use tianqiao_protocol::ws::{EndReason, RoomState};
use tianqiao_protocol::{ErrorCode, ParticipantId, SlotTarget, SlotView, TrackDeclaration};

use super::live::{Attachment, LiveMeeting};
use super::moving::no_place;
use crate::auth::{Claims, random_id};
use crate::config::Config;
use crate::meeting::{Kind, Memo, Newcomer};
use crate::network::Network;
use crate::refusal::Refusal;

/// RFC 9143 sets no length; the SDES limit of one-byte RTP header extensions does.
const MAX_MID_LENGTH: usize = 16;
const MAX_ID_LENGTH: usize = 32;

/// An offer with what the client says of it.
#[derive(Clone, Debug, Default)]
pub struct Offered {
    pub sdp: String,
    pub tracks: Vec<TrackDeclaration>,
    pub slots: Vec<SlotView>,
}

pub struct Entry {
    pub claims: Claims,
    pub kind: Kind,
    /// It comes by WebSocket.
    pub has_websocket: bool,
    pub offered: Offered,
    pub audio: AudioPolicy,
    /// Of the client's address.
    pub origin: Origin,
    pub network: Network,
}

pub struct Entered {
    pub participant: ParticipantId,
    /// With which the session can be resumed.
    pub secret: String,
    pub sdp: String,
    pub state: RoomState,
    /// With [`Entry::has_websocket`].
    pub attachment: Option<Attachment>,
}

impl Offered {
    pub fn check(&self, config: &Config) -> Result<(), Refusal> {
        if self.sdp.len() > config.max_sdp_size.0 {
            return Err(Refusal::new(ErrorCode::TooLarge, "the SDP is too large"));
        }
        if self.tracks.len() > config.max_tracks {
            return Err(Refusal::new(ErrorCode::TooManyTracks, "too many tracks"));
        }
        if self.tracks.iter().any(|track| !is_mid(&track.mid)) {
            return Err(Refusal::new(ErrorCode::BadMessage, "not a mid"));
        }
        check_slots(&self.slots, config)
    }
}

pub fn check_slots(slots: &[SlotView], config: &Config) -> Result<(), Refusal> {
    if slots.len() > config.max_slots {
        return Err(Refusal::new(ErrorCode::TooLarge, "too many slots"));
    }
    for slot in slots {
        let known = match &slot.target {
            SlotTarget::Source { participant, .. } => participant.len() <= MAX_ID_LENGTH,
            SlotTarget::Nobody | SlotTarget::ActiveSpeaker => true,
        };
        if !known || !is_mid(&slot.mid) {
            return Err(Refusal::new(ErrorCode::BadMessage, "not a slot"));
        }
    }
    Ok(())
}

fn is_mid(mid: &str) -> bool {
    (1..=MAX_MID_LENGTH).contains(&mid.len())
}

impl LiveMeeting {
    /// May be cancelled, as when the client hangs up: the place is free again, and the media server passes over an
    /// offer that it has not come to, or closes the session.
    pub async fn enter(self: &Arc<Self>, entry: Entry) -> Result<Entered, Refusal> {
        let identity = entry.claims.sub;
        let newcomer = Newcomer {
            id: random_id::<9>(),
            identity: identity.clone(),
            name: entry.claims.name,
            kind: entry.kind,
            network: entry.network,
            secret: random_id::<18>(),
        };
        let memo = match self.meetings.is_shared() {
            true => serde_json::to_string(&Memo::of(&newcomer)).expect("a memo is plain values"),
            false => String::new(),
        };
        let participant = newcomer.id.clone();
        let secret = newcomer.secret.clone();
        self.reserve(newcomer)?;
        let mut place = Place {
            live: self,
            participant: &participant,
            is_taken: false,
        };
        let open = OpenSession {
            room: self.id.clone(),
            session: participant.clone(),
            origin: entry.origin,
            sdp: entry.offered.sdp,
            tracks: entry.offered.tracks,
            slots: entry.offered.slots,
            audio: entry.audio,
            identity,
            memo,
        };
        let SfuReply::Answered { sdp, tracks, slots } = self.open(open).await? else {
            return Err(Refusal::new(
                ErrorCode::Internal,
                "the media server answered something else",
            ));
        };
        let (state, attachment) = self.admit(&participant, tracks, slots, entry.has_websocket)?;
        place.is_taken = true;
        drop(place);
        Ok(Entered {
            participant,
            secret,
            sdp,
            state,
            attachment,
        })
    }
}

impl LiveMeeting {
    /// Opens a newcomer's session on the node where there is a place for it; on another one if that has just gone.
    async fn open(&self, open: OpenSession) -> Result<SfuReply, Refusal> {
        let mut but = Vec::new();
        loop {
            let place = self.meetings.nodes.reserve(&self.node_counts(), &but, None);
            let place = place.ok_or_else(no_place)?;
            let node = place.node.clone();
            self.place(&open.session, node.clone(), open.memo.clone());
            match self.try_ask(&node, SfuRequest::Open(open.clone())).await {
                Err(BusError::NoNode(_)) if but.len() < MAX_OTHERS => but.push(node),
                Ok(reply) => {
                    place.opened();
                    return Ok(reply);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Nodes that may turn out to be gone before a newcomer is sent away.
const MAX_OTHERS: usize = 3;

/// A place in a meeting, given back unless the newcomer gets in.
struct Place<'a> {
    live: &'a LiveMeeting,
    participant: &'a str,
    is_taken: bool,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if !self.is_taken {
            self.live.leave(self.participant, EndReason::Left);
        }
    }
}
