//! Raises the rate while queues stay, lowers it to below what arrives when they grow
//! (libwebrtc: `remote_bitrate_estimator/aimd_rate_control.cc`).

use super::link_capacity::LinkCapacity;
use super::time::Micros;
use super::trendline::Usage;
use crate::units::Bitrate;

/// What is left of the throughput after overuse: the rest drains the queue.
const BACKOFF: f64 = 0.85;
/// Taken off besides, so that tiny rates get anywhere.
const BACKOFF_STEP: Bitrate = Bitrate(5_000);
/// Far from the link's capacity the rate grows by this in a second.
const INCREASE_PER_SECOND: f64 = 1.08;
const MIN_INCREASE: Bitrate = Bitrate(1_000);
/// Near it, by half a packet a round trip, but so much in a second at least.
const MIN_INCREASE_PER_SECOND: f64 = 4_000.0;
const PACKET_BITS: f64 = 1_200.0 * 8.0;
const FRAMES_PER_SECOND: f64 = 30.0;
/// What the detector takes to see overuse.
const DETECTOR_DELAY: Micros = Micros::millis(100);
/// Round trip before one is known.
const DEFAULT_ROUND_TRIP: Micros = Micros::millis(200);
/// What arrives bounds what the rate may rise to: as nothing is known of more than half above.
const MAX_OVER_THROUGHPUT: f64 = 1.5;
const THROUGHPUT_SLACK: Bitrate = Bitrate(10_000);
/// After a decrease the next waits for a round trip within these.
const DECREASE_INTERVAL: (Micros, Micros) = (Micros::millis(10), Micros::millis(200));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Hold,
    Increase,
}

#[derive(Clone, Debug)]
pub struct Aimd {
    rate: Bitrate,
    min: Bitrate,
    state: State,
    capacity: LinkCapacity,
    throughput: Bitrate,
    last_change: Option<Micros>,
    round_trip: Micros,
}

impl Aimd {
    pub fn new(start: Bitrate, min: Bitrate) -> Self {
        Self {
            rate: start,
            min,
            state: State::Hold,
            capacity: LinkCapacity::default(),
            throughput: start,
            last_change: None,
            round_trip: DEFAULT_ROUND_TRIP,
        }
    }

    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    pub fn set_round_trip(&mut self, round_trip: Micros) {
        self.round_trip = round_trip;
    }

    /// A rate that was measured.
    pub fn set_rate(&mut self, rate: Bitrate, now: Micros) {
        self.rate = rate.max(self.min);
        self.last_change = Some(now);
    }

    /// Whether overuse may lower the rate again: the last decrease has had its effect, or is far from enough.
    pub fn may_decrease(&self, now: Micros, throughput: Bitrate) -> bool {
        let (least, most) = DECREASE_INTERVAL;
        let interval = self.round_trip.clamp(least, most);
        self.last_change.is_none_or(|last| now - last >= interval) || throughput.0 < self.rate.0 / 2
    }

    /// Follows the detector. `throughput` is what arrives, where known.
    pub fn update(&mut self, usage: Usage, throughput: Option<Bitrate>, now: Micros) {
        if let Some(throughput) = throughput {
            self.throughput = throughput;
        }
        match usage {
            Usage::Over => self.decrease(now),
            Usage::Under => self.state = State::Hold,
            Usage::Normal if self.state == State::Hold => {
                self.state = State::Increase;
                self.last_change = Some(now);
            }
            Usage::Normal => self.increase(now),
        }
    }

    fn increase(&mut self, now: Micros) {
        if self.capacity.is_below(self.throughput) {
            self.capacity.reset();
        }
        let limit = Bitrate(self.throughput.times(MAX_OVER_THROUGHPUT).0 + THROUGHPUT_SLACK.0);
        let elapsed = self.last_change.map_or(1.0, |last| (now - last).as_secs());
        if self.rate < limit {
            let increase = match self.capacity.estimate() {
                Some(_) => Bitrate((self.near_capacity_increase() * elapsed) as u64),
                None => self
                    .rate
                    .times(INCREASE_PER_SECOND.powf(elapsed.min(1.0)) - 1.0)
                    .max(MIN_INCREASE),
            };
            self.rate = Bitrate(self.rate.0 + increase.0).min(limit).max(self.min);
        }
        self.last_change = Some(now);
    }

    /// Bits per second, per second.
    fn near_capacity_increase(&self) -> f64 {
        let frame_bits = self.rate.0 as f64 / FRAMES_PER_SECOND;
        let packets = (frame_bits / PACKET_BITS).ceil();
        let response = (self.round_trip + DETECTOR_DELAY).as_secs() * 2.0;
        (frame_bits / packets / response).max(MIN_INCREASE_PER_SECOND)
    }

    fn decrease(&mut self, now: Micros) {
        let mut lower = self.throughput.times(BACKOFF);
        if lower > BACKOFF_STEP {
            lower.0 -= BACKOFF_STEP.0;
        }
        if lower > self.rate
            && let Some(capacity) = self.capacity.estimate()
        {
            lower = capacity.times(BACKOFF);
        }
        if self.capacity.is_above(self.throughput) {
            self.capacity.reset();
        }
        self.capacity.on_overuse(self.throughput);
        self.rate = self.rate.min(lower).max(self.min);
        self.state = State::Hold;
        self.last_change = Some(now);
    }
}
