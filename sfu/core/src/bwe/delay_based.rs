//! The estimate by delay: bursts → trend → overuse → rate (libwebrtc: `goog_cc/delay_based_bwe.cc`).

use super::acked_rate::Throughput;
use super::aimd::{Aimd, Overuse};
use super::competition::Competition;
use super::feedback::Acked;
use super::inter_arrival::InterArrival;
use super::time::Micros;
use super::trendline::{Trendline, Usage};
use crate::units::Bitrate;

/// Without feedback for so long the link may be another one: the detector begins anew.
const TIMEOUT: Micros = Micros::secs(2);
/// A probe above the link's capacity makes a queue of its own for as long as this, which is what it was sent for and
/// no reason to send less than it measured.
const PROBE_QUEUE: Micros = Micros::millis(300);
/// Beside a flow that fills the queue we give way to our own losses, and so often at most.
const YIELD_INTERVAL: Micros = Micros::millis(500);
/// Who sends less than this share of his rate does not fill the link for long.
const SENDS_LITTLE: f64 = 0.8;
/// Where packets wait no longer than this the queue that grew is gone.
const NO_QUEUE: Micros = Micros::millis(10);
/// Half of the window of [`Throughput::recent`].
const BUSY_QUEUE: Micros = Micros::millis(125);

#[derive(Clone, Debug)]
pub struct DelayBased {
    inter_arrival: InterArrival,
    trendline: Trendline,
    aimd: Aimd,
    last_feedback: Option<Micros>,
    /// Until then a short queue is that of a probe.
    probe_queue_until: Micros,
    competition: Competition,
    last_yield: Micros,
}

/// What else feedback shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Signals {
    pub throughput: Throughput,
    /// How long the last packet waited in queues.
    pub queue: Micros,
    /// The least and the most that one waited.
    pub queue_range: (Micros, Micros),
    /// What a probe measured.
    pub probed: Option<Bitrate>,
    pub has_lost: bool,
}

impl DelayBased {
    pub fn new(start: Bitrate, min: Bitrate) -> Self {
        Self {
            inter_arrival: InterArrival::default(),
            trendline: Trendline::default(),
            aimd: Aimd::new(start, min),
            last_feedback: None,
            probe_queue_until: Micros::ZERO,
            competition: Competition::default(),
            last_yield: Micros::ZERO,
        }
    }

    pub fn rate(&self) -> Bitrate {
        self.aimd.rate()
    }

    /// See [`Aimd::overused`].
    pub fn overused(&self) -> Option<Overuse> {
        self.aimd.overused()
    }

    /// Another flow fills the queue.
    pub fn competes(&self) -> bool {
        self.competition.competes()
    }

    pub fn usage(&self) -> Usage {
        self.trendline.usage()
    }

    pub fn set_round_trip(&mut self, round_trip: Micros) {
        self.aimd.set_round_trip(round_trip);
    }

    /// The rate was measured by other means.
    pub fn set_rate(&mut self, rate: Bitrate, now: Micros) {
        self.aimd.set_rate(rate, now);
    }

    /// Takes packets that arrived, in the order in which they did; whether queues that were draining are empty.
    pub fn on_feedback(&mut self, now: Micros, acked: &[Acked], signals: &Signals) -> bool {
        if self.last_feedback.replace(now).is_some_and(|last| now - last > TIMEOUT) {
            self.inter_arrival = InterArrival::default();
            self.trendline = Trendline::default();
        }
        let mut recovered = false;
        for packet in acked {
            let before = self.trendline.usage();
            if packet.probe.is_some() {
                self.probe_queue_until = now + PROBE_QUEUE;
            }
            if let Some(delta) = self.inter_arrival.on_packet(packet.sent, packet.arrived, now) {
                self.trendline.on_group(delta, packet.arrived);
            }
            recovered |= before == Usage::Under && self.trendline.usage() == Usage::Normal;
        }
        let before = self.aimd.rate();
        if let Some(fair) = self.competition.on_feedback(now, signals.queue_range, before) {
            self.aimd.set_rate(fair, now);
        }
        match self.competition.competes() {
            true => self.compete(now, signals),
            false => self.adapt(now, signals),
        }
        recovered && self.usage() != Usage::Over
    }

    fn adapt(&mut self, now: Micros, signals: &Signals) {
        let is_probe_queue = now < self.probe_queue_until && signals.queue < BUSY_QUEUE;
        match (self.usage(), signals.probed) {
            (Usage::Over, None) if is_probe_queue => {}
            (Usage::Over, None) if signals.queue < NO_QUEUE => {
                self.aimd.update(Usage::Under, signals.throughput.steady, now);
            }
            (Usage::Over, _) if !is_probe_queue => self.back_off(now, signals),
            (_, Some(probed)) => self.aimd.set_rate(probed, now),
            (usage, None) => self.aimd.update(usage, signals.throughput.steady, now),
        }
    }

    /// The queue is that of another flow and tells nothing of us: like that flow, rise until there is a loss.
    fn compete(&mut self, now: Micros, signals: &Signals) {
        let is_due = now - self.last_yield > YIELD_INTERVAL;
        if signals.has_lost && is_due {
            self.last_yield = now;
            self.aimd.yield_to_loss(now);
        } else {
            self.aimd.compete(now, signals.throughput.steady);
        }
    }

    fn back_off(&mut self, now: Micros, signals: &Signals) {
        let Throughput { steady, recent, busy } = signals.throughput;
        // Behind a queue that long the link was busy all the time, and carries what arrived last. Else that is only
        // what was sent, and a second of it tells more, except where the rate has just risen.
        let sent = recent.max(steady);
        let carried = match signals.queue > BUSY_QUEUE {
            true => recent.or(steady),
            // A burst of one who sends less than he may, a key frame say: what came through while it waited counts.
            false if steady < Some(self.aimd.rate().times(SENDS_LITTLE)) => {
                sent.max(busy.map(|busy| busy.min(self.aimd.rate())))
            }
            false => sent,
        };
        match carried {
            Some(rate) if self.aimd.may_decrease(now, rate) => self.aimd.update(Usage::Over, carried, now),
            Some(_) => {}
            // Nothing is known of what arrives yet.
            None if self.aimd.may_decrease(now, Bitrate(u64::MAX)) => {
                self.aimd.set_rate(Bitrate(self.aimd.rate().0 / 2), now);
            }
            None => {}
        }
    }
}
