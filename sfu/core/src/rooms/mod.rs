//! The brain of a node: rooms, their sessions, and which track stands in which slot.
//!
//! Sans-IO: requests and worker events go in with `now`, [`RoomsOutput`]s come out. After every
//! call, drain [`Rooms::poll_output`]. SDP is answered outside, between [`Rooms::seat`] and
//! [`Rooms::open`].

mod audio_set;
mod demand;
mod placement;
mod publish;
mod relays;
mod room;
mod session;
mod slots;
mod speakers_report;
mod speaking;
pub mod types;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use rustc_hash::{FxHashMap, FxHashSet};
use slab::Slab;

use crate::allocator::Mode;
use crate::negotiated::{IceCredentials, Negotiated};
use crate::relay::LinkId;
use crate::transport::ufrag;
use crate::units::{ConnectionId, Mid, TrackId, WorkerIndex};
use crate::worker_api::{
    MAX_SLOT_SSRCS, OpenConnection, PublishedTrack, Renegotiate, SetSlot, SlotSource, WorkerCommand, WorkerEvent,
};

use demand::Demands;
use placement::Placement;
use relays::Relays;
pub use relays::RemoteParticipant;
use room::Room;
use session::Session;
pub use types::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct SessionKey(usize);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct RoomKey(usize);

/// Who publishes a track.
#[derive(Clone, Copy, Debug)]
struct TrackOwner {
    session: SessionKey,
    room: RoomKey,
    home: WorkerIndex,
}

/// What is needed to answer another offer of a running session.
#[derive(Clone, Debug)]
pub struct Renegotiation {
    pub seat: Seat,
    /// What the last answer agreed on.
    pub negotiated: Negotiated,
    /// The section on which the session sends a low voice.
    pub low_voice: Option<Mid>,
    /// `sess-version` of the new answer.
    pub sdp_version: u64,
}

pub struct Rooms {
    config: RoomsConfig,
    placement: Placement,
    sessions: Slab<Session>,
    rooms: Slab<Room>,
    session_keys: HashMap<SessionId, SessionKey>,
    room_keys: HashMap<RoomId, RoomKey>,
    connections: FxHashMap<(WorkerIndex, ConnectionId), SessionKey>,
    tracks: FxHashMap<TrackId, TrackOwner>,
    wakeups: BTreeSet<(Instant, RoomKey)>,
    demands: Demands,
    relays: Relays,
    outputs: VecDeque<RoomsOutput>,
    /// Makes numbers of identities that nobody can foresee.
    identities: RandomState,
}

impl Rooms {
    pub fn new(config: RoomsConfig) -> Self {
        Self {
            config,
            placement: Placement::new(config.workers),
            sessions: Slab::new(),
            rooms: Slab::new(),
            session_keys: HashMap::new(),
            room_keys: HashMap::new(),
            connections: FxHashMap::default(),
            tracks: FxHashMap::default(),
            wakeups: BTreeSet::new(),
            demands: Demands::default(),
            relays: Relays::default(),
            outputs: VecDeque::new(),
            identities: RandomState::new(),
        }
    }

    /// Those of this node.
    pub fn session_count(&self) -> usize {
        self.sessions.len() - self.relays.len()
    }

    pub fn room_count(&self) -> usize {
        self.rooms.len()
    }

    pub fn track_count(&self) -> usize {
        self.tracks.len()
    }

    /// Nothing is kept of any session, room, track or timer.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
            && self.rooms.is_empty()
            && self.session_keys.is_empty()
            && self.room_keys.is_empty()
            && self.connections.is_empty()
            && self.tracks.is_empty()
            && self.wakeups.is_empty()
            && self.demands.is_empty()
            && self.relays.is_empty()
            && self.placement.load.is_empty()
    }

    /// A place for a new session; nothing is kept of it until [`Self::open`].
    pub fn seat(&mut self, room: &RoomId, session: &SessionId, publishes: bool) -> Result<Seat, RoomsError> {
        self.check_place(room, session)?;
        let load = self.room_keys.get(room).map(|key| &self.rooms[key.0].load);
        let worker = self.placement.worker(load, publishes);
        let connection = self.placement.connection(worker);
        let sdp_session_id = u64::from(self.placement.number()) << 16;
        Ok(Seat {
            worker,
            connection,
            local_ice: ufrag::generate(worker, connection),
            sdp_session_id,
            // Room to count on from it without a wrap.
            first_ssrc: self.placement.number() >> 1 | 1,
            publishes,
        })
    }

    fn check_place(&self, room: &RoomId, session: &SessionId) -> Result<(), RoomsError> {
        let limits = &self.config.limits;
        if self.session_keys.contains_key(session) {
            return Err(RoomsError::SessionExists(session.clone()));
        }
        if self.session_count() >= limits.sessions {
            return Err(RoomsError::NodeFull { limit: limits.sessions });
        }
        let limit = limits.sessions_per_room;
        match self.room_keys.get(room) {
            Some(key) if self.rooms[key.0].sessions.len() >= limit => Err(RoomsError::RoomFull { limit }),
            _ => Ok(()),
        }
    }

    /// Opens a session whose offer was answered with the seat's credentials. The room comes into
    /// being with its first session.
    pub fn open(&mut self, now: Instant, open: OpenSession) -> Result<SessionState, RoomsError> {
        self.check_place(&open.room, &open.session)?;
        self.check_sections(&open.negotiated, &open.slots)?;
        let sections = self.sections(None, &open.negotiated, &open.tracks)?;
        let room = *self
            .room_keys
            .entry(open.room.clone())
            .or_insert_with(|| RoomKey(self.rooms.insert(Room::new(open.room, self.config.loudest))));
        let mut session = Session {
            id: open.session.clone(),
            room,
            seat: open.seat,
            via: None,
            is_connected: false,
            identity: self.identity_number(&open.identity),
            negotiated: open.negotiated.clone(),
            sdp_version: 1,
            tracks: Vec::new(),
            low_voice: sections.low_voice,
            mode: Mode::Normal,
            audio_policy: open.audio,
            audio_mids: Vec::new(),
            audio_slots: Vec::new(),
            video_slots: Vec::new(),
            watches: Vec::new(),
            ssrcs: FxHashSet::default(),
        };
        session.set_negotiated(open.negotiated);
        let (worker, connection) = (session.seat.worker, session.seat.connection);
        let (publishes, follows) = (session.seat.publishes, session.audio_policy != AudioPolicy::Loudest);
        self.command(
            worker,
            WorkerCommand::Open(Box::new(OpenConnection {
                connection,
                local_ice: session.seat.local_ice.clone(),
                negotiated: session.negotiated.clone(),
                tracks: sections.published(),
            })),
        );
        let key = SessionKey(self.sessions.insert(session));
        self.session_keys.insert(open.session, key);
        self.connections.insert((worker, connection), key);
        self.placement.load.add(worker, publishes);
        let entry = &mut self.rooms[room.0];
        entry.sessions.insert(key);
        entry.load.add(worker, publishes);
        if follows {
            entry.followers.insert(key);
        }
        self.set_views(key, &open.slots);
        let tracks_changed = self.set_tracks(now, key, sections.tracks);
        self.refresh_video(key, false);
        if tracks_changed {
            self.on_tracks_changed(now, key);
        }
        self.refresh_audio(key);
        Ok(self.state_of(key))
    }

    /// What an answer to another offer of the session needs.
    pub fn renegotiation(&self, session: &str) -> Result<Renegotiation, RoomsError> {
        let session = &self.sessions[self.key_of(session)?.0];
        Ok(Renegotiation {
            seat: session.seat.clone(),
            negotiated: session.negotiated.clone(),
            low_voice: session.low_voice,
            sdp_version: session.sdp_version + 1,
        })
    }

    /// Fresh local credentials for an ICE restart of the session's connection.
    pub fn fresh_credentials(&self, session: &str) -> Result<IceCredentials, RoomsError> {
        let seat = &self.sessions[self.key_of(session)?.0].seat;
        Ok(ufrag::generate(seat.worker, seat.connection))
    }

    /// Takes another answered offer of a running session. Tracks and slots keep their ids and
    /// contents by mid. One whose slots would have more than [`MAX_SLOT_SSRCS`] in its life is refused.
    pub fn renegotiate(&mut self, now: Instant, reoffer: Reoffer) -> Result<SessionState, RoomsError> {
        let key = self.key_of(&reoffer.session)?;
        self.check_sections(&reoffer.negotiated, &reoffer.slots)?;
        if self.sessions[key.0].ssrcs_with(&reoffer.negotiated) > MAX_SLOT_SSRCS {
            return Err(RoomsError::SlotsUsedUp { limit: MAX_SLOT_SSRCS });
        }
        let sections = self.sections(Some(key), &reoffer.negotiated, &reoffer.tracks)?;
        let session = &mut self.sessions[key.0];
        session.sdp_version += 1;
        session.set_negotiated(reoffer.negotiated);
        if let Some(local_ice) = &reoffer.local_ice {
            session.seat.local_ice = local_ice.clone();
        }
        session.low_voice = sections.low_voice;
        let worker = session.seat.worker;
        let command = WorkerCommand::Renegotiate(Box::new(Renegotiate {
            connection: session.seat.connection,
            local_ice: reoffer.local_ice,
            negotiated: session.negotiated.clone(),
            tracks: sections.published(),
        }));
        self.command(worker, command);
        self.set_views(key, &reoffer.slots);
        let tracks_changed = self.set_tracks(now, key, sections.tracks);
        self.refresh_video(key, true);
        if tracks_changed {
            self.on_tracks_changed(now, key);
        }
        self.refresh_audio(key);
        Ok(self.state_of(key))
    }

    /// ICE restart without a new offer; returns the seat with its new local credentials.
    pub fn restart_ice(&mut self, session: &str, remote: IceCredentials) -> Result<Seat, RoomsError> {
        let key = self.key_of(session)?;
        let local = self.fresh_credentials(session)?;
        let session = &mut self.sessions[key.0];
        session.seat.local_ice = local.clone();
        session.negotiated.remote_ice = remote.clone();
        let seat = session.seat.clone();
        self.command(
            seat.worker,
            WorkerCommand::RestartIce {
                connection: seat.connection,
                local,
                remote,
            },
        );
        Ok(seat)
    }

    /// Sets what all video slots of a session are to show, and how much of it.
    pub fn set_viewport(&mut self, session: &str, views: &[SlotView], mode: Mode) -> Result<(), RoomsError> {
        let key = self.key_of(session)?;
        self.check_views(views)?;
        self.set_views(key, views);
        self.refresh_video(key, true);
        let session = &mut self.sessions[key.0];
        if session.mode != mode {
            session.mode = mode;
            let Seat { worker, connection, .. } = session.seat;
            self.command(worker, WorkerCommand::SetMode { connection, mode });
        }
        Ok(())
    }

    /// Mutes or unmutes one of the session's own tracks.
    pub fn set_muted(&mut self, now: Instant, session: &str, track: TrackId, muted: bool) -> Result<(), RoomsError> {
        let key = self.key_of(session)?;
        let session = &self.sessions[key.0];
        if session.track(track).is_none() {
            return Err(RoomsError::TrackUnknown(track));
        }
        let mut tracks = session.tracks.clone();
        for own in tracks.iter_mut().filter(|own| own.id == track) {
            own.muted = muted;
        }
        if self.set_tracks(now, key, tracks) {
            self.on_tracks_changed(now, key);
        }
        Ok(())
    }

    /// Ends a session; no event follows. False where there is none of that name.
    pub fn close(&mut self, now: Instant, session: &str) -> bool {
        let Ok(key) = self.key_of(session) else {
            return false;
        };
        let seat = &self.sessions[key.0].seat;
        let (worker, connection) = (seat.worker, seat.connection);
        self.command(worker, WorkerCommand::Close { connection });
        self.remove(now, key);
        true
    }

    /// Ends every session of a room; returns how many.
    pub fn close_room(&mut self, now: Instant, room: &str) -> usize {
        let Some(&room) = self.room_keys.get(room) else {
            return 0;
        };
        let sessions = self.rooms[room.0].sessions.clone();
        let links: Vec<LinkId> = self.rooms[room.0].links.keys().copied().collect();
        for &key in &sessions {
            self.close_with_room(key);
        }
        for link in links {
            self.close_link(now, link);
        }
        sessions.len()
    }

    /// Ends everything, with a [`RoomsEvent::Closed`] for each session.
    pub fn shut_down(&mut self) {
        let own = self.sessions.iter().filter(|(_, session)| session.via.is_none());
        let keys: Vec<SessionKey> = own.map(|(key, _)| SessionKey(key)).collect();
        for key in keys {
            let session = self.sessions[key.0].id.clone();
            self.event(RoomsEvent::Closed {
                session,
                reason: EndReason::Shutdown,
            });
            self.close_with_room(key);
        }
    }

    pub fn handle_worker_event(&mut self, now: Instant, worker: WorkerIndex, event: WorkerEvent) {
        match event {
            WorkerEvent::Connected { connection } => {
                if let Some(&key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.on_twin_connected(now, key);
                    self.event(RoomsEvent::Connected { session });
                }
            }
            WorkerEvent::Closed { connection, reason } => {
                if let Some(&key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.remove(now, key);
                    self.event(RoomsEvent::Closed {
                        session,
                        reason: EndReason::Connection(reason),
                    });
                }
            }
            WorkerEvent::AudioLevels { levels } => self.on_audio_levels(now, &levels),
            WorkerEvent::SlotsPaused { connection, pauses } => {
                if let Some(key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.event(RoomsEvent::SlotsPaused { session, pauses });
                }
            }
            WorkerEvent::Quality { connection, quality } => {
                if let Some(key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.event(RoomsEvent::Quality { session, quality });
                }
            }
            WorkerEvent::Spare { connection, spare } => {
                if let Some(key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.event(RoomsEvent::Spare { session, spare });
                }
            }
            WorkerEvent::CodecUnsupported {
                connection, mid, track, ..
            } => {
                if let Some(key) = self.connections.get(&(worker, connection)) {
                    let session = self.sessions[key.0].id.clone();
                    self.event(RoomsEvent::CodecUnsupported { session, mid, track });
                }
            }
            WorkerEvent::Wanted { tracks } => self.on_wanted(now, worker, tracks),
            WorkerEvent::LinkState { link, is_up } => self.on_link_state(now, link, is_up),
            WorkerEvent::LinkWant { link, track, layers } => self.on_link_want(link, track, layers),
            WorkerEvent::LinkMessage { link, message } => self.on_link_message(now, link, *message),
        }
    }

    pub fn poll_output(&mut self) -> Option<RoomsOutput> {
        self.outputs.pop_front()
    }

    fn key_of(&self, session: &str) -> Result<SessionKey, RoomsError> {
        let key = self.session_keys.get(session).copied();
        key.ok_or_else(|| RoomsError::SessionUnknown(session.to_owned()))
    }

    fn state_of(&self, key: SessionKey) -> SessionState {
        let session = &self.sessions[key.0];
        SessionState {
            tracks: session.track_infos(),
            slots: session.shown_slots(),
        }
    }

    /// Forgets a session and tells the others what that changes.
    fn remove(&mut self, now: Instant, key: SessionKey) {
        // First, so that slots which name it look for it on other nodes.
        self.session_keys.remove(&self.sessions[key.0].id);
        let published = self.set_tracks(now, key, Vec::new());
        let room = self.sessions[key.0].room;
        self.rooms[room.0].remove(key, &self.sessions[key.0].watches);
        if published && !self.rooms[room.0].sessions.is_empty() {
            self.on_tracks_changed(now, key);
        }
        self.forget(key);
    }

    /// Closes a session whose whole room closes, so that nobody needs be told.
    fn close_with_room(&mut self, key: SessionKey) {
        let seat = &self.sessions[key.0].seat;
        let (worker, connection) = (seat.worker, seat.connection);
        self.command(worker, WorkerCommand::Close { connection });
        for track in &self.sessions[key.0].tracks {
            self.tracks.remove(&track.id);
            self.demands.remove(track.id);
        }
        let session = &self.sessions[key.0];
        self.rooms[session.room.0].remove(key, &session.watches);
        self.forget(key);
    }

    /// Takes a session that its room no longer knows out of the maps, and an empty room with it.
    fn forget(&mut self, key: SessionKey) {
        let session = self.sessions.remove(key.0);
        let seat = &session.seat;
        self.session_keys.remove(&session.id);
        self.connections.remove(&(seat.worker, seat.connection));
        self.placement.load.remove(seat.worker, seat.publishes);
        let room = &mut self.rooms[session.room.0];
        room.load.remove(seat.worker, seat.publishes);
        self.forget_empty_room(session.room);
    }

    fn identity_number(&self, identity: &str) -> u64 {
        self.identities.hash_one(identity)
    }

    fn command(&mut self, worker: WorkerIndex, command: WorkerCommand) {
        self.outputs.push_back(RoomsOutput::Command(worker, command));
    }

    fn event(&mut self, event: RoomsEvent) {
        self.outputs.push_back(RoomsOutput::Event(event));
    }
}
