//! One subscriber's estimate and what is made of it.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use super::reported_loss::ReportedLoss;
use crate::allocator::{
    Allocation, Allocator, AudioDemand, Choice, Demand, LayerState, Link, LowVoice, Mode, PauseCause, Shortage,
    SlotAllocation, VideoDemand, VideoLayer, VideoSource, VoiceRate, Wish,
};
use crate::bwe::{self, BweStats, SendSideBwe};
use crate::downtrack::Downtrack;
use crate::negotiated::MediaKind;
use crate::packet::rtcp::ReportBlock;
use crate::packet::rtcp::congestion_feedback::PacketFate;
use crate::packet::rtcp::transport_feedback::TransportFeedback;
use crate::quality::Way;
use crate::router::Router;
use crate::track::Track;
use crate::units::{Bitrate, Mid};
use crate::worker_api::SlotPause;
use crate::worker_core::SpeechConfig;

/// Layers are chosen anew no more often than that, but for a new source or height …
const INTERVAL: Duration = Duration::from_millis(100);
/// … and at least so often: the rates of encoders change.
const MAX_INTERVAL: Duration = Duration::from_millis(500);
/// An estimate that has grown so much is acted on at once.
const MUCH_MORE: f64 = 1.3;
/// What is wished for at least while somebody comes in and has not said what is to be shown, so that probes know the
/// link before the first picture: a camera at 360 lines and its neighbours.
const FIRST_WISH: Bitrate = Bitrate::kbps(1_500);
const FIRST_TIME: Duration = Duration::from_secs(3);
/// A first probe shows within a round trip that a link carries so much, where it does.
const GOOD_START: Bitrate = Bitrate::kbps(200);
/// Wishes that are noticed at a time; what is more is noticed the next time.
const MAX_CHANGED_WISHES: usize = 16;
/// Until then a link is being found out, and is not yet said to lack anything.
const FOUND_OUT: Duration = Duration::from_secs(6);
/// Of an estimate, what is not given away beside media: swings of voices and pictures.
const SPARE_RESERVE: f64 = 0.1;
/// A smaller change of what is left is not told.
const SPARE_CHANGE: f64 = 0.2;
/// A longer queue says that the link carries no more, whatever is lost; a shorter one is of jitter and bursts.
const MAX_VOICE_QUEUE: Duration = Duration::from_millis(150);
/// A voice without redundancy is in need from here on …
const MUCH_LOSS: f64 = 0.02;
/// … and so little that the estimate by delay, which is bound to what arrives (`bwe::aimd`), stays below the link by so
/// much: a link without a queue carries more.
const UNTESTED: f64 = 1.5;
/// Whatever the estimate, as long as there is no queue: a low voice with two repetitions is 47 kbit/s, and margin and
/// reserve. Who joins over a slow link has its queue full of the page, by which the estimate falls to next to nothing.
const LEAST_FOR_VOICE: Bitrate = Bitrate::kbps(60);
/// A queue is drained with one repetition too, 35 kbit/s, where so much is lost that words go missing without.
const LEAST_FOR_A_REPETITION: Bitrate = Bitrate::kbps(42);
const GREAT_LOSS: f64 = 0.1;
/// Without audio for so long a voice pauses, as with discontinuous transmission (which sends every 400 ms).
const VOICE_SILENCE: Duration = Duration::from_millis(300);
/// What browsers send, until it is measured.
const VOICE: VoiceRate = VoiceRate {
    payload: Bitrate(32_000),
    interval: Duration::from_millis(20),
};

/// The layer of a voice that is sent for weak links, as the answer asks for it.
const LOW_LAYER: u8 = 1;
const LOW_VOICE: VoiceRate = VoiceRate {
    payload: Bitrate(14_000),
    interval: Duration::from_millis(60),
};

pub(crate) struct Adaptation {
    pub bwe: SendSideBwe,
    pub mode: Mode,
    allocator: Allocator,
    allocation: Allocation,
    demands: Vec<Demand>,
    /// Something is known that was not when layers were chosen last.
    pub is_stale: bool,
    /// `None`: at once.
    pub next_allocation: Option<Instant>,
    /// What each slot wished for before layers were chosen last.
    wishes: Vec<Wish>,
    /// What the client was told to stand still.
    told: Vec<Mid>,
    /// What was last said to be left while a slot stands still.
    spare: Option<Bitrate>,
    /// The estimate when layers were chosen last.
    allocated_for: Bitrate,
    /// When layers were chosen first.
    since: Option<Instant>,
    reports: ReportedLoss,
}

impl Adaptation {
    pub fn new(config: bwe::Config) -> Self {
        Self {
            bwe: SendSideBwe::new(config),
            mode: Mode::Normal,
            allocator: Allocator::default(),
            allocation: Allocation::default(),
            demands: Vec::new(),
            is_stale: true,
            next_allocation: None,
            wishes: Vec::new(),
            told: Vec::new(),
            spare: None,
            allocated_for: Bitrate(0),
            since: None,
            reports: ReportedLoss::default(),
        }
    }

    pub fn on_transport_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        self.bwe.on_transport_feedback(now, feedback);
        self.on_news();
    }

    /// The same by RFC 8888, of `packets` by number.
    pub fn on_congestion_feedback(
        &mut self,
        now: Instant,
        timestamp: u32,
        packets: impl Iterator<Item = (u16, PacketFate)>,
    ) {
        self.bwe.on_congestion_feedback(now, timestamp, packets);
        self.on_news();
    }

    /// The client's own estimate; false where it is not looked at, as next to transport-wide feedback.
    pub fn on_remb(&mut self, now: Instant, remb: Bitrate) -> bool {
        let is_used = !self.bwe.has_transport_feedback();
        if is_used {
            self.bwe.on_remb(now, remb);
            self.on_news();
        }
        is_used
    }

    /// A report on the slot in place `slot`, and the round trip by it, if it tells one; used where there is no transport-wide
    /// feedback.
    pub fn on_report_block(&mut self, now: Instant, slot: usize, block: &ReportBlock, round_trip: Option<Duration>) {
        if self.bwe.has_transport_feedback() {
            return;
        }
        if let Some(round_trip) = round_trip {
            self.bwe.on_report_round_trip(now, round_trip);
        }
        if let Some((packets, lost)) = self.reports.on_report(slot, block) {
            self.bwe.on_report_loss(now, packets, lost);
            self.on_news();
        }
    }

    fn on_news(&mut self) {
        self.is_stale = true;
        // While a link is being found out, pictures wait for each result.
        if self.bwe.estimate() > self.allocated_for.times(MUCH_MORE) {
            self.next_allocation = None;
        }
    }

    /// More of a slot waits than may.
    pub fn on_congestion(&mut self, now: Instant, slot: usize) {
        self.allocator.on_congestion(now, slot);
        self.next_allocation = None;
    }

    /// When layers are to be chosen again; `None`: at once.
    fn allocation_due(&self) -> Option<Instant> {
        let next = self.next_allocation?;
        Some(if self.is_stale {
            next
        } else {
            next + (MAX_INTERVAL - INTERVAL)
        })
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.allocation_due().is_none_or(|due| due <= now)
    }

    /// When to look at it again.
    pub fn next_look(&self, now: Instant) -> Instant {
        let allocation = self.allocation_due().unwrap_or(now);
        self.bwe.poll_timeout().map_or(allocation, |due| due.min(allocation))
    }

    pub fn choices(&self) -> impl Iterator<Item = &SlotAllocation> {
        self.allocation.slots.iter()
    }

    /// What the video in a slot could take; `None`: its subscriber wants no video.
    pub fn affordable(&self, slot: usize) -> Option<Bitrate> {
        if self.mode == Mode::AudioOnly {
            return None;
        }
        // Until the link is known it is taken for a usual one, so that nobody waits for a publisher.
        let known = self.allocation.slots.get(slot);
        let known = known.filter(|slot| !matches!(slot.choice, Choice::Empty | Choice::Paused(PauseCause::NotShown)));
        Some(known.map_or(FIRST_WISH, |slot| slot.affordable))
    }

    pub fn wish(&self, slot: usize) -> Option<Wish> {
        self.allocation.slots.get(slot).map(|slot| slot.wish)
    }

    /// The slots that wish for something else since the last call.
    pub fn take_changed_wishes(&mut self) -> ArrayVec<usize, MAX_CHANGED_WISHES> {
        let slots = &self.allocation.slots;
        self.wishes.resize(slots.len(), Wish::Nothing);
        let mut changed = ArrayVec::new();
        for (at, (wish, slot)) in self.wishes.iter_mut().zip(slots).enumerate() {
            if *wish != slot.wish && changed.try_push(at).is_ok() {
                *wish = slot.wish;
            }
        }
        changed
    }

    /// So much is lost that words go missing.
    pub fn loses_much(&self) -> bool {
        self.bwe.loss().share >= MUCH_LOSS
    }

    /// Decides what each of `slots` sends. `resends`: what is lost of their voices is sent again.
    pub fn allocate(
        &mut self,
        now: Instant,
        slots: &[Downtrack],
        router: &Router,
        speech: SpeechConfig,
        resends: bool,
    ) {
        self.is_stale = false;
        self.next_allocation = Some(now + INTERVAL);
        self.demands.clear();
        let demands = slots.iter().map(|slot| demand(now, slot, router, speech));
        self.demands.extend(demands);
        let loss = self.bwe.loss();
        self.allocated_for = self.bwe.estimate();
        let stats = self.bwe.stats();
        let link = Link {
            estimate: self.allocated_for,
            undrained: self.bwe.undrained(),
            lossless: match has_queue(&stats) {
                true if loss.share >= GREAT_LOSS => self.allocated_for.max(LEAST_FOR_A_REPETITION),
                true => self.allocated_for,
                false if loss.share >= MUCH_LOSS => stats.delay_based.times(UNTESTED).max(LEAST_FOR_VOICE),
                false => stats.delay_based,
            },
            loss: loss.share as f32,
            loss_burst: loss.mean_burst as f32,
            round_trip: self.bwe.round_trip().unwrap_or_default(),
            reserved: Bitrate(0),
            red: slots.iter().any(Downtrack::takes_red).then_some(speech.redundancy),
            resends,
            is_probed: slots.iter().any(Downtrack::takes_padding),
            mode: match self.is_found_out(now) {
                true => self.mode,
                false => Mode::AudioOnly,
            },
        };
        self.allocator.allocate(now, &link, &self.demands, &mut self.allocation);
        self.since.get_or_insert(now);
        let is_new =
            self.used_for(now) < FIRST_TIME && self.mode == Mode::Normal && slots.iter().any(Downtrack::takes_padding);
        let desired = match is_new {
            true => self.allocation.desired.max(FIRST_WISH),
            false => self.allocation.desired,
        };
        self.bwe.set_desired(now, desired);
    }

    /// What the link has left beside media, for what goes over it in place of the slots that stand still; about once a
    /// second, `Some` where that is news.
    pub fn poll_spare(&mut self) -> Option<Bitrate> {
        if self.told.is_empty() {
            self.spare = None;
            return None;
        }
        let stats = self.bwe.stats();
        let left = stats
            .estimate
            .times(1.0 - SPARE_RESERVE)
            .0
            .saturating_sub(self.allocation.allocated.0);
        // What is lost of it is sent again, and where packets queue there is less than it seems.
        let share = (1.0 - self.bwe.loss().share.clamp(0.0, 1.0)) * if has_queue(&stats) { 0.5 } else { 1.0 };
        let spare = Bitrate(left).times(share);
        let is_news = self.spare.is_none_or(|told| {
            let change = spare.0.abs_diff(told.0) as f64;
            change > told.0 as f64 * SPARE_CHANGE
        });
        is_news.then(|| *self.spare.insert(spare))
    }

    /// The way to the client, as its quality is graded: where every slot has all that it asks for, nothing is missing,
    /// whatever the estimate.
    pub fn way(&self, now: Instant) -> Way {
        let is_known = self.used_for(now) >= FOUND_OUT;
        let lacks = self.allocation.slots.iter().any(|slot| slot.shortage != Shortage::None);
        let stats = self.bwe.stats();
        Way {
            estimate: stats.estimate,
            desired: match is_known && lacks {
                true => self.allocation.desired,
                false => Bitrate(0),
            },
            loss: self.bwe.loss().share as f32,
            is_bound_by_loss: stats
                .loss_based
                .is_some_and(|loss_based| loss_based < stats.delay_based),
        }
    }

    /// A link is found out when it carries more than a village's, or has been used for a while: until then a picture could
    /// fill it, and nobody knows how much it loses.
    fn is_found_out(&self, now: Instant) -> bool {
        self.used_for(now) >= FIRST_TIME || self.allocated_for >= GOOD_START
    }

    /// Since layers were chosen first.
    fn used_for(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Slots have other places since a new answer.
    pub fn move_slots(&mut self, slots: usize, place: impl Fn(usize) -> Option<usize>) {
        self.allocator.move_slots(slots, place);
        self.reports = ReportedLoss::default();
        self.next_allocation = None;
    }

    /// Which slots stand still for want of bandwidth and which do no longer; each change once.
    pub fn pauses(&mut self, slots: &[Downtrack]) -> Vec<SlotPause> {
        let mut pauses = Vec::new();
        for (slot, allocated) in slots.iter().zip(&self.allocation.slots) {
            if slot.kind != MediaKind::Video {
                continue;
            }
            let is_paused = allocated.choice == Choice::Paused(PauseCause::NoBandwidth);
            let told = self.told.iter().position(|&mid| mid == slot.mid);
            match (is_paused, told) {
                (true, None) => self.told.push(slot.mid),
                (false, Some(at)) => drop(self.told.swap_remove(at)),
                _ => continue,
            }
            let mid = slot.mid;
            pauses.push(SlotPause { mid, is_paused });
        }
        self.told.retain(|mid| slots.iter().any(|slot| slot.mid == *mid));
        pauses
    }
}

/// So many packets wait on the way that more would only wait with them.
fn has_queue(stats: &BweStats) -> bool {
    stats.is_overused || stats.queue > MAX_VOICE_QUEUE
}

/// What a slot is to show.
fn demand(now: Instant, slot: &Downtrack, router: &Router, speech: SpeechConfig) -> Demand {
    let Some(track) = slot.source().and_then(|source| router.by_id(source)) else {
        return Demand::Empty;
    };
    match slot.kind {
        MediaKind::Audio => Demand::Audio(audio(now, track, speech)),
        MediaKind::Video => Demand::Video(video(now, slot, track)),
    }
}

fn audio(now: Instant, track: &Track, speech: SpeechConfig) -> AudioDemand {
    let last = track.layers[0].last_packet;
    AudioDemand {
        track: track.id,
        order: track.voice_order,
        is_flowing: !track.muted && last.is_some_and(|last| now.saturating_duration_since(last) < VOICE_SILENCE),
        full: VOICE,
        // Whoever cannot send it is asked for it in vain, which costs nothing.
        low: speech.low_voices.then(|| LowVoice {
            rate: LOW_VOICE,
            state: match track.active_layers().any(|layer| layer == LOW_LAYER) {
                true => LayerState::Active,
                false => LayerState::OnRequest,
            },
        }),
    }
}

fn video(now: Instant, slot: &Downtrack, track: &Track) -> VideoDemand {
    let mut layers = [VideoLayer::default(); crate::negotiated::MAX_LAYERS];
    let heights = track.heights();
    for (index, layer) in layers.iter_mut().enumerate().filter(|&(index, _)| heights[index] > 0) {
        layer.state = track.uplink.silent_layer(now, index);
        layer.height = heights[index];
        layer.temporal_layers = 1;
    }
    let views: ArrayVec<_, { crate::negotiated::MAX_LAYERS }> = track.layers_view();
    for view in views {
        let index = usize::from(view.index);
        if !slot.takes(track.codec_of(view.index)) {
            layers[index].state = LayerState::Absent;
            continue;
        }
        layers[index].temporal_layers = view.temporal_layers;
        if view.active && !track.is_switched_off(now, index) {
            layers[index].state = LayerState::Active;
            layers[index].ceiling = track.uplink.ceiling(index);
            layers[index].rates = view.rates;
        }
    }
    VideoDemand {
        track: track.id,
        source: if slot.rank.is_screen {
            VideoSource::Screen
        } else {
            VideoSource::Camera
        },
        is_active_speaker: slot.rank.is_speaker,
        order: slot.rank.order,
        height: slot.height(),
        layers,
    }
}
