//! Orders the parts of the estimate: what each learns from feedback, and which of them rules.

use std::time::{Duration, Instant};

use super::acked_rate::{AckedRate, Throughput};
use super::alr::AlrDetector;
use super::delay_based::{DelayBased, Signals};
use super::drain::Drain;
use super::feedback::{FeedbackMatcher, LostPacket};
use super::history::{Fate, History, SentPacket};
use super::inherent_loss::EMPTY_QUEUE;
use super::loss_based::{Context, LossBased, LossState};
use super::loss_pattern::{Loss, LossPattern};
use super::probe_controller::{Limit, ProbeCluster, ProbeController};
use super::probe_estimator::ProbeEstimator;
use super::remb::Remb;
use super::report_loss::ReportLoss;
use super::round_trip::RoundTrip;
use super::silence::{Silence, Unanswered};
use super::time::Micros;
use super::trendline::Usage;
use super::{BweStats, Config};
use crate::packet::rtcp::congestion_feedback::PacketFate;
use crate::packet::rtcp::transport_feedback::TransportFeedback;
use crate::units::Bitrate;

/// libwebrtc's `kDefaultPaceMultiplierWithSendSideBwe`: more than the estimate, so that a queue in the pacer ends.
const PACING_FACTOR: f64 = 1.1;
/// Below this a key frame takes so long that as much above the link's rate would be overuse.
const SLOW: Bitrate = Bitrate::kbps(500);
/// What is held back after overuse drains a short queue in a few seconds; less of it, as of a picture that stays, drains it too.
const KEPT: f64 = 0.97;
/// Less arrives of what has just begun to be sent than is sent.
const KEPT_OVER_ARRIVED: f64 = 1.15;
const SHORT_QUEUE: Micros = Micros::millis(100);
/// Nothing that goes by time alone takes less than half a second.
const TICK: Micros = Micros::millis(100);
/// So much is sent into silence before it is an outage.
const OUTAGE: Micros = Micros::secs(1);
/// What is sent into a link that halts only queues, so that this share of the estimate is.
const IN_SILENCE: f64 = 0.4;
/// In an outage the estimate falls after this long … (libwebrtc: `WebRTC-Bwe-MaxRttLimit`)
const BACK_OFF_AFTER: Micros = Micros::secs(3);
/// … to this share …
const BACK_OFF: f64 = 0.8;
/// … once in so long.
const BACK_OFF_INTERVAL: Micros = Micros::secs(1);
/// What the detectors saw is not true of a link on which nothing was sent for so long.
const STALE: Micros = Micros::secs(2);
/// A queue this long is about to overflow or does.
const OWN_QUEUE: Micros = Micros::millis(200);
/// More than a queue that overflows once in a while loses (RFC 3714: 10 %, where even speech should give way).
const GREAT_LOSS: f64 = 0.1;
/// A probe that measures less than the estimate lowers it to this share of what arrives at most
/// (libwebrtc: `kProbeDropThroughputFraction`).
const PROBE_DROP: f64 = 0.85;

#[derive(Debug)]
pub struct Estimator {
    config: Config,
    epoch: Instant,
    history: History,
    feedback: FeedbackMatcher,
    acked_rate: AckedRate,
    throughput: Throughput,
    alr: AlrDetector,
    round_trip: RoundTrip,
    report_round_trip: Option<Duration>,
    loss_pattern: LossPattern,
    delay_based: DelayBased,
    drain: Drain,
    loss_based: LossBased,
    report_loss: ReportLoss,
    remb: Remb,
    probes: ProbeController,
    probe_results: ProbeEstimator,
    probes_sent: u64,
    probes_measured: u64,
    estimate: Bitrate,
    undrained: Bitrate,
    silence: Silence,
    /// The estimate at the beginning of the present outage.
    before_outage: Option<Bitrate>,
    /// An outage has ended, and nobody has asked yet.
    has_resumed: bool,
    last_back_off: Micros,
    next_tick: Micros,
}

impl Estimator {
    pub fn new(config: Config, epoch: Instant) -> Self {
        let mut alr = AlrDetector::default();
        alr.set_estimate(config.start);
        Self {
            config,
            epoch,
            history: History::default(),
            feedback: FeedbackMatcher::default(),
            acked_rate: AckedRate::default(),
            throughput: Throughput::default(),
            alr,
            round_trip: RoundTrip::default(),
            report_round_trip: None,
            loss_pattern: LossPattern::default(),
            delay_based: DelayBased::new(config.start, config.min),
            drain: Drain::default(),
            loss_based: LossBased::new(config.min, config.max),
            report_loss: ReportLoss::new(config.start),
            remb: Remb::default(),
            probes: ProbeController::new(config.start, config.max),
            probe_results: ProbeEstimator::default(),
            probes_sent: 0,
            probes_measured: 0,
            estimate: config.start,
            undrained: config.start,
            silence: Silence::default(),
            before_outage: None,
            has_resumed: false,
            last_back_off: Micros::ZERO,
            next_tick: TICK,
        }
    }

    fn now(&self, now: Instant) -> Micros {
        Micros::since(self.epoch, now)
    }

    pub fn next_seq(&self) -> u16 {
        self.history.next_seq().truncate()
    }

    #[inline]
    pub fn on_sent(&mut self, now: Instant, packet: SentPacket) -> u16 {
        self.history.push(Micros::since(self.epoch, now), packet)
    }

    /// What became of a packet, and how long ago it was sent; `None` where it is forgotten.
    pub fn fate(&self, now: Instant, number: u16) -> Option<(Fate, Duration)> {
        let (fate, age) = self.history.fate(number, self.now(now))?;
        Some((fate, age.duration()))
    }

    pub fn on_resent(&mut self, number: u16) {
        let seq = self.history.next_seq().nearest(number);
        if let Some(entry) = self.history.entry_mut(seq) {
            entry.set_resent();
        }
    }

    pub fn on_transport_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) -> &[LostPacket] {
        let now = self.now(now);
        self.feedback.on_feedback(now, feedback, &mut self.history);
        self.learn(now)
    }

    pub fn on_congestion_feedback(
        &mut self,
        now: Instant,
        timestamp: u32,
        packets: impl Iterator<Item = (u16, PacketFate)>,
    ) -> &[LostPacket] {
        let now = self.now(now);
        self.feedback
            .on_congestion_feedback(now, timestamp, packets, &mut self.history);
        self.learn(now)
    }

    /// From what feedback told last.
    fn learn(&mut self, now: Micros) -> &[LostPacket] {
        let (acked, lost) = (&self.feedback.acked, &self.feedback.lost);
        if acked.is_empty() && lost.is_empty() {
            return &[];
        }
        let competes = self.delay_based.competes();
        self.round_trip.on_feedback(now, acked, competes);
        // What a queue of our own making drops is over when it is drained; redundancy would only prolong it.
        if competes || self.round_trip.queue() < OWN_QUEUE {
            self.loss_pattern.on_feedback(now, acked, lost);
        }
        self.alr.update(now, self.history.bytes_sent());
        let probed = self.measure();
        if let Some(round_trip) = self.round_trip.smoothed() {
            self.delay_based.set_round_trip(round_trip);
            self.probes.set_round_trip(round_trip);
        }
        self.silence.on_feedback(now);
        self.adapt(now, probed);
        &self.feedback.lost
    }

    /// Measures what arrives; returns what a probe says.
    fn measure(&mut self) -> Option<Bitrate> {
        let mut probed = None;
        let share = self.loss_based.inherent().share();
        for packet in &self.feedback.acked {
            self.acked_rate.on_packet(packet);
            if let Some(rate) = self.probe_results.on_packet(packet, &self.history, share) {
                probed = Some(rate);
            }
        }
        self.throughput = self.acked_rate.throughput().before_loss(share);
        if probed.is_some() {
            self.probes_measured += 1;
            self.probes.on_measured();
        }
        let least = self.throughput.steady.map_or(Bitrate(0), |steady| {
            steady.times(PROBE_DROP).min(self.delay_based.rate())
        });
        Some(probed?.max(least))
    }

    fn adapt(&mut self, now: Micros, probed: Option<Bitrate>) {
        let queue = self.round_trip.queue();
        let signals = Signals {
            throughput: self.throughput,
            queue,
            queue_range: self.round_trip.queue_range(),
            probed,
            has_lost: !self.feedback.lost.is_empty(),
        };
        let before = self.delay_based.rate();
        let has_recovered = self.delay_based.on_feedback(now, &self.feedback.acked, &signals);
        self.drain.on_feedback(now, before, self.delay_based.rate(), queue);
        if self.delay_based.usage() != Usage::Over {
            let carried = self.throughput.steady.max(probed);
            if let Some(carried) = carried {
                self.loss_based.inherent().on_carried(now, carried);
            }
        }
        let context = Context {
            now,
            delay_based: self.delay_based.rate(),
            throughput: self.throughput.steady,
            is_application_limited: self.alr.since().is_some(),
            queue,
        };
        if let Some(probed) = probed {
            self.loss_based.on_probed(probed.min(context.delay_based));
        }
        self.loss_based
            .on_feedback(&context, &self.feedback.acked, &self.feedback.lost);
        let resumed = self.before_outage.take();
        self.has_resumed |= resumed.is_some();
        self.update_estimate(now);
        if let Some(before) = resumed {
            self.probes.on_resumed(now, before);
        } else if has_recovered {
            self.probes.on_recovered(now);
        }
    }

    fn update_estimate(&mut self, now: Micros) {
        // Some peers agree to send feedback and do not.
        let (estimate, undrained) = match self.config.has_transport_feedback && self.silence.last_feedback().is_some() {
            true => self.transport_estimate(now),
            false => (self.report_loss.rate(), self.report_loss.rate()),
        };
        let most = self
            .remb
            .rate(now)
            .map_or(self.config.max, |remb| remb.min(self.config.max));
        self.estimate = estimate.min(most).max(self.config.min);
        self.undrained = undrained.min(most).max(self.config.min);
        self.alr.set_estimate(self.estimate);
        self.probes.set_estimate(now, self.estimate, self.limit(now));
    }

    /// What to send while a queue is drained, and what the link carries besides.
    fn transport_estimate(&mut self, now: Micros) -> (Bitrate, Bitrate) {
        let carried = self.carried();
        if self.delay_based.competes() {
            return (carried, carried);
        }
        let silence = if self.is_silent(now) { IN_SILENCE } else { 1.0 };
        let drain = self.drain.factor(now, self.round_trip.queue());
        let undrained = carried.max(self.carried_before_overuse(now).unwrap_or(carried));
        (carried.times(silence * drain), undrained.times(silence))
    }

    /// What was sent when overuse lowered the estimate a moment ago, unless packets wait for long: a burst, as of a key
    /// frame, is soon through, and a link that has become slower soon has a longer queue.
    fn carried_before_overuse(&self, now: Micros) -> Option<Bitrate> {
        let overuse = self.delay_based.overused()?;
        if !overuse.is_recent(now) || self.round_trip.queue() >= SHORT_QUEUE {
            return None;
        }
        let carried = overuse.before.min(overuse.arrived.times(KEPT_OVER_ARRIVED)).times(KEPT);
        Some(self.by_loss().map_or(carried, |by_loss| carried.min(by_loss)))
    }

    /// How fast a pacer sends what waits.
    pub fn pacing_rate(&self) -> Bitrate {
        let factor = if self.estimate < SLOW { 1.0 } else { PACING_FACTOR };
        self.estimate.times(factor).max(self.undrained)
    }

    /// What the link carries as long as it goes on and its queue is empty.
    fn carried(&self) -> Bitrate {
        let by_delay = self.delay_based.rate();
        // Beside a flow that fills the queue losses are taken into account there, unless they are great.
        if self.delay_based.competes() && self.loss_pattern.loss().share < GREAT_LOSS {
            return by_delay;
        }
        self.by_loss().map_or(by_delay, |by_loss| by_delay.min(by_loss))
    }

    /// The estimate by loss, where it is a limit: else it only follows the other with each observation.
    fn by_loss(&self) -> Option<Bitrate> {
        let estimate = self.loss_based.estimate();
        estimate.filter(|_| self.loss_based.state() != LossState::Unlimited)
    }

    /// The packets that wait for feedback, if any do.
    fn unanswered(&self, now: Micros) -> Option<Unanswered> {
        Some(Unanswered {
            first_sent: self.history.sent_at(self.feedback.next_expected(), now)?,
            last_sent: self.history.last_sent(now)?,
            round_trip: self.round_trip.smoothed()?,
        })
    }

    fn is_silent(&self, now: Micros) -> bool {
        self.unanswered(now)
            .is_some_and(|unanswered| self.silence.is_silent(now, unanswered))
    }

    fn limit(&self, now: Micros) -> Limit {
        if self.before_outage.is_some() {
            return Limit::Congestion;
        }
        if self.silence.last_feedback().is_none_or(|last| now - last > STALE) {
            return Limit::None;
        }
        let usage = match self.delay_based.competes() {
            true => Usage::Normal,
            false => self.delay_based.usage(),
        };
        let has_queue = self.round_trip.queue() >= EMPTY_QUEUE;
        // On a slow link a cluster takes a tenth of a second besides.
        if self.estimate < SLOW && !self.delay_based.competes() && self.round_trip.queue() > SHORT_QUEUE {
            return Limit::Congestion;
        }
        match (usage, self.loss_based.state()) {
            // Loss without a queue may have nothing to do with us, which only more can show.
            (Usage::Normal, LossState::Decreasing | LossState::Increasing) if !has_queue => Limit::None,
            (Usage::Over | Usage::Under, _) | (_, LossState::Decreasing) => Limit::Congestion,
            (_, LossState::Increasing) => Limit::LossIncreasing,
            (_, LossState::Unlimited) => Limit::None,
        }
    }

    pub fn on_remb(&mut self, now: Instant, remb: Bitrate) {
        let now = self.now(now);
        self.remb.on_remb(now, remb);
        if let Some(remb) = self.remb.rate(now) {
            self.report_loss.on_remb(remb);
        }
        self.update_estimate(now);
    }

    pub fn on_report_loss(&mut self, now: Instant, packets: u32, lost: u32) {
        let now = self.now(now);
        let round_trip = self.report_round_trip.unwrap_or_default().as_micros() as i64;
        let cap = self.remb.rate(now).unwrap_or(self.config.max);
        self.report_loss.on_report(now, packets, lost, Micros(round_trip), cap);
        self.update_estimate(now);
    }

    pub fn on_report_round_trip(&mut self, round_trip: Duration) {
        self.report_round_trip = Some(round_trip);
    }

    pub fn set_desired(&mut self, now: Instant, desired: Bitrate) {
        let now = self.now(now);
        if self.config.has_transport_feedback {
            self.probes.set_estimate(now, self.estimate, self.limit(now));
            self.probes.set_desired(now, desired);
        } else {
            self.remb.set_desired(desired);
        }
    }

    pub fn estimate(&self) -> Bitrate {
        self.estimate
    }

    pub fn take_resumed(&mut self) -> bool {
        std::mem::take(&mut self.has_resumed)
    }

    pub fn undrained(&self) -> Bitrate {
        self.undrained
    }

    pub fn poll_probe(&mut self, now: Instant) -> Option<ProbeCluster> {
        let now = self.now(now);
        if !self.config.has_transport_feedback {
            let cluster = self.remb.poll_padding(now, self.estimate, self.report_loss.share())?;
            self.probes_sent += 1;
            return Some(cluster);
        }
        let cluster = self.probes.poll(now)?;
        self.probe_results.on_cluster(&cluster, self.loss_pattern.loss().share);
        self.probes_sent += 1;
        Some(cluster)
    }

    pub fn next_timeout(&self) -> Instant {
        self.epoch + self.next_tick.duration()
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let now = self.now(now);
        if now < self.next_tick {
            return;
        }
        self.next_tick = now + TICK;
        self.alr.update(now, self.history.bytes_sent());
        self.back_off_without_feedback(now);
        if self.config.has_transport_feedback {
            self.probes.set_estimate(now, self.estimate, self.limit(now));
            self.probes.handle_timeout(now);
        } else {
            // A REMB that was not renewed holds no longer.
            self.update_estimate(now);
        }
    }

    /// Packets go out and nothing comes back.
    fn back_off_without_feedback(&mut self, now: Micros) {
        let Some(unanswered) = self.unanswered(now).filter(|_| self.is_silent(now)) else {
            return;
        };
        let sent_into = self.silence.sent_into(unanswered);
        if sent_into > OUTAGE && self.before_outage.is_none() {
            self.before_outage = Some(self.carried());
        }
        if sent_into > BACK_OFF_AFTER && now - self.last_back_off >= BACK_OFF_INTERVAL {
            self.last_back_off = now;
            self.delay_based.set_rate(self.delay_based.rate().times(BACK_OFF), now);
        }
        self.update_estimate(now);
    }

    pub fn loss(&self) -> Loss {
        match self.config.has_transport_feedback {
            true => self.loss_pattern.loss(),
            false => Loss {
                share: self.report_loss.share(),
                ..Loss::default()
            },
        }
    }

    pub fn round_trip(&self) -> Option<Duration> {
        let measured = self.round_trip.smoothed().map(Micros::duration);
        measured.or(self.report_round_trip)
    }

    pub fn queue(&self) -> Duration {
        self.round_trip.queue().duration()
    }

    pub fn stats(&self) -> BweStats {
        BweStats {
            estimate: self.estimate,
            delay_based: self.delay_based.rate(),
            loss_based: self.loss_based.estimate(),
            acknowledged: self.throughput.steady,
            inherent_loss: self.loss_based.inherent_share(),
            queue: self.round_trip.queue().duration(),
            is_overused: self.delay_based.usage() == Usage::Over,
            is_application_limited: self.alr.since().is_some(),
            competes: self.delay_based.competes(),
            probes_sent: self.probes_sent,
            probes_measured: self.probes_measured,
            feedback: self.feedback.stats,
        }
    }
}
