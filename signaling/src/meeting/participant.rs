//! One participant of a meeting.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::moves::Move;
use super::stills::StillLink;
use crate::limits::{Rate, TokenBucket};
use crate::network::Network;
use tianqiao_protocol::fleet::NodeId;
use tianqiao_protocol::{
    LinkQuality, ParticipantId, ReceiveMode, SlotPause, SlotState, TrackId, TrackInfo, UnsupportedSlot, WantedTrack, ws,
};

/// How a participant takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Web,
    /// Publishes only (RFC 9725).
    Whip,
    /// Watches only; takes a place but is not listed.
    Whep,
}

impl Kind {
    pub fn label(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Newcomer {
    pub id: ParticipantId,
    /// The person, the same over several sessions.
    pub identity: String,
    pub name: String,
    pub kind: Kind,
    /// With which the session can be resumed.
    pub secret: String,
    /// From where it comes.
    pub network: Network,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The SFU has not answered yet.
    Reserved,
    Attached,
    /// The WebSocket is lost; media goes on.
    Detached {
        since: Instant,
    },
    /// WHIP and WHEP: there is no WebSocket.
    Unattended,
}

pub(super) struct Participant {
    pub id: ParticipantId,
    pub identity: String,
    pub secret: String,
    pub kind: Kind,
    pub phase: Phase,
    pub network: Network,
    pub reserved_at: Instant,
    /// Its media has connected once.
    pub connected: bool,
    /// Bytes of chat.
    pub chat: TokenBucket,
    pub tracks: Vec<TrackInfo>,
    pub quality: LinkQuality,
    /// The latest change of the list that it knows of.
    pub knows_roster_until: u64,
    /// ICE restarts over HTTP so far.
    pub ice_generation: u32,
    pub still_link: Arc<StillLink>,
    /// Where its media is; none before it is placed.
    pub node: Option<NodeId>,
    /// The move to another node that is under way.
    pub moving: Option<Move>,
    /// What its nodes keep for a next owner.
    pub memo: String,
    pub mode: ReceiveMode,
    name: String,
    /// What each video slot shows, by mid. While reserved: the changes that came before the answer.
    slots: BTreeMap<String, Option<TrackId>>,
    /// Slots that stand still for want of bandwidth.
    paused: BTreeSet<String>,
    /// Tracks that the client cannot decode, by the slot that shows them.
    unsupported: BTreeMap<String, TrackId>,
    /// What others can use of its tracks, also of those that an answer on its way will name.
    wanted: BTreeMap<TrackId, WantedTrack>,
}

/// What a session on another node has, until it is the participant's only one.
#[derive(Clone, Debug, Default)]
pub(super) struct Media {
    pub tracks: Vec<TrackInfo>,
    pub slots: BTreeMap<String, Option<TrackId>>,
    pub paused: BTreeSet<String>,
    pub unsupported: BTreeMap<String, TrackId>,
    pub wanted: BTreeMap<TrackId, WantedTrack>,
    pub quality: LinkQuality,
}

impl Participant {
    pub fn new(newcomer: Newcomer, chat: Rate, now: Instant) -> Self {
        Self {
            id: newcomer.id,
            identity: newcomer.identity,
            secret: newcomer.secret,
            kind: newcomer.kind,
            phase: Phase::Reserved,
            network: newcomer.network,
            reserved_at: now,
            connected: false,
            chat: TokenBucket::new(chat, now),
            tracks: Vec::new(),
            quality: LinkQuality::default(),
            knows_roster_until: 0,
            ice_generation: 0,
            still_link: Arc::default(),
            node: None,
            moving: None,
            memo: String::new(),
            mode: ReceiveMode::Full,
            name: newcomer.name,
            slots: BTreeMap::new(),
            paused: BTreeSet::new(),
            unsupported: BTreeMap::new(),
            wanted: BTreeMap::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Others see it.
    pub fn is_listed(&self) -> bool {
        self.kind != Kind::Whep && self.phase != Phase::Reserved
    }

    pub fn detached_since(&self) -> Option<Instant> {
        match self.phase {
            Phase::Detached { since } => Some(since),
            _ => None,
        }
    }

    pub fn to_wire(&self) -> ws::Participant {
        ws::Participant {
            id: self.id.clone(),
            name: self.name.clone(),
            tracks: self.tracks.clone(),
        }
    }

    pub fn quality_to_wire(&self) -> ws::ParticipantQuality {
        ws::ParticipantQuality {
            participant: self.id.clone(),
            quality: self.quality,
        }
    }

    /// The slots that show something.
    pub fn slots(&self) -> Vec<SlotState> {
        let shown = self.slots.iter().filter(|(_, track)| track.is_some());
        shown
            .map(|(mid, &track)| SlotState {
                mid: mid.clone(),
                track,
            })
            .collect()
    }

    /// Its link does not carry all that its slots show.
    pub fn lacks_video(&self) -> bool {
        !self.paused.is_empty()
    }

    /// The tracks of its slots that stand still for want of bandwidth.
    pub fn lacked(&self) -> impl Iterator<Item = TrackId> {
        let shown = self.paused.iter().filter_map(|mid| self.slots.get(mid));
        shown.filter_map(|track| *track)
    }

    pub fn has_track(&self, track: TrackId) -> bool {
        self.tracks.iter().any(|known| known.id == track)
    }

    /// One of its slots shows it.
    pub fn shows(&self, track: TrackId) -> bool {
        self.slots.values().any(|shown| *shown == Some(track))
    }

    pub fn paused(&self) -> Vec<String> {
        self.paused.iter().cloned().collect()
    }

    pub fn unsupported(&self) -> Vec<UnsupportedSlot> {
        let shown = self
            .unsupported
            .iter()
            .filter(|(mid, track)| self.slots.get(*mid) == Some(&Some(**track)));
        shown
            .map(|(mid, &track)| UnsupportedSlot {
                mid: mid.clone(),
                track,
            })
            .collect()
    }

    /// Applies changes and returns those that change something.
    pub fn set_paused(&mut self, pauses: &[SlotPause]) -> Vec<SlotPause> {
        let mut changed = Vec::new();
        for pause in pauses {
            let is_news = if pause.paused {
                self.paused.insert(pause.mid.clone())
            } else {
                self.paused.remove(&pause.mid)
            };
            if is_news {
                changed.push(pause.clone());
            }
        }
        changed
    }

    /// Returns whether it is news.
    pub fn set_unsupported(&mut self, slot: &UnsupportedSlot) -> bool {
        self.unsupported.insert(slot.mid.clone(), slot.track) != Some(slot.track)
    }

    /// Of the tracks that it publishes.
    pub fn wanted(&self) -> Vec<WantedTrack> {
        let is_own = |id: &TrackId| self.tracks.iter().any(|track| track.id == *id);
        let own = self.wanted.iter().filter(|(id, _)| is_own(id));
        own.map(|(_, wanted)| wanted.clone()).collect()
    }

    /// Returns what is news.
    pub fn set_wanted(&mut self, tracks: Vec<WantedTrack>) -> Vec<WantedTrack> {
        let mut news = Vec::new();
        for wanted in tracks {
            if self.wanted.insert(wanted.track, wanted.clone()).as_ref() != Some(&wanted) {
                news.push(wanted);
            }
        }
        news
    }

    pub fn set_tracks(&mut self, tracks: Vec<TrackInfo>) {
        self.wanted.retain(|id, _| tracks.iter().any(|track| track.id == *id));
        self.tracks = tracks;
    }

    /// What is unmuted is sent whole until it is said anew what of it is wanted.
    pub fn on_mute(&mut self, track: TrackId, muted: bool) {
        if !muted {
            self.wanted.retain(|id, wanted| *id != track || wanted.low_voice);
        }
    }

    /// The slots of the first answer. Events that overtook the answer are newer than it.
    pub fn set_first_slots(&mut self, slots: Vec<SlotState>) {
        for slot in slots {
            self.slots.entry(slot.mid).or_insert(slot.track);
        }
        self.slots.retain(|_, track| track.is_some());
    }

    /// Applies changes and returns those that change something.
    pub fn change_slots(&mut self, slots: &[SlotState]) -> Vec<SlotState> {
        let reserved = self.phase == Phase::Reserved;
        let mut changed = Vec::new();
        for slot in slots {
            let before = if slot.track.is_some() || reserved {
                self.slots.insert(slot.mid.clone(), slot.track)
            } else {
                self.slots.remove(&slot.mid)
            };
            if before.flatten() != slot.track {
                self.unsupported.remove(&slot.mid);
                changed.push(slot.clone());
            }
        }
        changed
    }

    /// Its media is that of another session from now on.
    pub fn replace_media(&mut self, media: Media) {
        self.wanted.clear();
        self.tracks = media.tracks;
        self.slots = media.slots;
        self.paused = media.paused;
        self.unsupported = media.unsupported;
        self.set_wanted(media.wanted.into_values().collect());
        self.quality = media.quality;
    }

    /// Makes `slots` all that show something, and returns the difference.
    pub fn replace_slots(&mut self, slots: Vec<SlotState>) -> Vec<SlotState> {
        let emptied = self
            .slots
            .keys()
            .filter(|mid| !slots.iter().any(|slot| slot.mid == **mid));
        let emptied = emptied.map(|mid| SlotState {
            mid: mid.clone(),
            track: None,
        });
        let target: Vec<SlotState> = emptied.chain(slots.iter().cloned()).collect();
        self.change_slots(&target)
    }
}
