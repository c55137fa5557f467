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
/// A queue that drains slowly is seen again and again, and is to be gone by then.
const ONE_OVERUSE: Micros = Micros::secs(4);
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

/// Decreases of the rate by overuse, one soon after the other.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Overuse {
    /// The first of them.
    pub at: Micros,
    /// The rate before.
    pub before: Bitrate,
    /// What arrived at most, which the link carries.
    pub arrived: Bitrate,
}

impl Overuse {
    /// It may be under way still.
    pub fn is_recent(&self, now: Micros) -> bool {
        now - self.at < ONE_OVERUSE
    }
}

#[derive(Clone, Debug)]
pub struct Aimd {
    rate: Bitrate,
    min: Bitrate,
    state: State,
    capacity: LinkCapacity,
    throughput: Bitrate,
    overused: Option<Overuse>,
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
            overused: None,
            last_change: None,
            round_trip: DEFAULT_ROUND_TRIP,
        }
    }

    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    /// How overuse lowered the rate last.
    pub fn overused(&self) -> Option<Overuse> {
        self.overused
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

    /// Rises beside a flow that fills the link's queue, as fast as TCP does: by a packet a round trip at least.
    pub fn compete(&mut self, now: Micros, throughput: Option<Bitrate>) {
        self.capacity.reset();
        self.throughput = throughput.unwrap_or(self.throughput);
        let elapsed = self.last_change.map_or(0.0, |last| (now - last).as_secs());
        let round_trip = self.round_trip.max(DECREASE_INTERVAL.0).as_secs();
        let by_packets = PACKET_BITS / round_trip / round_trip * elapsed;
        let in_proportion = self.rate.times(INCREASE_PER_SECOND.powf(elapsed.min(1.0)) - 1.0);
        let limit = self.limit().max(self.rate);
        self.rate = Bitrate(self.rate.0 + in_proportion.0.max(by_packets as u64)).min(limit);
        self.last_change = Some(now);
    }

    /// Gives way to a flow that fills the link's queue, and not by more than it would.
    pub fn yield_to_loss(&mut self, now: Micros) {
        self.set_rate(self.rate.times(BACKOFF), now);
    }

    fn limit(&self) -> Bitrate {
        Bitrate(self.throughput.times(MAX_OVER_THROUGHPUT).0 + THROUGHPUT_SLACK.0)
    }

    fn increase(&mut self, now: Micros) {
        if self.capacity.is_below(self.throughput) {
            self.capacity.reset();
        }
        let limit = self.limit();
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
        let mut overuse = self
            .overused
            .filter(|overuse| overuse.is_recent(now))
            .unwrap_or(Overuse {
                at: now,
                before: self.rate,
                arrived: Bitrate(0),
            });
        overuse.arrived = overuse.arrived.max(self.throughput.min(self.rate));
        self.overused = Some(overuse);
        self.rate = self.rate.min(lower).max(self.min);
        self.state = State::Hold;
        self.last_change = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Bitrate = Bitrate::kbps(5);

    fn aimd(rate: u64) -> Aimd {
        let mut aimd = Aimd::new(Bitrate::kbps(300), MIN);
        aimd.set_rate(Bitrate(rate), Micros::ZERO);
        aimd
    }

    fn run(aimd: &mut Aimd, seconds: i64, usage: Usage, throughput: Option<Bitrate>) {
        for tick in 1..=seconds * 10 {
            aimd.update(usage, throughput, Micros::millis(100 * tick));
        }
    }

    /// libwebrtc: `aimd_rate_control_unittest.cc`, the three tests of GetNearMaxIncreaseRateBpsPerSecond.
    #[test]
    fn rises_near_capacity_by_half_a_packet_a_round_trip() {
        for (rate, round_trip_ms, per_second) in [(30_000, 200, 4_000), (90_000, 200, 5_000), (60_000, 100, 5_000)] {
            let mut aimd = aimd(rate);
            aimd.set_round_trip(Micros::millis(round_trip_ms));
            assert_eq!(aimd.near_capacity_increase().round() as u64, per_second, "{rate}");
        }
    }

    /// As there: BweLimitedByAckedBitrate, BweNotLimitedByDecreasingAckedBitrate.
    #[test]
    fn does_not_rise_above_half_again_of_what_arrives_nor_fall_with_it() {
        let mut aimd = aimd(10_000);
        run(&mut aimd, 20, Usage::Normal, Some(Bitrate(10_000)));
        assert_eq!(aimd.rate(), Bitrate(25_000));
        aimd.update(Usage::Normal, Some(Bitrate(5_000)), Micros::secs(21));
        assert_eq!(aimd.rate(), Bitrate(25_000));
    }

    /// As there: ExpectedPeriodAfterTypicalDrop, BandwidthPeriodIsNotBelowMin, …NotAboveMaxNoSmoothingExp.
    #[test]
    fn falls_below_what_arrives() {
        for (rate, arrives, falls_to) in [
            (264_000, 260_000, 216_000),
            (10_000, 9_999, 5_000),
            (10_010_000, 11_765, 5_000),
            // More arrives than is allowed: what the link carried when it last was full is not known.
            (100_000, 200_000, 100_000),
        ] {
            let mut aimd = aimd(rate);
            aimd.update(Usage::Over, Some(Bitrate(arrives)), Micros::millis(100));
            assert_eq!(aimd.rate(), Bitrate(falls_to), "{rate}");
        }
    }

    /// As there: SendingRateBoundedWhenThroughputNotEstimated.
    #[test]
    fn is_bounded_by_what_arrived_last_where_nothing_is_known() {
        let mut aimd = aimd(123_000);
        run(&mut aimd, 1, Usage::Normal, Some(Bitrate(123_000)));
        run(&mut aimd, 20, Usage::Normal, None);
        assert!(aimd.rate() <= Bitrate(123_000 * 3 / 2 + 10_000), "{:?}", aimd.rate());
    }

    #[test]
    fn rises_fast_far_from_capacity_and_slowly_near_it() {
        let mut far = aimd(500_000);
        run(&mut far, 5, Usage::Normal, Some(Bitrate(600_000)));
        assert!((700_000..740_000).contains(&far.rate().0), "{:?}", far.rate());
        let mut near = aimd(500_000);
        near.update(Usage::Over, Some(Bitrate(500_000)), Micros::ZERO);
        let low = near.rate();
        run(&mut near, 5, Usage::Normal, Some(Bitrate(500_000)));
        let risen = near.rate().0 - low.0;
        assert!((50_000..90_000).contains(&risen), "{risen}");
    }

    #[test]
    fn holds_while_queues_drain() {
        let mut aimd = aimd(500_000);
        run(&mut aimd, 5, Usage::Under, Some(Bitrate(600_000)));
        assert_eq!(aimd.rate(), Bitrate(500_000));
    }

    #[test]
    fn a_decrease_waits_for_the_last_ones_effect_unless_it_is_far_from_enough() {
        let mut aimd = aimd(500_000);
        aimd.set_round_trip(Micros::millis(100));
        for (ms, throughput, may) in [(99, 400_000, false), (100, 400_000, true), (99, 240_000, true)] {
            assert_eq!(
                aimd.may_decrease(Micros::millis(ms), Bitrate(throughput)),
                may,
                "{ms} {throughput}"
            );
        }
        aimd.set_round_trip(Micros::secs(2));
        assert!(aimd.may_decrease(Micros::millis(200), Bitrate(400_000)));
    }
}
