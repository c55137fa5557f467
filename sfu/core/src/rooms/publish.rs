//! What sessions publish: ids, declarations, and who must be told of a change.

use std::time::Instant;

use crate::negotiated::{MediaKind, Negotiated};
use crate::units::{Mid, TrackId};
use crate::worker_api::MAX_SLOT_SSRCS;

use super::session::Track;
use super::types::{RoomsError, SlotView, TrackDeclaration, TrackSource};
use super::{PublishedTrack, Rooms, SessionKey, TrackOwner, WorkerCommand};

/// What a session's sections that send publish.
#[derive(Debug, Default)]
pub(super) struct Sections {
    pub tracks: Vec<Track>,
    /// Sends a low voice of the microphone.
    pub low_voice: Option<Mid>,
}

impl Sections {
    /// As a worker is told of them.
    pub fn published(&self) -> Vec<PublishedTrack> {
        let published = |track: &Track| PublishedTrack {
            mid: track.mid,
            track: track.id,
            screen: track.source == TrackSource::Screen,
            voice_layer: 0,
        };
        let microphone = self.tracks.iter().find(|track| track.source == TrackSource::Microphone);
        let low_voice = self.low_voice.zip(microphone).map(|(mid, microphone)| PublishedTrack {
            mid,
            voice_layer: 1,
            ..published(microphone)
        });
        self.tracks.iter().map(published).chain(low_voice).collect()
    }
}

impl Rooms {
    pub(super) fn check_sections(&self, negotiated: &Negotiated, views: &[SlotView]) -> Result<(), RoomsError> {
        let limits = &self.config.limits;
        if negotiated.media.iter().filter(|media| media.receive.is_some()).count() > limits.tracks_per_session {
            return Err(RoomsError::TooManyTracks {
                limit: limits.tracks_per_session,
            });
        }
        let limit = limits.slots_per_session.min(MAX_SLOT_SSRCS);
        if negotiated.media.iter().filter(|media| media.send.is_some()).count() > limit {
            return Err(RoomsError::TooManySlots { limit });
        }
        self.check_views(views)
    }

    pub(super) fn check_views(&self, views: &[SlotView]) -> Result<(), RoomsError> {
        let limit = self.config.limits.slots_per_session;
        if views.len() > limit {
            return Err(RoomsError::TooManySlots { limit });
        }
        Ok(())
    }

    /// The tracks of the media sections that send. By mid they keep the id of those of `previous`, and without a
    /// declaration their source too, else they are a microphone or a camera.
    pub(super) fn sections(
        &self,
        previous: Option<SessionKey>,
        negotiated: &Negotiated,
        declared: &[TrackDeclaration],
    ) -> Result<Sections, RoomsError> {
        let previous = previous.map(|key| &self.sessions[key.0]);
        let mut sections = Sections::default();
        for media in negotiated.media.iter().filter(|media| media.receive.is_some()) {
            let mid = media.mid;
            let old = previous.and_then(|session| session.tracks.iter().find(|track| track.mid == mid));
            let was_low = previous.is_some_and(|session| session.low_voice == Some(mid));
            let (source, muted) = match (declared.iter().rev().find(|track| track.mid == mid), old) {
                (Some(declared), _) => (declared.source, declared.muted),
                (None, Some(old)) => (old.source, old.muted),
                (None, None) if was_low => (TrackSource::MicrophoneLow, false),
                (None, None) => (TrackSource::default_of(media.kind), false),
            };
            if source.kind() != media.kind {
                return Err(RoomsError::TrackKind {
                    mid,
                    source_declared: source,
                });
            }
            if source == TrackSource::MicrophoneLow {
                if sections.low_voice.replace(mid).is_some() {
                    return Err(RoomsError::LowVoiceAlone { mid });
                }
                continue;
            }
            let id = match old {
                Some(old) => old.id,
                None => self.new_track_id(&sections.tracks),
            };
            sections.tracks.push(Track { mid, id, source, muted });
        }
        let is_microphone = |track: &Track| track.source == TrackSource::Microphone;
        match sections.low_voice {
            Some(mid) if !sections.tracks.iter().any(is_microphone) => Err(RoomsError::LowVoiceAlone { mid }),
            _ => Ok(sections),
        }
    }

    fn new_track_id(&self, taken: &[Track]) -> TrackId {
        loop {
            let id = TrackId(self.placement.number());
            if !self.tracks.contains_key(&id) && taken.iter().all(|track| track.id != id) {
                return id;
            }
        }
    }

    /// Makes `tracks` all that the session publishes and tells its worker of mutes. True where that
    /// is a change; then call [`Self::on_tracks_changed`].
    pub(super) fn set_tracks(&mut self, now: Instant, key: SessionKey, tracks: Vec<Track>) -> bool {
        let session = &mut self.sessions[key.0];
        if session.tracks == tracks {
            return false;
        }
        let (room_key, home, via) = (session.room, session.seat.worker, session.via);
        let ended: Vec<TrackId> = session
            .tracks
            .iter()
            .map(|track| track.id)
            .filter(|id| tracks.iter().all(|track| track.id != *id))
            .collect();
        for track in ended {
            self.end_link_sources(room_key, track);
            self.end_demand(track);
        }
        let session = &mut self.sessions[key.0];
        let old = std::mem::replace(&mut session.tracks, tracks.clone());
        let room = &mut self.rooms[room_key.0];
        // Its source too: a section may turn from a microphone into shared sound.
        let as_audible = |track: &Track| {
            let audible = track.source.kind() == MediaKind::Audio && !track.muted;
            audible.then_some(track.source)
        };
        let (mut mutes, mut begun, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        for track in &old {
            let new = tracks.iter().find(|new| new.id == track.id);
            if new.is_none() {
                self.tracks.remove(&track.id);
            }
            if new.and_then(as_audible) != as_audible(track) {
                room.on_inaudible(track.id);
            }
            if new.is_none_or(|new| new.muted || new.source != TrackSource::Microphone) {
                room.speakers.remove(track.id);
            }
        }
        for track in &tracks {
            let before = old.iter().find(|old| old.id == track.id);
            if before.is_none() {
                let owner = TrackOwner {
                    session: key,
                    room: room_key,
                    home,
                };
                self.tracks.insert(track.id, owner);
                fresh.push(track.id);
            }
            let audible = as_audible(track);
            if audible.is_some() && before.and_then(as_audible) != audible {
                room.on_audible(track);
            }
            if track.muted != before.is_some_and(|old| old.muted) {
                mutes.push((track.id, track.muted));
            }
            if before.is_none_or(|old| old.muted && !track.muted) {
                begun.push((track.id, track.source));
            }
        }
        match (tracks.is_empty(), old.is_empty()) {
            (false, true) => room.publishers.push(key),
            (true, false) => room.publishers.retain(|&publisher| publisher != key),
            _ => {}
        }
        for (track, muted) in mutes {
            self.command(home, WorkerCommand::SetMuted { track, muted });
        }
        for (track, source) in begun {
            self.begin_demand(now, track, source, via);
        }
        if !self.rooms[room_key.0].links.is_empty() {
            for track in fresh {
                self.apply_link_wants(now, room_key, track);
            }
        }
        true
    }

    /// Brings everybody's slots up to date after what one session publishes has changed.
    pub(super) fn on_tracks_changed(&mut self, now: Instant, key: SessionKey) {
        let session = &self.sessions[key.0];
        let room_key = session.room;
        let watchers = self.rooms[room_key.0].watchers.get(&session.id);
        let watchers: Vec<SessionKey> = watchers.into_iter().flatten().copied().collect();
        for viewer in watchers {
            self.refresh_video(viewer, true);
        }
        self.update_spotlight(room_key);
        self.update_speakers(now, room_key);
        self.refresh_followers(room_key);
    }
}
