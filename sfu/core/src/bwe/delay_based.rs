//! The estimate by delay: bursts → trend → overuse → rate (libwebrtc: `goog_cc/delay_based_bwe.cc`).

use super::acked_rate::Throughput;
use super::aimd::Aimd;
use super::feedback::Acked;
use super::inter_arrival::InterArrival;
use super::time::Micros;
use super::trendline::{Trendline, Usage};
use crate::units::Bitrate;

/// Without feedback for so long the link may be another one: the detector begins anew.
const TIMEOUT: Micros = Micros::secs(2);

#[derive(Clone, Debug)]
pub struct DelayBased {
    inter_arrival: InterArrival,
    trendline: Trendline,
    aimd: Aimd,
    last_feedback: Option<Micros>,
}

/// What feedback changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Queues that were draining are empty.
    pub recovered: bool,
    /// The rate was lowered.
    pub decreased: bool,
}

impl DelayBased {
    pub fn new(start: Bitrate, min: Bitrate) -> Self {
        Self {
            inter_arrival: InterArrival::default(),
            trendline: Trendline::default(),
            aimd: Aimd::new(start, min),
            last_feedback: None,
        }
    }

    pub fn rate(&self) -> Bitrate {
        self.aimd.rate()
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

    /// Takes packets that arrived, in the order in which they did; `probed` is what a probe measured.
    pub fn on_feedback(
        &mut self,
        now: Micros,
        acked: &[Acked],
        throughput: Throughput,
        probed: Option<Bitrate>,
    ) -> Outcome {
        if self.last_feedback.replace(now).is_some_and(|last| now - last > TIMEOUT) {
            self.inter_arrival = InterArrival::default();
            self.trendline = Trendline::default();
        }
        let mut recovered = false;
        for packet in acked {
            let before = self.trendline.usage();
            if let Some(delta) = self.inter_arrival.on_packet(packet.sent, packet.arrived, now) {
                self.trendline.on_group(delta, packet.arrived);
            }
            recovered |= before == Usage::Under && self.trendline.usage() == Usage::Normal;
        }
        let before = self.aimd.rate();
        self.adapt(now, throughput, probed);
        Outcome {
            recovered: recovered && self.usage() != Usage::Over,
            decreased: self.aimd.rate() < before,
        }
    }

    fn adapt(&mut self, now: Micros, throughput: Throughput, probed: Option<Bitrate>) {
        match (self.usage(), probed) {
            (Usage::Over, _) => self.back_off(now, throughput),
            (_, Some(probed)) => self.aimd.set_rate(probed, now),
            (usage, None) => self.aimd.update(usage, throughput.steady, now),
        }
    }

    fn back_off(&mut self, now: Micros, throughput: Throughput) {
        // The link is full, so what arrived last is what it carries now.
        let carried = match (throughput.steady, throughput.recent) {
            (Some(steady), Some(recent)) => Some(steady.min(recent)),
            (steady, recent) => steady.or(recent),
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
