//! One room: who is in it, who watches whom, and who has the floor.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use crate::relay::LinkId;
use crate::speakers::SpeakerDetector;
use crate::units::TrackId;

use super::SessionKey;
use super::audio_set::AudioSet;
use super::placement::Load;
use super::relays::RoomLink;
use super::session::Track;
use super::speakers_report::SpeakersReport;
use super::types::{RoomId, SessionId, TrackSource};

/// How many speakers back the active-speaker slots look for one with a camera.
const REMEMBERED_SPEAKERS: usize = 8;

/// A track that is published in a room, with its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub session: SessionKey,
    pub track: TrackId,
}

/// The first choice of a room and the one for whoever is the first choice himself.
pub(super) type Choice = [Option<Source>; 2];

#[derive(Debug)]
pub(super) struct Room {
    pub id: RoomId,
    /// Those of this node.
    pub sessions: BTreeSet<SessionKey>,
    /// Participants on other nodes.
    pub remotes: BTreeSet<SessionKey>,
    pub links: BTreeMap<LinkId, RoomLink>,
    /// Over which link the node is found that decides who has the floor; none: this one does.
    pub home: Option<LinkId>,
    /// Its sessions per worker.
    pub load: Load,
    /// Sessions by the participant that one of their slots names, present or not.
    pub watchers: HashMap<SessionId, BTreeSet<SessionKey>>,
    /// Sessions with a slot that shows the active speaker.
    pub spotlight_watchers: BTreeSet<SessionKey>,
    /// Sessions whose audio follows one participant.
    pub followers: BTreeSet<SessionKey>,
    /// Sessions that publish anything, in the order in which they began to.
    pub publishers: Vec<SessionKey>,
    /// Unmuted audio in the order of publishing.
    pub audible: Vec<TrackId>,
    /// Those of `audible` that are the sound of a shared screen.
    pub shared_sound: Vec<TrackId>,
    /// Microphones only.
    pub speakers: SpeakerDetector<TrackId>,
    pub audio: AudioSet,
    /// Dominant speakers, the present one first; only sessions of this room.
    pub dominants: VecDeque<SessionKey>,
    /// Whose camera the active-speaker slots show.
    pub spotlight: Choice,
    pub report: SpeakersReport,
    pub wakeup: Option<Instant>,
}

impl Room {
    pub(super) fn new(id: RoomId, loudest: usize) -> Self {
        Self {
            id,
            sessions: BTreeSet::new(),
            remotes: BTreeSet::new(),
            links: BTreeMap::new(),
            home: None,
            load: Load::default(),
            watchers: HashMap::new(),
            spotlight_watchers: BTreeSet::new(),
            followers: BTreeSet::new(),
            publishers: Vec::new(),
            audible: Vec::new(),
            shared_sound: Vec::new(),
            speakers: SpeakerDetector::new(loudest),
            audio: AudioSet::default(),
            dominants: VecDeque::new(),
            spotlight: [None; 2],
            report: SpeakersReport::default(),
            wakeup: None,
        }
    }

    /// Nobody is in it, here or behind a link.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.remotes.is_empty() && self.links.is_empty()
    }

    pub(super) fn on_dominant(&mut self, session: SessionKey) {
        if self.dominants.front() != Some(&session) {
            self.dominants.retain(|&other| other != session);
            self.dominants.push_front(session);
            self.dominants.truncate(REMEMBERED_SPEAKERS);
        }
    }

    /// The first two sources: those of the last dominant speakers, then of the publishers in order,
    /// there the unmuted ones first. `shown` tells which of a participant's sessions is shown.
    pub(super) fn choose(
        &self,
        shown: impl Fn(SessionKey) -> SessionKey,
        source_of: impl Fn(SessionKey) -> Option<Track>,
    ) -> Choice {
        let offered = |&session: &SessionKey| {
            let session = shown(session);
            source_of(session).map(|track| (session, track))
        };
        let spoke = self.dominants.iter().filter_map(offered);
        let unmuted = self
            .publishers
            .iter()
            .filter_map(offered)
            .filter(|(_, track)| !track.muted);
        let any = self.publishers.iter().filter_map(offered);
        let mut choice: Choice = [None; 2];
        for (session, track) in spoke.chain(unmuted).chain(any) {
            let source = Some(Source {
                session,
                track: track.id,
            });
            match choice {
                [None, _] => choice[0] = source,
                [Some(first), None] if first.session != session => {
                    choice[1] = source;
                    break;
                }
                _ => {}
            }
        }
        choice
    }

    /// An audio track was published or unmuted.
    pub(super) fn on_audible(&mut self, track: &Track) {
        self.audible.push(track.id);
        if track.source == TrackSource::ScreenAudio {
            self.shared_sound.push(track.id);
        }
    }

    /// An audio track ended or was muted.
    pub(super) fn on_inaudible(&mut self, track: TrackId) {
        self.audible.retain(|&audible| audible != track);
        self.shared_sound.retain(|&shared| shared != track);
    }

    /// Follows what a session watches.
    pub(super) fn watch(&mut self, viewer: SessionKey, watches: &[SessionId], active_speaker: bool) {
        for participant in watches {
            self.watchers.entry(participant.clone()).or_default().insert(viewer);
        }
        if active_speaker {
            self.spotlight_watchers.insert(viewer);
        }
    }

    pub(super) fn unwatch(&mut self, viewer: SessionKey, watches: &[SessionId]) {
        for participant in watches {
            if let Some(viewers) = self.watchers.get_mut(participant) {
                viewers.remove(&viewer);
                if viewers.is_empty() {
                    self.watchers.remove(participant);
                }
            }
        }
        self.spotlight_watchers.remove(&viewer);
    }

    /// Forgets a session but for what it publishes.
    pub(super) fn remove(&mut self, session: SessionKey, watches: &[SessionId]) {
        self.unwatch(session, watches);
        self.sessions.remove(&session);
        self.followers.remove(&session);
        self.publishers.retain(|&other| other != session);
        self.dominants.retain(|&other| other != session);
    }
}
