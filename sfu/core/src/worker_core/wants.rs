//! Adds up what the worker's subscribers want of each track, and tells the control side what has changed.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;

use super::WorkerCore;
use crate::allocator::Wish;
use crate::allocator::uplink::{Heights, Wants, highest_wanted};
use crate::connection::Connection;
use crate::negotiated::MediaKind;
use crate::track::Track;
use crate::units::{Bitrate, TrackId};
use crate::worker_api::{TrackWants, WorkerEvent};

/// All tracks are looked at about so often: links change from second to second …
const INTERVAL: Duration = Duration::from_secs(1);
/// … and one where somebody came, or wishes for something else, at most so often: many may come at once.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// What the control side knows.
#[derive(Debug)]
pub(super) struct Wanting {
    told: FxHashMap<TrackId, Told>,
    /// Where somebody came, or wishes for something else.
    changed: Vec<TrackId>,
    due: Instant,
}

#[derive(Debug, Default)]
struct Told {
    wants: Wants,
    heights: Heights,
    looked: Option<Instant>,
}

impl Told {
    /// Somebody needs what nobody did.
    fn is_outgrown(&self, wants: &Wants, heights: &Heights) -> bool {
        let before = self.wants.layers_needed(heights);
        let now = wants.layers_needed(heights);
        let wakes = now.iter().zip(before).any(|(&now, before)| now && !before);
        wakes || (wants.low_voice && !self.wants.low_voice)
    }
}

impl Wanting {
    pub fn new(now: Instant) -> Self {
        Self {
            told: FxHashMap::default(),
            changed: Vec::new(),
            due: now,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// When those who wanted something are to be told of as gone, where nothing else happens any longer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.told.is_empty()).then_some(self.due)
    }

    pub fn on_change(&mut self, track: TrackId) {
        if !self.changed.contains(&track) {
            self.changed.push(track);
        }
    }
}

impl WorkerCore {
    /// Tells what somebody needs since now.
    pub(super) fn report_changed_wants(&mut self, now: Instant) {
        if self.wanting.changed.is_empty() {
            return;
        }
        let mut tracks = Vec::new();
        let mut later = Vec::new();
        for id in std::mem::take(&mut self.wanting.changed) {
            let Some(track) = self.router.by_id(id) else { continue };
            let told = self.wanting.told.entry(id).or_default();
            if let Some(again) = told.looked.map(|looked| looked + MIN_INTERVAL)
                && again > now
            {
                self.next_feedback = self.next_feedback.min(again);
                later.push(id);
                continue;
            }
            told.looked = Some(now);
            let heights = track.heights();
            let wants = wants(&self.connections, track, &heights);
            if told.is_outgrown(&wants, &heights) {
                tracks.push((id, wants, heights));
            }
        }
        self.wanting.changed = later;
        self.tell_wants(now, tracks);
    }

    /// Tells all that has changed.
    pub(super) fn report_wants(&mut self, now: Instant) {
        if now < self.wanting.due {
            return;
        }
        self.wanting.due = now + INTERVAL;
        let mut tracks = Vec::new();
        for (_, track) in self.router.iter() {
            let told = self.wanting.told.get(&track.id);
            if track.subscribers.is_empty() && told.is_none() {
                continue;
            }
            let heights = track.heights();
            let wants = wants(&self.connections, track, &heights);
            let is_known = match told {
                Some(told) => told.wants == wants && (told.heights == heights || wants.is_empty()),
                None => wants.is_empty(),
            };
            if !is_known {
                tracks.push((track.id, wants, heights));
            }
        }
        for (&id, told) in &self.wanting.told {
            if self.router.find(id).is_none() && !told.wants.is_empty() {
                tracks.push((id, Wants::default(), Heights::default()));
            }
        }
        self.tell_wants(now, tracks);
        self.wanting.told.retain(|_, told| !told.wants.is_empty());
    }

    fn tell_wants(&mut self, now: Instant, tracks: Vec<(TrackId, Wants, Heights)>) {
        if tracks.is_empty() {
            return;
        }
        for (track, wants, heights) in &tracks {
            let told = Told {
                wants: wants.clone(),
                heights: *heights,
                looked: Some(now),
            };
            self.wanting.told.insert(*track, told);
        }
        let tracks = tracks.into_iter().map(|(track, wants, heights)| TrackWants {
            track,
            wants: Box::new(wants),
            heights,
        });
        self.events.push_back(WorkerEvent::Wanted {
            tracks: tracks.collect(),
        });
    }
}

/// What the subscribers on this worker want of a track whose layers have these heights.
fn wants(connections: &Slab<Connection>, track: &Track, heights: &Heights) -> Wants {
    let mut wants = Wants::default();
    for subscriber in &track.subscribers {
        let Some(connection) = connections.get(subscriber.connection) else {
            continue;
        };
        let Some(slot) = connection.slots.get(subscriber.slot) else {
            continue;
        };
        let adaptation = connection.sending.adaptation.as_deref();
        match track.kind {
            MediaKind::Video => {
                let affordable = match adaptation {
                    Some(adaptation) => adaptation.affordable(subscriber.slot),
                    // Nothing is known of its link: it is sent what it shows.
                    None => Some(Bitrate(u64::MAX)),
                };
                if let (Some(highest), Some(affordable)) = (highest_wanted(heights, slot.height()), affordable) {
                    wants.add_video(highest, affordable);
                }
            }
            MediaKind::Audio => {
                if let Some(Wish::Audio(layer)) = adaptation.and_then(|adaptation| adaptation.wish(subscriber.slot)) {
                    wants.add_voice(layer);
                }
            }
        }
    }
    wants
}
