//! What publishers are asked to send: the wants of all workers' subscribers, added up by track.

use std::collections::BTreeSet;
use std::time::Instant;

use rustc_hash::FxHashMap;

use super::types::{RoomsEvent, TrackSource, WantedLayer, WantedTrack};
use super::{Rooms, WorkerCommand};
use crate::allocator::announce::{Announcement, LowVoiceAnnouncement};
use crate::allocator::uplink::{Heights, UplinkPlan, Wants};
use crate::negotiated::MediaKind;
use crate::relay::{LinkId, LinkMessage};
use crate::units::{Bitrate, Rid, TrackId, WorkerIndex};
use crate::worker_api::TrackWants;

#[derive(Debug, Default)]
pub(super) struct Demands {
    tracks: FxHashMap<TrackId, TrackDemand>,
    wakeups: BTreeSet<(Instant, TrackId)>,
}

/// Whose subscribers want something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanter {
    Worker(WorkerIndex),
    /// Those behind a link to another node.
    Link(LinkId),
}

/// Of a track that its publisher can be told something about: a video, or a microphone.
#[derive(Debug)]
struct TrackDemand {
    kind: MediaKind,
    /// Of a track of another node: the link towards it.
    via: Option<LinkId>,
    /// What the node that has the publisher was told, and what it says that its publisher sends.
    passed: Wants,
    plan: Option<UplinkPlan>,
    /// Only those with subscribers that want something.
    by_wanter: Vec<(Wanter, Box<Wants>)>,
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
    /// For the node that has the publisher.
    Upstream(LinkId, Box<Wants>, Heights),
}

impl TrackDemand {
    fn new(kind: MediaKind, via: Option<LinkId>) -> Self {
        Self {
            kind,
            via,
            passed: Wants::default(),
            plan: None,
            by_wanter: Vec::new(),
            heights: Heights::default(),
            layers: Announcement::default(),
            low_voice: LowVoiceAnnouncement::default(),
            due: None,
        }
    }

    fn set(&mut self, wanter: Wanter, report: TrackWants) {
        self.by_wanter.retain(|(other, _)| *other != wanter);
        if !report.wants.is_empty() {
            self.heights = report.heights;
            self.by_wanter.push((wanter, report.wants));
        }
    }

    /// What the publisher was told last, as far as is known here.
    fn told(&self) -> Option<UplinkPlan> {
        self.plan.or(self.layers.told().copied())
    }

    fn update(&mut self, now: Instant) -> Option<News> {
        let mut wants = Wants::default();
        for (_, part) in &self.by_wanter {
            wants.merge(part);
        }
        if let Some(via) = self.via {
            if wants == self.passed {
                return None;
            }
            self.passed = wants.clone();
            return Some(News::Upstream(via, Box::new(wants), self.heights));
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

    /// Over which link the node of the publisher believes that something of a track is wanted here.
    fn passed_over(&self, track: TrackId) -> Option<LinkId> {
        let demand = self.tracks.get(&track).filter(|demand| !demand.passed.is_empty());
        demand?.via
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
    pub(super) fn begin_demand(&mut self, now: Instant, track: TrackId, source: TrackSource, via: Option<LinkId>) {
        if source == TrackSource::ScreenAudio {
            return;
        }
        let demands = &mut self.demands;
        let demand = demands
            .tracks
            .entry(track)
            .or_insert_with(|| TrackDemand::new(source.kind(), via));
        demand.layers = Announcement::default();
        self.update_demand(now, track);
    }

    /// A track ends here; that it is published elsewhere may go on.
    pub(super) fn end_demand(&mut self, track: TrackId) {
        if let Some(link) = self.demands.passed_over(track)
            && let Some(worker) = self.link_worker(link)
        {
            let message = Box::new(LinkMessage::Wants {
                track,
                wants: Box::default(),
                heights: Heights::default(),
            });
            self.command(worker, WorkerCommand::TellLink { link, message });
        }
        self.demands.remove(track);
    }

    /// The link is gone, with those behind it.
    pub(super) fn forget_link_wants(&mut self, now: Instant, track: TrackId, link: LinkId) {
        if let Some(demand) = self.demands.tracks.get_mut(&track) {
            demand.by_wanter.retain(|(wanter, _)| *wanter != Wanter::Link(link));
            self.update_demand(now, track);
        }
    }

    pub(super) fn on_wanted(&mut self, now: Instant, worker: WorkerIndex, reports: Vec<TrackWants>) {
        for report in reports {
            self.on_wants(now, Wanter::Worker(worker), report);
        }
    }

    /// What the subscribers behind a link want of a track.
    pub(super) fn on_link_wants(&mut self, now: Instant, link: LinkId, report: TrackWants) {
        self.on_wants(now, Wanter::Link(link), report);
    }

    fn on_wants(&mut self, now: Instant, wanter: Wanter, report: TrackWants) {
        let track = report.track;
        let Some(demand) = self.demands.tracks.get_mut(&track) else {
            return;
        };
        let is_new = demand.by_wanter.iter().all(|(other, _)| *other != wanter);
        demand.set(wanter, report);
        let told = demand.told();
        self.update_demand(now, track);
        // Of what was told before it had subscribers it has not heard.
        let demand = self.demands.tracks.get(&track);
        if is_new
            && demand.is_some_and(|demand| demand.told() == told)
            && let Some(plan) = told
        {
            self.tell_plan(track, plan, &[wanter]);
        }
    }

    /// What the publisher of another node's track was told.
    pub(super) fn on_remote_plan(&mut self, track: TrackId, plan: UplinkPlan) {
        if let Some(demand) = self.demands.tracks.get_mut(&track) {
            demand.plan = Some(plan);
            self.tell_plan_to_all(track, plan);
        }
    }

    fn tell_plan_to_all(&mut self, track: TrackId, plan: UplinkPlan) {
        let demand = self.demands.tracks.get(&track);
        let wanters = demand.into_iter().flat_map(|demand| &demand.by_wanter);
        let mut wanters: Vec<Wanter> = wanters.map(|&(wanter, _)| wanter).collect();
        // Its own worker has to know that a camera is silent by order.
        let home = self.tracks.get(&track).map(|owner| Wanter::Worker(owner.home));
        wanters.extend(home.filter(|home| !wanters.contains(home)));
        self.tell_plan(track, plan, &wanters);
    }

    fn tell_plan(&mut self, track: TrackId, plan: UplinkPlan, wanters: &[Wanter]) {
        for wanter in wanters {
            match *wanter {
                Wanter::Worker(worker) => self.command(worker, WorkerCommand::SetPlan { track, plan }),
                Wanter::Link(link) => {
                    if let Some(worker) = self.link_worker(link) {
                        let message = Box::new(LinkMessage::Plan { track, plan });
                        self.command(worker, WorkerCommand::TellLink { link, message });
                    }
                }
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
        let news = match news {
            News::Upstream(link, wants, heights) => {
                if let Some(worker) = self.link_worker(link) {
                    let message = Box::new(LinkMessage::Wants { track, wants, heights });
                    self.command(worker, WorkerCommand::TellLink { link, message });
                }
                return;
            }
            other => other,
        };
        if let News::Layers(plan) = news {
            self.tell_plan_to_all(track, plan);
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
            News::Upstream(..) => return,
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
