//! What publishers are asked to send: the wants of all workers' subscribers, added up by track.

use std::collections::BTreeSet;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::types::{RoomsEvent, TrackSource, WantedLayer, WantedTrack};
use super::{Rooms, WorkerCommand};
use crate::allocator::announce::{Announcement, LowVoiceAnnouncement};
use crate::allocator::uplink::{Heights, UplinkPlan, Wants};
use crate::negotiated::MediaKind;
use crate::units::{Bitrate, Rid, TrackId, WorkerIndex};
use crate::worker_api::TrackWants;

#[derive(Debug, Default)]
pub(super) struct Demands {
    tracks: FxHashMap<TrackId, TrackDemand>,
    wakeups: BTreeSet<(Instant, TrackId)>,
}

/// Of a track that its publisher can be told something about: a video, or a microphone.
#[derive(Debug)]
struct TrackDemand {
    kind: MediaKind,
    /// Only workers with subscribers that want something.
    by_worker: Vec<(WorkerIndex, Box<Wants>)>,
    heights: Heights,
    layers: Announcement,
    low_voice: LowVoiceAnnouncement,
    due: Option<Instant>,
}

/// What the publisher of a track is to be told.
#[derive(Debug, PartialEq, Eq)]
enum News {
    Layers(UplinkPlan),
    LowVoice(bool),
}

impl TrackDemand {
    fn new(kind: MediaKind) -> Self {
        Self {
            kind,
            by_worker: Vec::new(),
            heights: Heights::default(),
            layers: Announcement::default(),
            low_voice: LowVoiceAnnouncement::default(),
            due: None,
        }
    }

    fn set(&mut self, worker: WorkerIndex, report: TrackWants) {
        self.by_worker.retain(|(other, _)| *other != worker);
        if !report.wants.is_empty() {
            self.heights = report.heights;
            self.by_worker.push((worker, report.wants));
        }
    }

    fn update(&mut self, now: Instant) -> Option<News> {
        let mut wants = Wants::default();
        for (_, part) in &self.by_worker {
            wants.merge(part);
        }
        match self.kind {
            MediaKind::Video => {
                let news = self.layers.update(now, &wants.plan(&self.heights));
                self.due = self.layers.poll_timeout();
                news.map(News::Layers)
            }
            MediaKind::Audio => {
                let news = self.low_voice.update(now, wants.low_voice);
                self.due = self.low_voice.poll_timeout();
                news.map(News::LowVoice)
            }
        }
    }
}

impl Demands {
    pub fn is_empty(&self) -> bool {
        self.tracks.is_empty() && self.wakeups.is_empty()
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wakeups.first().map(|&(at, _)| at)
    }

    pub fn remove(&mut self, track: TrackId) {
        if let Some(due) = self.tracks.remove(&track).and_then(|demand| demand.due) {
            self.wakeups.remove(&(due, track));
        }
    }

    fn update(&mut self, now: Instant, track: TrackId) -> Option<News> {
        let demand = self.tracks.get_mut(&track)?;
        let before = demand.due;
        let news = demand.update(now);
        if demand.due != before {
            before.map(|due| self.wakeups.remove(&(due, track)));
            demand.due.map(|due| self.wakeups.insert((due, track)));
        }
        news
    }
}

impl Rooms {
    /// A track is published, or sent again after it was muted: its publisher sends all of it until it is told what of it is
    /// wanted.
    pub(super) fn begin_demand(&mut self, now: Instant, track: TrackId, source: TrackSource) {
        if source == TrackSource::ScreenAudio {
            return;
        }
        let demands = &mut self.demands;
        let demand = demands
            .tracks
            .entry(track)
            .or_insert_with(|| TrackDemand::new(source.kind()));
        demand.layers = Announcement::default();
        self.update_demand(now, track);
    }

    pub(super) fn on_wanted(&mut self, now: Instant, worker: WorkerIndex, reports: Vec<TrackWants>) {
        for report in reports {
            let track = report.track;
            let Some(demand) = self.demands.tracks.get_mut(&track) else {
                continue;
            };
            let is_new = demand.by_worker.iter().all(|(other, _)| *other != worker);
            demand.set(worker, report);
            let told = demand.layers.told().copied();
            self.update_demand(now, track);
            // Of what was told before it had subscribers it has not heard.
            let demand = self.demands.tracks.get(&track);
            if is_new
                && demand.is_some_and(|demand| demand.layers.told().copied() == told)
                && let Some(plan) = told
            {
                self.command(worker, WorkerCommand::SetPlan { track, plan });
            }
        }
    }

    pub(super) fn handle_demand_timeout(&mut self, now: Instant) {
        while let Some(&(at, track)) = self.demands.wakeups.first()
            && at <= now
        {
            self.update_demand(now, track);
        }
    }

    fn update_demand(&mut self, now: Instant, track: TrackId) {
        let Some(news) = self.demands.update(now, track) else {
            return;
        };
        if let News::Layers(plan) = news {
            let demand = self.demands.tracks.get(&track);
            let workers = demand.into_iter().flat_map(|demand| &demand.by_worker);
            let mut workers: Vec<WorkerIndex> = workers.map(|&(worker, _)| worker).collect();
            // Its own worker has to know that a camera is silent by order.
            let home = self.tracks.get(&track).map(|owner| owner.home);
            workers.extend(home.filter(|home| !workers.contains(home)));
            for worker in workers {
                self.command(worker, WorkerCommand::SetPlan { track, plan });
            }
        }
        let Some(owner) = self.tracks.get(&track) else { return };
        let session = &self.sessions[owner.session.0];
        let wanted = match news {
            News::Layers(plan) => WantedTrack {
                track,
                layers: wanted_layers(&plan, session.rids_of(track)),
                low_voice: false,
            },
            News::LowVoice(low_voice) => WantedTrack {
                track,
                layers: Vec::new(),
                low_voice,
            },
        };
        let session = session.id.clone();
        self.event(RoomsEvent::Wanted {
            session,
            tracks: vec![wanted],
        });
    }
}

/// By the names that the publisher gave its layers. One stream without a name carries all of them, one beside the other.
fn wanted_layers(plan: &UplinkPlan, rids: &[Rid]) -> Vec<WantedLayer> {
    if rids.is_empty() {
        let all = plan.layers.iter().flatten();
        let sum = all.copied().reduce(|one, other| Bitrate(one.0.saturating_add(other.0)));
        let layer = |max_bitrate| WantedLayer {
            rid: Rid::new(),
            max_bitrate,
        };
        return sum.map(layer).into_iter().collect();
    }
    let named = rids.iter().zip(&plan.layers);
    let layer = |(&rid, rate): (&Rid, &Option<_>)| rate.map(|max_bitrate| WantedLayer { rid, max_bitrate });
    named.filter_map(layer).collect()
}
