//! One session: its connection, what it publishes and what its slots show.

use rustc_hash::FxHashSet;

use crate::allocator::Mode;
use crate::negotiated::{MediaKind, Negotiated};
use crate::relay::LinkId;
use crate::units::{Mid, Rid, Ssrc, TrackId};
use crate::worker_api::SlotRank;

use super::RoomKey;
use super::types::{AudioPolicy, Seat, SessionId, SlotState, SlotTarget, SlotView, TrackInfo, TrackSource};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Track {
    pub mid: Mid,
    pub id: TrackId,
    pub source: TrackSource,
    pub muted: bool,
}

/// A video slot: what it is to show and what its worker was last told.
#[derive(Clone, Debug)]
pub(super) struct VideoSlot {
    pub mid: Mid,
    pub target: SlotTarget,
    pub height: u16,
    pub shown: Option<TrackId>,
    /// The height last told to the worker; 0 while nothing is shown.
    pub shown_height: u16,
    /// Place in the viewport.
    pub order: u16,
    /// Last told to the worker.
    pub rank: SlotRank,
}

#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub room: RoomKey,
    /// Of a participant on another node: the link over which its media comes. It has no connection here.
    pub via: Option<LinkId>,
    /// Its media has connected once.
    pub is_connected: bool,
    pub seat: Seat,
    /// Stands for its identity.
    pub identity: u64,
    pub negotiated: Negotiated,
    pub sdp_version: u64,
    /// In the order of the media sections.
    pub tracks: Vec<Track>,
    /// The section on which it sends a low voice of its microphone.
    pub low_voice: Option<Mid>,
    /// Last told to the worker.
    pub mode: Mode,
    pub audio_policy: AudioPolicy,
    pub audio_mids: Vec<Mid>,
    /// What each audio slot carries, as `audio_mids`.
    pub audio_slots: Vec<Option<TrackId>>,
    pub video_slots: Vec<VideoSlot>,
    /// Participants named by its slots, without duplicates.
    pub watches: Vec<SessionId>,
    /// All that its slots ever had.
    pub ssrcs: FxHashSet<Ssrc>,
}

impl Session {
    pub(super) fn track_of(&self, source: TrackSource) -> Option<&Track> {
        self.tracks.iter().find(|track| track.source == source)
    }

    pub(super) fn track(&self, id: TrackId) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// The simulcast layers that it sends of a track.
    pub(super) fn rids_of(&self, track: TrackId) -> &[Rid] {
        let mid = self.track(track).map(|track| track.mid);
        let mut media = self.negotiated.media.iter();
        let media = media.find(|media| Some(media.mid) == mid);
        media
            .and_then(|media| media.receive.as_ref())
            .map_or(&[], |receive| receive.rids.as_slice())
    }

    pub(super) fn track_infos(&self) -> Vec<TrackInfo> {
        let info = |track: &Track| TrackInfo {
            id: track.id,
            source: track.source,
            muted: track.muted,
        };
        self.tracks.iter().map(info).collect()
    }

    /// The video slots that show something.
    pub(super) fn shown_slots(&self) -> Vec<SlotState> {
        let state = |slot: &VideoSlot| SlotState {
            mid: slot.mid,
            track: slot.shown,
        };
        self.video_slots
            .iter()
            .filter(|slot| slot.shown.is_some())
            .map(state)
            .collect()
    }

    /// SSRCs that its slots will ever have had with these.
    pub(super) fn ssrcs_with(&self, negotiated: &Negotiated) -> usize {
        let slots = negotiated.media.iter().filter_map(|media| media.send);
        let new: FxHashSet<Ssrc> = slots
            .map(|send| send.ssrc)
            .filter(|ssrc| !self.ssrcs.contains(ssrc))
            .collect();
        self.ssrcs.len() + new.len()
    }

    /// Takes the slots from what was negotiated; those that were there before keep what they show.
    pub(super) fn set_negotiated(&mut self, negotiated: Negotiated) {
        let old_video = std::mem::take(&mut self.video_slots);
        let old_audio: Vec<(Mid, Option<TrackId>)> =
            self.audio_mids.drain(..).zip(self.audio_slots.drain(..)).collect();
        for media in negotiated.media.iter().filter(|media| media.send.is_some()) {
            let mid = media.mid;
            match media.kind {
                MediaKind::Audio => {
                    let old = old_audio.iter().find(|(old, _)| *old == mid);
                    self.audio_mids.push(mid);
                    self.audio_slots.push(old.and_then(|(_, track)| *track));
                }
                MediaKind::Video => {
                    let old = old_video.iter().find(|old| old.mid == mid).cloned();
                    self.video_slots.push(old.unwrap_or(VideoSlot {
                        mid,
                        target: SlotTarget::Nobody,
                        height: 0,
                        shown: None,
                        shown_height: 0,
                        order: 0,
                        rank: SlotRank::default(),
                    }));
                }
            }
        }
        let slots = negotiated.media.iter().filter_map(|media| media.send);
        self.ssrcs.extend(slots.map(|send| send.ssrc));
        self.negotiated = negotiated;
    }

    /// Sets what the video slots are to show; slots that no view names fall back to the followed
    /// target, else to nobody. Views that name no slot are passed over.
    pub(super) fn set_views(&mut self, views: &[SlotView]) {
        let default = match &self.audio_policy {
            AudioPolicy::Loudest => (SlotTarget::Nobody, 0),
            AudioPolicy::Follow(target) => (camera_of(target), u16::MAX),
        };
        for slot in &mut self.video_slots {
            let place = views.iter().rposition(|view| view.mid == slot.mid);
            slot.order = place.unwrap_or(views.len()).min(u16::MAX.into()) as u16;
            (slot.target, slot.height) = match place.map(|place| &views[place]) {
                Some(view) => (view.target.clone(), view.height),
                None => default.clone(),
            };
        }
        self.watches.clear();
        let targets = self.video_slots.iter().map(|slot| &slot.target);
        for target in targets {
            if let SlotTarget::Source { participant, .. } = target
                && !self.watches.contains(participant)
            {
                self.watches.push(participant.clone());
            }
        }
    }

    /// One of its slots shows whoever is the active speaker.
    pub(super) fn watches_active_speaker(&self) -> bool {
        self.video_slots
            .iter()
            .any(|slot| slot.target == SlotTarget::ActiveSpeaker)
    }
}

/// The video that goes with a followed target.
fn camera_of(target: &SlotTarget) -> SlotTarget {
    match target {
        SlotTarget::Source { participant, source } if source.kind() == MediaKind::Audio => SlotTarget::Source {
            participant: participant.clone(),
            source: TrackSource::Camera,
        },
        target => target.clone(),
    }
}
