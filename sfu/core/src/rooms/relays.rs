//! A room over several nodes: its links, and the participants behind them. To everybody in it they are as those of this
//! node are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};

use super::room::Room;
use super::session::{Session, Track};
use super::speakers_report::Speaking;
use super::types::{AudioPolicy, RoomId, RoomsError, RoomsEvent, Seat, SessionId, TrackInfo};
use super::{RoomKey, Rooms, RoomsOutput, SessionKey};
use crate::allocator::Mode;
use crate::negotiated::{DtlsRole, Fingerprint, FingerprintAlgorithm, IceCredentials, Negotiated};
use crate::relay::{LinkId, LinkKeys, LinkMessage};
use crate::units::{ConnectionId, Mid, TrackId, WorkerIndex};
use crate::worker_api::{OpenLink, SlotSource, TrackWants, WorkerCommand};

/// A link of a room, on one of the node's workers.
#[derive(Debug)]
pub(super) struct RoomLink {
    pub worker: WorkerIndex,
    /// What its other end wants, of tracks that there are and of such as may come.
    wants: FxHashMap<TrackId, u8>,
    /// What the subscribers behind it can use, of the same.
    asked: FxHashMap<TrackId, TrackWants>,
    /// The voices that go over it, as its worker was told.
    voices: Vec<TrackId>,
}

/// A participant on another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteParticipant {
    pub session: SessionId,
    pub identity: String,
    /// The link over which its media comes.
    pub via: LinkId,
    pub tracks: Vec<TrackInfo>,
}

/// Links of all rooms, by their ids.
#[derive(Debug, Default)]
pub(super) struct Relays {
    rooms: FxHashMap<LinkId, RoomKey>,
    /// Participants of other nodes, by name.
    participants: FxHashMap<SessionId, SessionKey>,
}

impl Relays {
    pub fn is_empty(&self) -> bool {
        self.rooms.is_empty() && self.participants.is_empty()
    }

    pub fn participant(&self, name: &str) -> Option<SessionKey> {
        self.participants.get(name).copied()
    }

    pub fn len(&self) -> usize {
        self.participants.len()
    }
}

impl Rooms {
    /// Opens a link of a room, or gives one that is open its next keys and the peer's address; the worker that has it.
    pub fn open_link(
        &mut self,
        room: &RoomId,
        id: LinkId,
        keys: LinkKeys,
        peer: Option<SocketAddr>,
    ) -> Result<WorkerIndex, RoomsError> {
        let limit = self.config.limits.links_per_room;
        let known = self.room_keys.get(room);
        if self.relays.rooms.get(&id).is_some_and(|other| Some(other) != known) {
            return Err(RoomsError::LinkTaken);
        }
        if let Some(key) = known
            && self.rooms[key.0].links.len() >= limit
            && !self.rooms[key.0].links.contains_key(&id)
        {
            return Err(RoomsError::TooManyLinks { limit });
        }
        let key = match self.room_keys.get(room) {
            Some(&key) => key,
            None => {
                let key = RoomKey(self.rooms.insert(Room::new(room.clone(), self.config.loudest)));
                self.room_keys.insert(room.clone(), key);
                key
            }
        };
        let entry = &self.rooms[key.0];
        let worker = match entry.links.get(&id) {
            Some(link) => link.worker,
            None => {
                let worker = self.placement.worker(Some(&entry.load), true);
                let link = RoomLink {
                    worker,
                    wants: FxHashMap::default(),
                    asked: FxHashMap::default(),
                    voices: Vec::new(),
                };
                self.rooms[key.0].links.insert(id, link);
                self.relays.rooms.insert(id, key);
                worker
            }
        };
        let open = OpenLink { link: id, keys, peer };
        self.command(worker, WorkerCommand::OpenLink(Box::new(open)));
        self.pass_voices(key);
        Ok(worker)
    }

    /// Somebody of this node is in the room.
    pub fn has_sessions(&self, room: &str) -> bool {
        let room = self.room_keys.get(room).map(|key| &self.rooms[key.0]);
        room.is_some_and(|room| !room.sessions.is_empty())
    }

    /// The links of a room.
    pub fn links_of(&self, room: &str) -> Vec<LinkId> {
        let room = self.room_keys.get(room).map(|key| &self.rooms[key.0]);
        room.map_or(Vec::new(), |room| room.links.keys().copied().collect())
    }

    /// Ends a link, with the participants behind it. Unknown ones are no error.
    pub fn close_link(&mut self, now: Instant, id: LinkId) {
        let Some(key) = self.relays.rooms.get(&id).copied() else {
            return;
        };
        let behind: Vec<SessionKey> = self.rooms[key.0]
            .remotes
            .iter()
            .copied()
            .filter(|session| self.sessions[session.0].via == Some(id))
            .collect();
        for session in behind {
            self.remove_remote_key(now, session);
        }
        self.relays.rooms.remove(&id);
        if let Some(link) = self.rooms[key.0].links.remove(&id) {
            for track in link.asked.keys() {
                self.forget_link_wants(now, *track, id);
            }
            self.command(link.worker, WorkerCommand::CloseLink { link: id });
        }
        if self.rooms[key.0].home == Some(id) {
            self.rooms[key.0].home = None;
        }
        self.forget_empty_room(key);
    }

    /// Over which link the node is found that decides who has the floor; none: this one does.
    pub fn set_home(&mut self, now: Instant, room: &str, home: Option<LinkId>) {
        if let Some(&key) = self.room_keys.get(room) {
            self.rooms[key.0].home = home;
            self.update_speakers(now, key);
        }
    }

    /// A participant of another node is there, or has other tracks than before.
    pub fn set_remote(&mut self, now: Instant, room: &str, remote: RemoteParticipant) -> Result<(), RoomsError> {
        let &room_key = self.room_keys.get(room).ok_or(RoomsError::LinkUnknown)?;
        let link = self.rooms[room_key.0].links.get(&remote.via);
        let worker = link.ok_or(RoomsError::LinkUnknown)?.worker;
        let limit = self.config.limits.tracks_per_session;
        if remote.tracks.len() > limit {
            return Err(RoomsError::TooManyTracks { limit });
        }
        let is_taken = |track: &TrackInfo| {
            let owner = self.tracks.get(&track.id);
            owner.is_some_and(|owner| Some(owner.session) != self.relays.participant(&remote.session))
        };
        if let Some(track) = remote.tracks.iter().find(|track| is_taken(track)) {
            return Err(RoomsError::TrackTaken(track.id));
        }
        if let Some(key) = self.relays.participant(&remote.session) {
            let known = &self.sessions[key.0];
            if known.via == Some(remote.via) && known.room == room_key {
                self.set_remote_tracks(now, key, &remote.tracks);
                return Ok(());
            }
            self.remove_remote_key(now, key);
        }
        let limit = self.config.limits.sessions_per_room;
        if self.relays.len() >= self.config.limits.remote_sessions || self.rooms[room_key.0].remotes.len() >= limit {
            return Err(RoomsError::RoomFull { limit });
        }
        let session = Session {
            id: remote.session.clone(),
            room: room_key,
            via: Some(remote.via),
            is_connected: true,
            seat: no_seat(worker),
            identity: self.identity_number(&remote.identity),
            negotiated: nothing_negotiated(),
            sdp_version: 0,
            tracks: Vec::new(),
            low_voice: None,
            mode: Mode::Normal,
            audio_policy: AudioPolicy::Loudest,
            audio_mids: Vec::new(),
            audio_slots: Vec::new(),
            video_slots: Vec::new(),
            watches: Vec::new(),
            ssrcs: FxHashSet::default(),
        };
        let key = SessionKey(self.sessions.insert(session));
        self.relays.participants.insert(remote.session, key);
        self.rooms[room_key.0].remotes.insert(key);
        self.set_remote_tracks(now, key, &remote.tracks);
        Ok(())
    }

    /// A participant of another node is gone. Unknown ones are no error.
    pub fn remove_remote(&mut self, now: Instant, room: &str, session: &str) {
        let key = self.relays.participant(session);
        let of_room = self.room_keys.get(room);
        if let Some(key) = key.filter(|key| Some(&self.sessions[key.0].room) == of_room) {
            self.remove_remote_key(now, key);
        }
    }

    /// The participants of other nodes that a room knows of.
    pub fn remotes_of(&self, room: &str) -> Vec<SessionId> {
        let room = self.room_keys.get(room).map(|key| &self.rooms[key.0]);
        let remotes = room.into_iter().flat_map(|room| &room.remotes);
        remotes.map(|key| self.sessions[key.0].id.clone()).collect()
    }

    fn remove_remote_key(&mut self, now: Instant, key: SessionKey) {
        // First, so that slots which name it look for it elsewhere.
        self.relays.participants.remove(&self.sessions[key.0].id);
        self.set_remote_tracks(now, key, &[]);
        let session = self.sessions.remove(key.0);
        let room = &mut self.rooms[session.room.0];
        room.remotes.remove(&key);
        room.remove(key, &[]);
        self.forget_empty_room(session.room);
    }

    fn set_remote_tracks(&mut self, now: Instant, key: SessionKey, infos: &[TrackInfo]) {
        let session = &self.sessions[key.0];
        let worker = session.seat.worker;
        let Some(link) = session.via else { return };
        let before: Vec<TrackId> = session.tracks.iter().map(|track| track.id).collect();
        let tracks: Vec<Track> = infos
            .iter()
            .map(|info| Track {
                mid: Mid::new(),
                id: info.id,
                source: info.source,
                muted: info.muted,
            })
            .collect();
        for track in tracks.iter().filter(|track| !before.contains(&track.id)) {
            let (track, kind) = (track.id, track.source.kind());
            self.command(worker, WorkerCommand::PublishRemote { link, track, kind });
        }
        if !self.set_tracks(now, key, tracks) {
            return;
        }
        self.on_tracks_changed(now, key);
        for track in before {
            if infos.iter().all(|info| info.id != track) {
                self.command(worker, WorkerCommand::UnpublishRemote { link, track });
            }
        }
    }

    /// Whom a slot means that names a participant: who is here, once connected, else who is on another node.
    pub(super) fn participant(&self, name: &str) -> Option<SessionKey> {
        let here = self.session_keys.get(name).copied();
        let there = self.relays.participant(name);
        match (here, there) {
            (Some(here), Some(there)) if !self.sessions[here.0].is_connected => Some(there),
            (here, there) => here.or(there),
        }
    }

    /// The one of a participant's two sessions that is shown, while it is here and on another node.
    pub(super) fn shown_session(&self, key: SessionKey) -> SessionKey {
        let session = &self.sessions[key.0];
        let shown = self.participant(&session.id);
        shown
            .filter(|shown| self.sessions[shown.0].room == session.room)
            .unwrap_or(key)
    }

    /// The same participant is here and on another node, as while it moves.
    pub(super) fn on_twin_connected(&mut self, now: Instant, key: SessionKey) {
        let session = &mut self.sessions[key.0];
        session.is_connected = true;
        if self.relays.participants.contains_key(&session.id) {
            self.on_tracks_changed(now, key);
        }
    }

    pub(super) fn on_link_want(&mut self, id: LinkId, track: TrackId, layers: u8) {
        let Some(&key) = self.relays.rooms.get(&id) else { return };
        let limit = self.most_wants();
        let Some(link) = self.rooms[key.0].links.get_mut(&id) else {
            return;
        };
        if layers == 0 {
            link.wants.remove(&track);
        } else if link.wants.len() < limit || link.wants.contains_key(&track) {
            link.wants.insert(track, layers);
        } else {
            return;
        }
        self.set_link_source(key, id, track, layers);
    }

    /// Tracks of which one link may want something.
    fn most_wants(&self) -> usize {
        self.config.limits.sessions_per_room * self.config.limits.tracks_per_session
    }

    /// Tells the link's worker where a track comes from that the other end wants; of one that comes over the same link nothing.
    fn set_link_source(&mut self, room: RoomKey, id: LinkId, track: TrackId, layers: u8) {
        let Some(owner) = self.tracks.get(&track).filter(|owner| owner.room == room) else {
            return;
        };
        let session = &self.sessions[owner.session.0];
        let source = session.track(track).map(|track| track.source);
        let (home, via) = (owner.home, session.via);
        let worker = self.rooms[room.0].links.get(&id).map(|link| link.worker);
        if let (Some(worker), Some(source)) = (worker, source)
            && via != Some(id)
        {
            let kind = source.kind();
            let source = SlotSource {
                track,
                home,
                is_relayed: via.is_some(),
            };
            let command = WorkerCommand::SetLinkSource {
                link: id,
                source,
                kind,
                layers,
            };
            self.command(worker, command);
        }
    }

    /// A track has come that other nodes may have asked for already.
    pub(super) fn apply_link_wants(&mut self, now: Instant, room: RoomKey, track: TrackId) {
        let mut wants = Vec::new();
        for (&id, link) in &self.rooms[room.0].links {
            wants.push((id, link.wants.get(&track).copied(), link.asked.get(&track).cloned()));
        }
        for (id, layers, asked) in wants {
            if let Some(layers) = layers {
                self.set_link_source(room, id, track, layers);
            }
            if let Some(asked) = asked {
                self.apply_asked(now, room, id, asked);
            }
        }
    }

    /// What those behind a link can use may be known before the track is, and before what they want of it.
    fn on_asked(&mut self, now: Instant, room: RoomKey, id: LinkId, asked: TrackWants) {
        let limit = self.most_wants();
        let Some(link) = self.rooms[room.0].links.get_mut(&id) else {
            return;
        };
        if asked.wants.is_empty() {
            link.asked.remove(&asked.track);
        } else if link.asked.len() < limit || link.asked.contains_key(&asked.track) {
            link.asked.insert(asked.track, asked.clone());
        } else {
            return;
        }
        self.apply_asked(now, room, id, asked);
    }

    fn apply_asked(&mut self, now: Instant, room: RoomKey, id: LinkId, asked: TrackWants) {
        let owner = self.tracks.get(&asked.track).filter(|owner| owner.room == room);
        if owner.is_some_and(|owner| self.sessions[owner.session.0].via != Some(id)) {
            self.on_link_wants(now, id, asked);
        }
    }

    /// A track ends: its links are told before its id is forgotten.
    pub(super) fn end_link_sources(&mut self, room: RoomKey, track: TrackId) {
        let links: Vec<LinkId> = self.rooms[room.0]
            .links
            .iter()
            .filter(|(_, link)| link.wants.contains_key(&track))
            .map(|(id, _)| *id)
            .collect();
        for id in links {
            self.set_link_source(room, id, track, 0);
        }
    }

    /// The loudest voices of this node, and of those behind it, go over the links whose other ends want them.
    pub(super) fn pass_voices(&mut self, room: RoomKey) {
        if self.rooms[room.0].links.is_empty() {
            return;
        }
        let order = self.rooms[room.0].audio.order().to_vec();
        let mut told = Vec::new();
        for (id, link) in &mut self.rooms[room.0].links {
            if link.voices != order {
                link.voices.clone_from(&order);
                told.push((link.worker, *id));
            }
        }
        for (worker, link) in told {
            let voices = order.clone();
            self.command(worker, WorkerCommand::PassVoices { link, voices });
        }
    }

    pub(super) fn on_link_message(&mut self, now: Instant, id: LinkId, message: LinkMessage) {
        let Some(&room) = self.relays.rooms.get(&id) else {
            return;
        };
        match message {
            LinkMessage::Wants { track, wants, heights } => {
                self.on_asked(now, room, id, TrackWants { track, wants, heights });
            }
            LinkMessage::Plan { track, plan } => {
                let owner = self.tracks.get(&track).map(|owner| owner.session);
                if owner.is_some_and(|owner| self.sessions[owner.0].via == Some(id)) {
                    self.on_remote_plan(track, plan);
                }
            }
            LinkMessage::Speakers { dominant, speaking } => {
                if self.rooms[room.0].home == Some(id) {
                    self.on_told_speakers(room, dominant.as_ref());
                    let told = Speaking {
                        dominant,
                        speaking: speaking.into_iter().collect(),
                    };
                    self.tell_speakers(room, &told, Some(id));
                }
            }
            LinkMessage::Want { .. } | LinkMessage::Layers { .. } => {}
        }
    }

    /// The node that decides it says who has the floor.
    fn on_told_speakers(&mut self, room_key: RoomKey, dominant: Option<&Arc<str>>) {
        let dominant = dominant.and_then(|name| self.participant(name));
        let dominant = dominant.filter(|key| self.sessions[key.0].room == room_key);
        let room = &mut self.rooms[room_key.0];
        if let Some(dominant) = dominant
            && room.dominants.front() != Some(&dominant)
        {
            room.on_dominant(dominant);
            self.update_spotlight(room_key);
            self.refresh_followers(room_key);
        }
    }

    /// Passes on who speaks, away from where it came from.
    pub(super) fn tell_speakers(&mut self, room: RoomKey, told: &Speaking, from: Option<LinkId>) {
        let links: BTreeMap<LinkId, WorkerIndex> = self.rooms[room.0]
            .links
            .iter()
            .filter(|(id, _)| Some(**id) != from)
            .map(|(id, link)| (*id, link.worker))
            .collect();
        for (link, worker) in links {
            let message = LinkMessage::Speakers {
                dominant: told.dominant.clone(),
                speaking: told.speaking.iter().take(crate::relay::MAX_SPEAKING).cloned().collect(),
            };
            let message = Box::new(message);
            self.command(worker, WorkerCommand::TellLink { link, message });
        }
    }

    pub(super) fn on_link_state(&mut self, now: Instant, id: LinkId, is_up: bool) {
        let Some(&key) = self.relays.rooms.get(&id) else { return };
        let room = self.rooms[key.0].id.clone();
        self.outputs
            .push_back(RoomsOutput::Event(RoomsEvent::Link { room, link: id, is_up }));
        if is_up && self.rooms[key.0].home.is_none() {
            // Who has come or come back does not know who has the floor.
            self.rooms[key.0].report.forget();
            self.update_speakers(now, key);
        }
    }

    /// The worker of a link.
    pub(super) fn link_worker(&self, id: LinkId) -> Option<WorkerIndex> {
        let room = self.relays.rooms.get(&id)?;
        Some(self.rooms[room.0].links.get(&id)?.worker)
    }

    pub(super) fn forget_empty_room(&mut self, key: RoomKey) {
        if let Some(room) = self.rooms.get(key.0).filter(|room| room.is_empty()) {
            let (id, wakeup) = (room.id.clone(), room.wakeup);
            self.rooms.remove(key.0);
            self.room_keys.remove(&id);
            if let Some(wakeup) = wakeup {
                self.wakeups.remove(&(wakeup, key));
            }
        }
    }
}

/// What a participant of another node has in place of a connection.
fn no_seat(worker: WorkerIndex) -> Seat {
    Seat {
        worker,
        connection: ConnectionId(0),
        local_ice: IceCredentials {
            ufrag: String::new(),
            pwd: String::new(),
        },
        sdp_session_id: 0,
        first_ssrc: 0,
        publishes: false,
    }
}

fn nothing_negotiated() -> Negotiated {
    Negotiated {
        remote_ice: IceCredentials {
            ufrag: String::new(),
            pwd: String::new(),
        },
        remote_fingerprint: Fingerprint {
            algorithm: FingerprintAlgorithm::Sha256,
            digest: Vec::new(),
        },
        dtls_role: DtlsRole::Passive,
        media: Vec::new(),
    }
}
