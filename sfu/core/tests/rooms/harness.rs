//! A node's rooms with what its workers were told, and a clock that moves only when asked to.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use arrayvec::ArrayVec;
use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::negotiated::*;
use tianqiao_sfu_core::rooms::*;
use tianqiao_sfu_core::units::{ConnectionId, Mid, Rid, Ssrc, TrackId, WorkerIndex};
use tianqiao_sfu_core::worker_api::{AUDIO_LEVEL_INTERVAL, AudioLevel, SlotRank, WorkerCommand, WorkerEvent};

pub use TrackSource::{Camera, Microphone, MicrophoneLow, Screen, ScreenAudio};

pub const ROOM: &str = "room";

pub fn mid(text: &str) -> Mid {
    Mid::from(text).expect("a short mid")
}

/// Who joins, with what. Media sections are named `p0`, `p1`… (published), `a0`… and `v0`… (slots).
#[derive(Clone, Debug)]
pub struct Joiner {
    pub name: String,
    pub room: &'static str,
    pub tracks: Vec<(TrackSource, bool)>,
    pub audio_slots: usize,
    pub video_slots: usize,
    pub views: Vec<SlotView>,
    pub audio: AudioPolicy,
    pub declare: bool,
    pub identity: String,
}

pub fn joiner(name: impl ToString) -> Joiner {
    Joiner {
        name: name.to_string(),
        room: ROOM,
        tracks: Vec::new(),
        audio_slots: 4,
        video_slots: 3,
        views: Vec::new(),
        audio: AudioPolicy::Loudest,
        declare: true,
        identity: name.to_string(),
    }
}

impl Joiner {
    pub fn publishing(mut self, sources: &[TrackSource]) -> Self {
        self.tracks = sources.iter().map(|&source| (source, false)).collect();
        self
    }

    pub fn publishing_more(mut self, source: TrackSource) -> Self {
        self.tracks.push((source, false));
        self
    }

    pub fn publishing_muted(mut self, source: TrackSource) -> Self {
        self.tracks.push((source, true));
        self
    }

    pub fn viewing(mut self, views: &[SlotView]) -> Self {
        self.views = views.to_vec();
        self
    }

    pub fn slots(mut self, audio: usize, video: usize) -> Self {
        (self.audio_slots, self.video_slots) = (audio, video);
        self
    }

    pub fn in_room(mut self, room: &'static str) -> Self {
        self.room = room;
        self
    }

    pub fn known_as(mut self, identity: &str) -> Self {
        self.identity = identity.to_owned();
        self
    }

    pub fn following(mut self, target: SlotTarget) -> Self {
        self.audio = AudioPolicy::Follow(target);
        self
    }

    pub fn negotiated(&self) -> Negotiated {
        let rids = |source| match source {
            Camera => ["q", "h", "f"].iter().filter_map(|rid| Rid::from(rid).ok()).collect(),
            _ => ArrayVec::new(),
        };
        let section = |name: String, kind, publishes: Option<TrackSource>| NegotiatedMedia {
            mid: mid(&name),
            kind,
            codecs: ArrayVec::new(),
            extensions: ExtensionIds::default(),
            receive: publishes.map(|source| ReceiveMedia {
                ssrcs: ArrayVec::new(),
                rids: rids(source),
            }),
            send: publishes.is_none().then_some(SendMedia {
                ssrc: Ssrc(1),
                rtx_ssrc: Ssrc(2),
            }),
            reduced_size_rtcp: true,
        };
        let published = self.tracks.iter().enumerate();
        let mut media: Vec<_> = published
            .map(|(i, (source, _))| section(format!("p{i}"), source.kind(), Some(*source)))
            .collect();
        media.extend((0..self.audio_slots).map(|i| section(format!("a{i}"), MediaKind::Audio, None)));
        media.extend((0..self.video_slots).map(|i| section(format!("v{i}"), MediaKind::Video, None)));
        Negotiated {
            remote_ice: IceCredentials {
                ufrag: "remote".into(),
                pwd: "0123456789012345678901".into(),
            },
            remote_fingerprint: Fingerprint {
                algorithm: FingerprintAlgorithm::Sha256,
                digest: vec![0; 32],
            },
            dtls_role: DtlsRole::Passive,
            media,
        }
    }

    pub fn declarations(&self) -> Vec<TrackDeclaration> {
        let tracks = self.tracks.iter().enumerate().filter(|_| self.declare);
        tracks
            .map(|(i, &(source, muted))| TrackDeclaration {
                mid: mid(&format!("p{i}")),
                source,
                muted,
            })
            .collect()
    }
}

pub fn view(slot: &str, target: SlotTarget, height: u16) -> SlotView {
    SlotView {
        mid: mid(slot),
        target,
        height,
    }
}

pub fn of(participant: &str, source: TrackSource) -> SlotTarget {
    SlotTarget::Source {
        participant: participant.into(),
        source,
    }
}

/// What a worker knows of a connection.
#[derive(Debug, Default)]
pub struct Connection {
    pub slots: BTreeMap<String, (TrackId, u16, SlotRank)>,
}

pub struct Node {
    pub rooms: Rooms,
    pub now: Instant,
    pub connections: HashMap<(WorkerIndex, ConnectionId), Connection>,
    pub muted: HashSet<TrackId>,
    /// Commands and events since they were last taken.
    pub commands: Vec<(WorkerIndex, WorkerCommand)>,
    pub events: Vec<RoomsEvent>,
    seats: HashMap<String, Seat>,
    tracks: HashMap<(String, TrackSource), (TrackId, WorkerIndex)>,
}

impl Node {
    pub fn new(workers: u8) -> Self {
        Self::with(RoomsConfig {
            workers,
            ..RoomsConfig::default()
        })
    }

    pub fn with(config: RoomsConfig) -> Self {
        Self {
            rooms: Rooms::new(config),
            now: Instant::now(),
            connections: HashMap::new(),
            muted: HashSet::new(),
            commands: Vec::new(),
            events: Vec::new(),
            seats: HashMap::new(),
            tracks: HashMap::new(),
        }
    }

    pub fn join(&mut self, joiner: Joiner) -> SessionState {
        self.try_join(joiner).expect("joins")
    }

    pub fn try_join(&mut self, joiner: Joiner) -> Result<SessionState, RoomsError> {
        let (room, session): (RoomId, SessionId) = (joiner.room.into(), joiner.name.as_str().into());
        let seat = self.rooms.seat(&room, &session, !joiner.tracks.is_empty())?;
        let state = self.rooms.open(
            self.now,
            OpenSession {
                room,
                session,
                seat: seat.clone(),
                negotiated: joiner.negotiated(),
                tracks: joiner.declarations(),
                slots: joiner.views.clone(),
                audio: joiner.audio.clone(),
                identity: joiner.identity.clone(),
            },
        )?;
        self.note_tracks(&joiner.name, seat.worker, &state);
        self.seats.insert(joiner.name, seat);
        self.drain();
        Ok(state)
    }

    pub fn reoffer(&mut self, joiner: Joiner) -> SessionState {
        let state = self
            .rooms
            .renegotiate(
                self.now,
                Reoffer {
                    session: joiner.name.as_str().into(),
                    negotiated: joiner.negotiated(),
                    local_ice: None,
                    tracks: joiner.declarations(),
                    slots: joiner.views.clone(),
                },
            )
            .expect("an open session");
        let worker = self.seat(&joiner.name).worker;
        self.note_tracks(&joiner.name, worker, &state);
        self.drain();
        state
    }

    fn note_tracks(&mut self, name: &str, worker: WorkerIndex, state: &SessionState) {
        self.tracks.retain(|(owner, _), _| owner != name);
        for track in &state.tracks {
            self.tracks.insert((name.to_owned(), track.source), (track.id, worker));
        }
    }

    pub fn leave(&mut self, name: &str) {
        assert!(self.rooms.close(self.now, name));
        self.tracks.retain(|(owner, _), _| owner != name);
        self.drain();
    }

    pub fn look(&mut self, name: &str, views: &[SlotView]) {
        self.rooms
            .set_viewport(name, views, Mode::Normal)
            .expect("an open session");
        self.drain();
    }

    pub fn mute(&mut self, name: &str, source: TrackSource, muted: bool) {
        let track = self.track(name, source);
        self.rooms
            .set_muted(self.now, name, track, muted)
            .expect("its own track");
        self.drain();
    }

    pub fn worker_event(&mut self, name: &str, event: impl FnOnce(ConnectionId) -> WorkerEvent) {
        let seat = self.seat(name);
        let event = event(seat.connection);
        if matches!(event, WorkerEvent::Closed { .. }) {
            self.connections.remove(&(seat.worker, seat.connection));
        }
        self.rooms.handle_worker_event(self.now, seat.worker, event);
        self.drain();
    }

    pub fn event_of(&mut self, worker: WorkerIndex, event: WorkerEvent) {
        self.rooms.handle_worker_event(self.now, worker, event);
        self.drain();
    }

    /// All of these speak for so long, the first loudest; then time stands still again.
    pub fn speak(&mut self, names: &[&str], ms: u64) {
        for _ in 0..ms / 50 {
            self.pass(AUDIO_LEVEL_INTERVAL);
            for (index, name) in names.iter().enumerate() {
                let (track, worker) = self.tracks[&(name.to_string(), Microphone)];
                let level = AudioLevel {
                    track,
                    level: 15 + 6 * index as u8,
                    voice: true,
                };
                let event = WorkerEvent::AudioLevels { levels: vec![level] };
                self.rooms.handle_worker_event(self.now, worker, event);
                self.drain();
            }
        }
    }

    /// These tracks have these levels now.
    pub fn levels(&mut self, levels: &[(&str, u8)]) {
        self.pass(AUDIO_LEVEL_INTERVAL);
        for &(name, level) in levels {
            let (track, worker) = self.tracks[&(name.to_string(), Microphone)];
            let voice = level < 127;
            let levels = vec![AudioLevel { track, level, voice }];
            self.rooms
                .handle_worker_event(self.now, worker, WorkerEvent::AudioLevels { levels });
            self.drain();
        }
    }

    pub fn pass(&mut self, duration: Duration) {
        let end = self.now + duration;
        while let Some(at) = self.rooms.poll_timeout().filter(|&at| at <= end) {
            assert!(at > self.now, "time does not move");
            self.now = at;
            self.rooms.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub fn track(&self, name: &str, source: TrackSource) -> TrackId {
        self.tracks[&(name.to_owned(), source)].0
    }

    pub fn seat(&self, name: &str) -> Seat {
        self.seats[name].clone()
    }

    fn owner(&self, track: TrackId) -> String {
        let owner = self.tracks.iter().find(|(_, (id, _))| *id == track);
        owner.map(|((name, _), _)| name.clone()).expect("a published track")
    }

    /// What a session's slots show by the commands its worker got, as `v0:bob`.
    pub fn shown(&self, name: &str) -> Vec<String> {
        let seat = self.seat(name);
        let slots = &self.connections[&(seat.worker, seat.connection)].slots;
        let shown = slots
            .iter()
            .map(|(mid, (track, ..))| format!("{mid}:{}", self.owner(*track)));
        shown.collect()
    }

    pub fn height(&self, name: &str, slot: &str) -> u16 {
        let seat = self.seat(name);
        self.connections[&(seat.worker, seat.connection)].slots[slot].1
    }

    /// The commands for one session's slots since they were last taken.
    /// The slots that show the active speaker, however they came to.
    pub fn spoken(&self, name: &str) -> Vec<String> {
        let seat = self.seat(name);
        let slots = &self.connections[&(seat.worker, seat.connection)].slots;
        let spoken = slots.iter().filter(|(_, (_, _, rank))| rank.is_speaker);
        spoken.map(|(slot, _)| slot.clone()).collect()
    }

    pub fn taken_set_slots(&mut self) -> usize {
        let commands = std::mem::take(&mut self.commands);
        let set_slot = |(_, command): &&(_, WorkerCommand)| matches!(command, WorkerCommand::SetSlot(_));
        commands.iter().filter(set_slot).count()
    }

    pub fn taken_events(&mut self) -> Vec<RoomsEvent> {
        std::mem::take(&mut self.events)
    }

    fn drain(&mut self) {
        while let Some(output) = self.rooms.poll_output() {
            match output {
                RoomsOutput::Event(event) => self.events.push(event),
                RoomsOutput::Command(worker, command) => {
                    self.apply(worker, &command);
                    self.commands.push((worker, command));
                }
            }
        }
    }

    fn apply(&mut self, worker: WorkerIndex, command: &WorkerCommand) {
        match command {
            WorkerCommand::Open(open) => {
                let old = self
                    .connections
                    .insert((worker, open.connection), Connection::default());
                assert!(old.is_none(), "a connection id was used twice");
            }
            WorkerCommand::Renegotiate(offer) => {
                let connection = self.connections.get_mut(&(worker, offer.connection)).expect("open");
                let media = &offer.negotiated.media;
                connection
                    .slots
                    .retain(|slot, _| media.iter().any(|media| media.send.is_some() && media.mid == mid(slot)));
            }
            WorkerCommand::RestartIce { .. } => {}
            WorkerCommand::SetMode { connection, .. } => {
                assert!(self.connections.contains_key(&(worker, *connection)), "open");
            }
            WorkerCommand::Close { connection } => {
                self.connections.remove(&(worker, *connection)).expect("open");
            }
            WorkerCommand::SetSlot(set) => {
                let connection = self.connections.get_mut(&(worker, set.connection)).expect("open");
                let new = set.source.map(|source| (source.track, set.height, set.rank));
                if let Some(source) = set.source {
                    let published = self.tracks.values().find(|(track, ..)| *track == source.track);
                    assert!(published.is_none_or(|(_, home)| *home == source.home));
                }
                let old = match new {
                    Some(new) => connection.slots.insert(set.mid.to_string(), new),
                    None => connection.slots.remove(set.mid.as_str()),
                };
                assert_ne!(old, new, "a command that changes nothing");
            }
            WorkerCommand::SetMuted { track, muted: true } => assert!(self.muted.insert(*track)),
            WorkerCommand::SetMuted { track, muted: false } => assert!(self.muted.remove(track)),
            WorkerCommand::RankVoices { voices } => assert!(!voices.is_empty()),
            WorkerCommand::SetPlan { track, .. } => assert!(self.tracks.values().any(|(known, _)| known == track)),
            WorkerCommand::SetAudio(_) => unreachable!("rooms do not say how voices are sent"),
            WorkerCommand::OpenLink(_)
            | WorkerCommand::CloseLink { .. }
            | WorkerCommand::PublishRemote { .. }
            | WorkerCommand::UnpublishRemote { .. }
            | WorkerCommand::SetLinkSource { .. }
            | WorkerCommand::PassVoices { .. }
            | WorkerCommand::TellLink { .. } => unreachable!("the room is on one node"),
        }
    }
}
