//! Audio levels in; who has the floor, whose audio is forwarded and who is told so out.

use std::time::{Duration, Instant};

use crate::units::{TrackId, WorkerIndex};
use crate::worker_api::{AudioLevel, WorkerCommand};

use super::speakers_report::{Report, Speaking};
use super::types::{RoomsEvent, TrackSource};
use super::{RoomKey, Rooms, SessionKey};

/// While somebody speaks the room is looked at at least this often, so that an end of speech
/// shows even where levels cease.
const SPEAKING_TICK: Duration = Duration::from_millis(300);

/// A listener's own tracks are left out for him: a microphone and the sound of a screen.
const OWN_AUDIO_TRACKS: usize = 2;

impl Rooms {
    pub fn poll_timeout(&self) -> Option<Instant> {
        let rooms = self.wakeups.first().map(|&(at, _)| at);
        rooms.into_iter().chain(self.demands.poll_timeout()).min()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, room)) = self.wakeups.first()
            && at <= now
        {
            self.wakeups.pop_first();
            self.rooms[room.0].wakeup = None;
            self.update_speakers(now, room);
        }
        self.handle_demand_timeout(now);
    }

    pub(super) fn on_audio_levels(&mut self, now: Instant, levels: &[AudioLevel]) {
        let mut heard: Vec<RoomKey> = Vec::new();
        for level in levels {
            let Some(owner) = self.tracks.get(&level.track) else {
                continue;
            };
            let session = &self.sessions[owner.session.0];
            let track = session.track(level.track);
            // Shared sound is forwarded anyway and is nobody's speech.
            if !track.is_some_and(|track| track.source == TrackSource::Microphone && !track.muted) {
                continue;
            }
            let speakers = &mut self.rooms[owner.room.0].speakers;
            speakers.on_level_of(now, level.track, Some(session.identity), level.level, level.voice);
            if !heard.contains(&owner.room) {
                heard.push(owner.room);
            }
        }
        for room in heard {
            self.update_speakers(now, room);
        }
    }

    /// Looks who speaks in a room and follows it with slots and events.
    pub(super) fn update_speakers(&mut self, now: Instant, room_key: RoomKey) {
        let tracks = &self.tracks;
        let room = &mut self.rooms[room_key.0];
        room.speakers.update(now);
        let session_of = |track: TrackId| tracks.get(&track).map(|owner| owner.session);
        let own = room.speakers.dominant().and_then(session_of);
        // Else another node says so.
        let dominant = own.filter(|_| room.home.is_none());
        if let Some(dominant) = dominant
            && room.dominants.front() != Some(&dominant)
        {
            room.on_dominant(dominant);
            self.update_spotlight(room_key);
            self.refresh_followers(room_key);
        }
        self.update_audio(room_key);
        self.report_speakers(now, room_key, dominant);
    }

    /// Chooses anew whose audio is forwarded, and forwards it where that is a change.
    fn update_audio(&mut self, room_key: RoomKey) {
        let room = &mut self.rooms[room_key.0];
        let loudest = self.config.loudest;
        // Shared sound leaves at least one slot to people.
        let shared = room.shared_sound.iter().copied().take(loudest.saturating_sub(1));
        let mut speakers = room.speakers.loudest(loudest);
        let wanted = speakers.next().into_iter().chain(shared).chain(speakers);
        if !room.audio.update(loudest + OWN_AUDIO_TRACKS, wanted, &room.audible) {
            return;
        }
        let order = room.audio.order().to_vec();
        let listeners: Vec<SessionKey> = room.sessions.difference(&room.followers).copied().collect();
        let workers = if order.is_empty() { 0 } else { self.config.workers };
        for worker in 0..workers {
            let voices = order.clone();
            self.command(WorkerIndex(worker), WorkerCommand::RankVoices { voices });
        }
        self.pass_voices(room_key);
        for listener in listeners {
            self.refresh_audio(listener);
        }
    }

    fn report_speakers(&mut self, now: Instant, room_key: RoomKey, dominant: Option<SessionKey>) {
        let (tracks, sessions) = (&self.tracks, &self.sessions);
        let room = &mut self.rooms[room_key.0];
        let mut speaking = Speaking {
            dominant: dominant.map(|key| sessions[key.0].id.clone()),
            speaking: Vec::new(),
        };
        let order = room.audio.order();
        let forwarded = &order[..order.len().min(self.config.loudest)];
        for track in room
            .speakers
            .speaking()
            .iter()
            .filter(|track| forwarded.contains(track))
        {
            if let Some(owner) = tracks.get(track) {
                let id = &sessions[owner.session.0].id;
                if !speaking.speaking.contains(id) {
                    speaking.speaking.push(id.clone());
                }
            }
        }
        let tick = (!room.speakers.speaking().is_empty()).then(|| now + SPEAKING_TICK);
        if room.home.is_some() {
            return self.set_wakeup(room_key, tick);
        }
        let (owed, event) = match room.report.update(now, self.config.speakers_interval, &speaking) {
            Report::Nothing => (None, None),
            Report::Later(at) => (Some(at), None),
            Report::Tell => (None, Some(speaking)),
        };
        self.set_wakeup(room_key, tick.into_iter().chain(owed).min());
        if let Some(told) = event {
            self.tell_speakers(room_key, &told, None);
            let Speaking { dominant, speaking } = told;
            let room = self.rooms[room_key.0].id.clone();
            self.event(RoomsEvent::Speakers {
                room,
                dominant,
                speaking,
            });
        }
    }

    fn set_wakeup(&mut self, room_key: RoomKey, wakeup: Option<Instant>) {
        let room = &mut self.rooms[room_key.0];
        if let Some(old) = std::mem::replace(&mut room.wakeup, wakeup) {
            self.wakeups.remove(&(old, room_key));
        }
        if let Some(at) = wakeup {
            self.wakeups.insert((at, room_key));
        }
    }
}
