//! Links to other nodes: what comes over them is routed as mail of other workers is, and what their other ends want goes
//! out over them once, however many subscribe behind.

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;

use super::forward::MAX_OUTGOING;
use super::{PacketSink, WorkerCore};
use crate::drop_reason::DropReason;
use crate::mail::{LayerState, Mail};
use crate::negotiated::{MAX_LAYERS, MediaKind};
use crate::path::Path;
use crate::pool::PacketRef;
use crate::rate::Ticks;
use crate::relay::{
    Link, LinkConfig, LinkEvent, LinkId, LinkMessage, LinkSignal, LinkStats, MAX_MEDIA_OVERHEAD, WATCHED, peek_link,
};
use crate::track::{Home, LinkSubscriber, MappedReport, Track};
use crate::units::{TrackId, WorkerIndex};
use crate::worker_api::{OpenLink, SlotSource, WorkerEvent};

/// All layers of a track.
const ALL: u8 = u8::MAX >> (8 - MAX_LAYERS);
/// A layer that nobody has a use for any longer is given up after so long, so that a change of heart costs nothing.
const GIVE_UP_AFTER: Duration = Duration::from_millis(1_500);
/// How often the other end hears which layers flow that it does not get: well within the time after which a silent layer
/// counts as switched off.
const FLOWING_INTERVAL: Duration = Duration::from_millis(250);
/// Links of one worker.
const MAX_LINKS: usize = 4_096;

#[derive(Default)]
pub(super) struct Links {
    links: Slab<LinkState>,
    by_id: FxHashMap<LinkId, usize>,
    next_flowing: Option<Instant>,
    /// Of links that have ended.
    ended: LinkStats,
}

struct LinkState {
    link: Link,
    /// The voices that go over it, of those that are wanted.
    voices: Vec<TrackId>,
}

impl Links {
    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// When [`WorkerCore::run_links`] has something to do.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let links = self.links.iter().map(|(_, state)| state.link.poll_timeout(now));
        links.chain(self.next_flowing).min()
    }

    pub fn check_bounds(&self) {
        assert!(self.links.len() <= MAX_LINKS && self.by_id.len() == self.links.len());
        for (_, state) in &self.links {
            state.link.check_bounds();
        }
    }

    /// Of all links that there are or were, and how many are up.
    pub fn stats(&self) -> (LinkStats, u64) {
        let mut sum = self.ended;
        for (_, state) in &self.links {
            sum.add(&state.link.stats());
        }
        let up = self.links.iter().filter(|(_, state)| state.link.is_up()).count();
        (sum, up as u64)
    }
}

impl WorkerCore {
    pub(super) fn open_link(&mut self, now: Instant, open: OpenLink) {
        let peer = open.peer.map(Path::udp);
        if let Some(&index) = self.links.by_id.get(&open.link) {
            let link = &mut self.links.links[index].link;
            link.rekey(now, &open.keys);
            if let Some(peer) = peer {
                link.set_peer(peer);
            }
            return;
        }
        if self.links.links.len() >= MAX_LINKS {
            return self.counters.drops.count(DropReason::LimitReached);
        }
        let config = LinkConfig {
            id: open.link,
            keys: open.keys,
            peer,
        };
        let index = self.links.links.insert(LinkState {
            link: Link::new(config, now),
            voices: Vec::new(),
        });
        self.links.by_id.insert(open.link, index);
        self.links.next_flowing.get_or_insert(now + FLOWING_INTERVAL);
    }

    pub(super) fn close_link(&mut self, id: LinkId) {
        let Some(index) = self.links.by_id.remove(&id) else {
            return;
        };
        let state = self.links.links.remove(index);
        self.links.ended.add(&state.link.stats());
        if self.links.is_empty() {
            self.links.next_flowing = None;
        }
        let tracks: Vec<(TrackId, bool, bool)> = self
            .router
            .iter()
            .map(|(_, track)| {
                let comes = track.home == Home::Link { link: index };
                let goes = track.links.iter().any(|other| other.link == index);
                (track.id, comes, goes)
            })
            .collect();
        for (track, comes, goes) in tracks {
            if comes {
                self.router.unpublish_remote(track, index);
            }
            if goes {
                self.unsubscribe_link(track, index);
            }
        }
    }

    pub(super) fn publish_remote(&mut self, id: LinkId, track: TrackId, kind: MediaKind) {
        if let Some(&link) = self.links.by_id.get(&id) {
            self.router.publish_remote(track, kind, link);
            self.has_news = true;
        }
    }

    pub(super) fn unpublish_remote(&mut self, id: LinkId, track: TrackId) {
        if let Some(&link) = self.links.by_id.get(&id) {
            if let Some(state) = self.links.links.get_mut(link) {
                state.link.send_message(&LinkMessage::Want { track, layers: 0 });
            }
            self.router.unpublish_remote(track, link);
        }
    }

    pub(super) fn set_link_source(&mut self, id: LinkId, source: SlotSource, kind: MediaKind, layers: u8) {
        let Some(&link) = self.links.by_id.get(&id) else { return };
        let (track, own) = (source.track, self.config.worker);
        if layers == 0 {
            return self.unsubscribe_link(track, link);
        }
        let subscriber = LinkSubscriber { link, layers };
        if let Some(notice) = self.router.subscribe_link(track, kind, subscriber, source.home, own) {
            self.notify_home(track, notice);
        }
        if let Some(index) = self.router.find(track) {
            if let Some(track) = self.router.track_mut(index) {
                track.is_relayed = source.is_relayed;
            }
            // What is wanted behind the link may be new to its publisher's side.
            self.has_news = true;
            self.tell_layers(index);
        }
    }

    fn unsubscribe_link(&mut self, track: TrackId, link: usize) {
        if let Some(notice) = self.router.unsubscribe_link(track, link) {
            self.notify_home(track, notice);
        }
    }

    pub(super) fn pass_voices(&mut self, id: LinkId, voices: Vec<TrackId>) {
        if let Some(&link) = self.links.by_id.get(&id) {
            self.links.links[link].voices = voices;
        }
    }

    pub(super) fn tell_link(&mut self, id: LinkId, message: &LinkMessage) {
        if let Some(&link) = self.links.by_id.get(&id) {
            self.links.links[link].link.send_message(message);
        }
    }

    /// What is known of a track's layers, to all other nodes that want it.
    pub(super) fn tell_layers(&mut self, index: usize) {
        let Some(track) = self.router.track(index).filter(|track| !track.links.is_empty()) else {
            return;
        };
        let message = LinkMessage::Layers {
            track: track.id,
            layers: layer_states(track),
            streams: track.uplink.streams,
        };
        for subscriber in &track.links {
            if let Some(state) = self.links.links.get_mut(subscriber.link) {
                state.link.send_message(&message);
            }
        }
    }

    pub(super) fn report_to_links(&mut self, id: TrackId, layer: u8, report: MappedReport) {
        let Some(track) = self.router.by_id(id) else { return };
        let signal = LinkSignal::Report {
            track: id,
            layer,
            report,
        };
        for subscriber in &track.links {
            if let Some(state) = self.links.links.get_mut(subscriber.link) {
                state.link.send_signal(signal);
            }
        }
    }

    pub(super) fn ask_keyframe_over(&mut self, link: usize, track: TrackId, layer: u8) {
        if let Some(state) = self.links.links.get_mut(link) {
            state.link.send_signal(LinkSignal::Keyframe { track, layer });
            self.counters.keyframe_requests_sent += 1;
        }
    }

    /// A datagram of another node, decrypted in place.
    pub(super) fn handle_link(&mut self, now: Instant, path: Path, datagram: &mut [u8]) -> Result<(), DropReason> {
        let id = peek_link(datagram).ok_or(DropReason::LinkMalformed)?;
        let index = *self.links.by_id.get(&id).ok_or(DropReason::LinkUnknown)?;
        let received = self.links.links[index].link.handle_datagram(now, path, datagram)?;
        if let Some(media) = received {
            let route = self.router.find(media.track);
            let track = route.and_then(|route| self.router.track_mut(route));
            let Some((route, track)) = route.zip(track.filter(|track| track.home == Home::Link { link: index })) else {
                return Err(DropReason::LinkUnknown);
            };
            if media.info.codec.kind() != track.kind {
                return Err(DropReason::LinkMalformed);
            }
            let payload = &datagram[media.payload];
            if track.kind == MediaKind::Audio && super::receive::hear(now, track, media.info.audio_level, payload.len())
            {
                self.heard.push(route);
            }
            let filled = self.pool.fill(media.info, payload, &datagram[media.descriptor]);
            self.router.route(route, filled.ok_or(DropReason::TooLarge)?);
        }
        self.drain_link(now, index);
        Ok(())
    }

    fn drain_link(&mut self, now: Instant, index: usize) {
        while let Some(state) = self.links.links.get_mut(index)
            && let Some(event) = state.link.poll_event()
        {
            let link = state.link.id();
            match event {
                LinkEvent::Up => self.events.push_back(WorkerEvent::LinkState { link, is_up: true }),
                LinkEvent::Down => self.events.push_back(WorkerEvent::LinkState { link, is_up: false }),
                LinkEvent::Message(LinkMessage::Want { track, layers }) => {
                    self.events.push_back(WorkerEvent::LinkWant { link, track, layers });
                }
                LinkEvent::Message(LinkMessage::Layers { track, layers, streams }) => {
                    if self.comes_over(track, index) {
                        self.on_layers(now, track, &layers, streams);
                        self.mail_layers_on(track);
                    }
                }
                LinkEvent::Message(message) => {
                    let message = Box::new(message);
                    self.events.push_back(WorkerEvent::LinkMessage { link, message });
                }
                LinkEvent::Signal(signal) => self.on_link_signal(now, index, signal),
            }
        }
    }

    fn comes_over(&self, track: TrackId, link: usize) -> bool {
        self.router
            .by_id(track)
            .is_some_and(|track| track.home == Home::Link { link })
    }

    fn on_link_signal(&mut self, now: Instant, link: usize, signal: LinkSignal) {
        match signal {
            LinkSignal::Keyframe { track, layer } => {
                let asks = |track: &Track| track.links.iter().any(|subscriber| subscriber.link == link);
                if let Some(index) = self.router.find(track)
                    && self.router.track(index).is_some_and(asks)
                {
                    self.request_keyframe(now, index, layer);
                }
            }
            LinkSignal::Report { track, layer, report } => {
                if self.comes_over(track, link) {
                    self.on_passed_report(track, layer, report);
                }
            }
            LinkSignal::Flowing { track, layers } => {
                if self.comes_over(track, link)
                    && let Some(index) = self.router.find(track)
                    && let Some(known) = self.router.track_mut(index)
                {
                    let mut is_news = false;
                    for (place, layer) in known.layers.iter_mut().enumerate() {
                        if layers >> place & 1 == 1 {
                            is_news |= layer.last_packet.is_none();
                            layer.last_packet = Some(now);
                        }
                    }
                    self.mail_layers_on(track);
                    if is_news {
                        self.retarget(now, index);
                    }
                }
            }
        }
    }

    /// To the other workers of this node that have subscribers.
    fn mail_layers_on(&mut self, track: TrackId) {
        let workers = self.router.by_id(track).map(Track::interested_workers);
        for worker in workers.into_iter().flatten() {
            self.mail_layers(worker, track);
        }
    }

    pub(super) fn on_passed_report(&mut self, id: TrackId, layer: u8, report: MappedReport) {
        let Some(track) = self.router.by_id_mut(id) else { return };
        let Some(state) = track.layers.get_mut(usize::from(layer)) else {
            return;
        };
        state.report = Some(report);
        for worker in track.interested_workers() {
            let track = id;
            self.mails
                .push_back((worker, Mail::SenderReport { track, layer, report }));
        }
        self.report_to_links(id, layer, report);
    }

    /// A track's packets to other nodes, one node after the other, so that those of a frame make one run.
    pub(super) fn forward_over_links(
        &mut self,
        now: Instant,
        index: usize,
        pending: &[PacketRef],
        sink: &mut dyn PacketSink,
    ) {
        let Some(track) = self.router.track(index) else { return };
        let ticks = Ticks::since(self.epoch, now);
        for subscriber in &track.links {
            let Some(state) = self.links.links.get_mut(subscriber.link) else {
                continue;
            };
            if track.kind == MediaKind::Audio && !state.voices.contains(&track.id) {
                continue;
            }
            let mut sent = 0;
            for (packet, &padding) in pending.iter().zip(&self.paddings) {
                if subscriber.layers >> packet.layer & 1 == 0 {
                    continue;
                }
                if !state.link.admits(track.id, track.kind, packet) {
                    self.counters.drops.count(DropReason::OverLinkRate);
                    continue;
                }
                if self.batch.remaining() < MAX_OUTGOING + MAX_MEDIA_OVERHEAD {
                    sink.send(&self.batch);
                    self.batch.clear();
                }
                let out = self.batch.free();
                if let Some((path, len)) = state.link.send_media(now, track.id, packet, padding, out) {
                    self.batch.commit(path, len);
                    sent += len;
                }
            }
            self.egress.charge(&self.ceilings.worker, ticks, sent);
        }
    }

    /// What links say of their own accord, and what is due on them.
    pub(super) fn run_links(&mut self, now: Instant, sink: &mut dyn PacketSink) {
        if self.links.is_empty() {
            return;
        }
        self.tell_flowing(now);
        for index in 0..self.links.links.capacity() {
            let Some(state) = self.links.links.get_mut(index) else {
                continue;
            };
            if state.link.poll_timeout(now) > now {
                continue;
            }
            state.link.handle_timeout(now);
            loop {
                if self.batch.remaining() < MAX_OUTGOING + MAX_MEDIA_OVERHEAD {
                    self.send(sink);
                }
                let state = &mut self.links.links[index];
                let Some((path, len)) = state.link.poll_transmit(now, self.batch.free()) else {
                    break;
                };
                self.batch.commit(path, len);
            }
            self.drain_link(now, index);
        }
    }

    fn tell_flowing(&mut self, now: Instant) {
        if self.links.next_flowing.is_none_or(|due| due > now) {
            return;
        }
        self.links.next_flowing = Some(now + FLOWING_INTERVAL);
        for (_, track) in self.router.iter() {
            if track.links.is_empty() || track.kind != MediaKind::Video {
                continue;
            }
            let flowing = track
                .layers
                .iter()
                .enumerate()
                .filter(|(_, layer)| layer.last_packet.is_some_and(|last| now - last < FLOWING_INTERVAL * 2))
                .fold(0, |layers, (place, _)| layers | 1 << place);
            for subscriber in &track.links {
                let layers = flowing & !subscriber.layers;
                if layers != 0
                    && let Some(state) = self.links.links.get_mut(subscriber.link)
                {
                    let track = track.id;
                    state.link.send_signal(LinkSignal::Flowing { track, layers });
                }
            }
        }
    }

    /// Tells the sides of other nodes' tracks which layers somebody here has a use for.
    pub(super) fn update_asks(&mut self, now: Instant) {
        let mut told = Vec::new();
        for (_, track) in self.router.iter_mut().filter(|(_, track)| track.is_relayed) {
            let wanted = wanted_layers(&self.connections, track);
            let asks = &mut track.asks;
            let grown = asks.told | wanted;
            let next = if wanted == asks.told {
                asks.give_up = None;
                continue;
            } else if grown != asks.told {
                asks.give_up = None;
                grown
            } else if !matches!(track.home, Home::Link { .. }) {
                // The worker that has the link waits, for all of the node.
                wanted
            } else {
                let due = *asks.give_up.get_or_insert(now + GIVE_UP_AFTER);
                if due > now {
                    self.next_feedback = self.next_feedback.min(due);
                    continue;
                }
                asks.give_up = None;
                wanted
            };
            asks.told = next;
            told.push((track.id, track.home, next));
        }
        for (track, home, layers) in told {
            match home {
                Home::Link { link } => {
                    if let Some(state) = self.links.links.get_mut(link) {
                        state.link.send_message(&LinkMessage::Want { track, layers });
                    }
                }
                Home::Remote(home) => self.mails.push_back((home, Mail::Wanted { track, layers })),
                Home::Local { .. } | Home::Unknown => {}
            }
        }
    }

    /// Another worker's share of what is wanted of another node's track.
    pub(super) fn on_mailed_want(&mut self, from: WorkerIndex, track: TrackId, layers: u8) {
        if let Some(track) = self.router.by_id_mut(track) {
            track.asks.by_worker.retain(|(worker, _)| *worker != from);
            if layers != 0 {
                track.asks.by_worker.push((from, layers));
            }
            self.has_news = true;
        }
    }
}

/// The layers of another node's track that somebody on this worker, or behind it, has a use for.
fn wanted_layers(connections: &Slab<crate::connection::Connection>, track: &Track) -> u8 {
    if track.kind == MediaKind::Audio {
        // Who is heard at all is the other node's choice.
        return ALL;
    }
    let mut wanted = 0;
    for subscriber in &track.subscribers {
        let slot = connections
            .get(subscriber.connection)
            .and_then(|connection| connection.slots.get(subscriber.slot));
        wanted |= WATCHED | slot.map_or(0, |slot| slot.streams());
    }
    let others = track.asks.by_worker.iter().map(|(_, layers)| layers);
    let links = track.links.iter().map(|subscriber| &subscriber.layers);
    wanted | others.chain(links).fold(0, |wanted, layers| wanted | layers)
}

fn layer_states(track: &Track) -> arrayvec::ArrayVec<LayerState, MAX_LAYERS> {
    let state = |layer: &crate::track::Layer| LayerState {
        codec: layer.codec,
        resolution: layer.resolution,
        last_packet: layer.last_packet,
        report: layer.report,
    };
    track.layers.iter().map(state).collect()
}
