//! What each slot shows or carries; workers and clients are told only of differences.

use rustc_hash::FxHashMap;

use super::audio_set::assign;
use super::room::{Choice, Source};
use super::types::{AudioPolicy, RoomsEvent, SlotState, SlotTarget, SlotView, TrackSource};
use super::{RoomKey, Rooms, SessionKey, SetSlot, SlotSource, WorkerCommand};
use crate::negotiated::MediaKind;
use crate::units::TrackId;
use crate::worker_api::SlotRank;

/// Slots of one session that may show the same track: as a large picture and in the grid. In further ones
/// it would only multiply what is sent.
const SLOTS_PER_TRACK: usize = 2;

impl Rooms {
    /// Sets what a session's video slots are to show, without showing it yet.
    pub(super) fn set_views(&mut self, key: SessionKey, views: &[SlotView]) {
        let session = &mut self.sessions[key.0];
        let room = &mut self.rooms[session.room.0];
        room.unwatch(key, &session.watches);
        session.set_views(views);
        room.watch(key, &session.watches, session.watches_active_speaker());
    }

    /// Brings a session's video slots up to date; the first [`SLOTS_PER_TRACK`] that ask for a track get it.
    /// `tell` sends [`RoomsEvent::Slots`].
    pub(super) fn refresh_video(&mut self, viewer: SessionKey, tell: bool) {
        let mut slots = std::mem::take(&mut self.sessions[viewer.0].video_slots);
        let mut changed = Vec::new();
        let mut uses: FxHashMap<TrackId, usize> = FxHashMap::default();
        let speaker = self.spotlight_of(viewer);
        for slot in &mut slots {
            // The spotlight may be on a track that has just ended.
            let track = self.resolve(viewer, &slot.target).filter(|&track| {
                if !self.tracks.contains_key(&track) {
                    return false;
                }
                let uses = uses.entry(track).or_default();
                *uses += 1;
                *uses <= SLOTS_PER_TRACK
            });
            let height = if track.is_some() { slot.height } else { 0 };
            let rank = track.map_or(SlotRank::default(), |track| SlotRank {
                order: slot.order,
                // Also in a grid, where each slot names its participant.
                is_speaker: slot.target == SlotTarget::ActiveSpeaker || speaker == Some(track),
                is_screen: self.is_screen(track),
            });
            if (track, height, rank) == (slot.shown, slot.shown_height, slot.rank) {
                continue;
            }
            self.put(viewer, SlotState { mid: slot.mid, track }, height, rank);
            if track != slot.shown {
                changed.push(SlotState { mid: slot.mid, track });
            }
            (slot.shown, slot.shown_height, slot.rank) = (track, height, rank);
        }
        let session = &mut self.sessions[viewer.0];
        session.video_slots = slots;
        if tell && !changed.is_empty() {
            let session = session.id.clone();
            self.event(RoomsEvent::Slots {
                session,
                slots: changed,
            });
        }
    }

    /// Brings a session's audio slots up to date.
    pub(super) fn refresh_audio(&mut self, listener: SessionKey) {
        let session = &self.sessions[listener.0];
        let room = &self.rooms[session.room.0];
        let wanted: Vec<TrackId> = match &session.audio_policy {
            AudioPolicy::Loudest => room
                .audio
                .order()
                .iter()
                .copied()
                .filter(|track| !self.is_own(listener, *track))
                .take(self.config.loudest)
                .collect(),
            AudioPolicy::Follow(target) => self.followed_microphone(listener, target).into_iter().collect(),
        };
        let mut slots = session.audio_slots.clone();
        assign(&mut slots, &wanted, |track| self.paired_slot(listener, track));
        let old = std::mem::replace(&mut self.sessions[listener.0].audio_slots, slots.clone());
        for (index, (&track, old)) in slots.iter().zip(old).enumerate() {
            if track != old {
                let mid = self.sessions[listener.0].audio_mids[index];
                self.put(listener, SlotState { mid, track }, 0, SlotRank::default());
            }
        }
    }

    /// A track that the listener publishes, here or, while it moves, on another node.
    fn is_own(&self, listener: SessionKey, track: TrackId) -> bool {
        let owner = self.tracks.get(&track).map(|owner| owner.session);
        owner.is_none_or(|owner| owner == listener || self.sessions[owner.0].id == self.sessions[listener.0].id)
    }

    fn is_screen(&self, track: TrackId) -> bool {
        let session = self.tracks.get(&track).map(|owner| &self.sessions[owner.session.0]);
        let track = session.and_then(|session| session.track(track));
        track.is_some_and(|track| track.source == TrackSource::Screen)
    }

    /// The index of the video slot that shows the participant of an audio track. The audio slot of
    /// that index is in the same media stream, which is what makes browsers play both in sync.
    fn paired_slot(&self, listener: SessionKey, audio: TrackId) -> Option<usize> {
        let session = &self.sessions[listener.0];
        if session.audio_policy != AudioPolicy::Loudest {
            return Some(0);
        }
        let speaker = self.tracks.get(&audio)?.session;
        let shows_speaker = |shown: TrackId| self.tracks.get(&shown).is_some_and(|owner| owner.session == speaker);
        session
            .video_slots
            .iter()
            .position(|slot| slot.shown.is_some_and(shows_speaker))
    }

    /// The camera that active-speaker slots show to this viewer.
    fn spotlight_of(&self, viewer: SessionKey) -> Option<TrackId> {
        let room = &self.rooms[self.sessions[viewer.0].room.0];
        self.seen_by(&room.spotlight, viewer).map(|source| source.track)
    }

    /// The first of a choice that is not the viewer's own, here or, while it moves, on another node.
    fn seen_by(&self, choice: &Choice, viewer: SessionKey) -> Option<Source> {
        let viewer = &self.sessions[viewer.0].id;
        let is_own = |source: &Source| {
            let session = self.sessions.get(source.session.0);
            session.is_some_and(|session| session.id == *viewer)
        };
        choice.iter().flatten().find(|source| !is_own(source)).copied()
    }

    /// The track that a video slot with this target shows to this viewer.
    fn resolve(&self, viewer: SessionKey, target: &SlotTarget) -> Option<TrackId> {
        let room_key = self.sessions[viewer.0].room;
        match target {
            SlotTarget::Nobody => None,
            SlotTarget::ActiveSpeaker => self.spotlight_of(viewer),
            SlotTarget::Source { participant, source } if source.kind() == MediaKind::Video => {
                let session = &self.sessions[self.participant(participant)?.0];
                let track = session.track_of(*source)?;
                (session.room == room_key).then_some(track.id)
            }
            SlotTarget::Source { .. } => None,
        }
    }

    /// The microphone that goes with a followed target: of the same participant as the video where
    /// both are published.
    fn followed_microphone(&self, listener: SessionKey, target: &SlotTarget) -> Option<TrackId> {
        let room_key = self.sessions[listener.0].room;
        let microphone_of = |key: SessionKey| self.sessions[key.0].track_of(TrackSource::Microphone).copied();
        match target {
            SlotTarget::Nobody => None,
            SlotTarget::Source { participant, .. } => {
                let key = self.participant(participant)?;
                let track = microphone_of(key)?;
                (self.sessions[key.0].room == room_key).then_some(track.id)
            }
            SlotTarget::ActiveSpeaker => {
                let room = &self.rooms[room_key.0];
                let shown = self.seen_by(&room.spotlight, listener);
                if room.dominants.is_empty()
                    && let Some(track) = shown.and_then(|shown| microphone_of(shown.session))
                {
                    return Some(track.id);
                }
                let choice = room.choose(|key| self.shown_session(key), microphone_of);
                self.seen_by(&choice, listener).map(|source| source.track)
            }
        }
    }

    /// Chooses anew whom active-speaker slots show, and shows it where that is a change. Other slots that show one of
    /// them change their rank.
    pub(super) fn update_spotlight(&mut self, room_key: RoomKey) {
        let room = &self.rooms[room_key.0];
        let sessions = &self.sessions;
        let camera_of = |key: SessionKey| sessions[key.0].track_of(TrackSource::Camera).copied();
        let spotlight: Choice = room.choose(|key| self.shown_session(key), camera_of);
        if spotlight == room.spotlight {
            return;
        }
        let room = &mut self.rooms[room_key.0];
        let before = std::mem::replace(&mut room.spotlight, spotlight);
        let mut viewers = room.spotlight_watchers.clone();
        for source in before.iter().chain(&spotlight).flatten() {
            if let Some(session) = self.sessions.get(source.session.0)
                && let Some(watchers) = room.watchers.get(&session.id)
            {
                viewers.extend(watchers);
            }
        }
        for viewer in viewers {
            self.refresh_video(viewer, true);
        }
    }

    pub(super) fn refresh_followers(&mut self, room_key: RoomKey) {
        let followers: Vec<SessionKey> = self.rooms[room_key.0].followers.iter().copied().collect();
        for follower in followers {
            self.refresh_audio(follower);
        }
    }

    fn put(&mut self, viewer: SessionKey, slot: SlotState, height: u16, rank: SlotRank) {
        let seat = &self.sessions[viewer.0].seat;
        let source = slot.track.and_then(|track| {
            let owner = self.tracks.get(&track)?;
            Some(SlotSource {
                track,
                home: owner.home,
                is_relayed: self.sessions[owner.session.0].via.is_some(),
            })
        });
        let set = SetSlot {
            connection: seat.connection,
            mid: slot.mid,
            source,
            height,
            rank,
        };
        self.command(seat.worker, WorkerCommand::SetSlot(set));
    }
}
