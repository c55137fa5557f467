//! When to probe, and how fast (after libwebrtc: `goog_cc/probe_controller.cc`).
//!
//! What differs there and here. Clusters of the start follow each other as results come in, since two at once
//! would fill a 2G link's queue for half a second. A subscriber who wants more than the estimate is probed for
//! at regular times whether he is sent little, nothing (mediasoup's issue 316) or all that the estimate allows:
//! layers are steps, and an estimate between two of them would never rise to the next by itself.

use std::num::NonZeroU8;
use std::time::Duration;

use super::history::ProbeId;
use super::time::Micros;
use crate::units::Bitrate;

/// The first cluster: three times a start of 300 kbit/s.
const FIRST_PROBE: Bitrate = Bitrate::kbps(900);
/// A first cluster that comes to nothing, as where its packets are lost, is sent again so often.
const FIRST_PROBE_TRIES: u8 = 4;
/// A result above this share of its cluster's rate is probed further …
const FURTHER_THRESHOLD: f64 = 0.7;
/// … at this times the result.
const FURTHER_SCALE: f64 = 2.0;
/// For so long, and a round trip, a result is waited for.
const RESULT_WITHIN: Micros = Micros::secs(1);
/// The same of a first cluster: receivers' feedback comes every 50 to 250 ms.
const FIRST_RESULT_WITHIN: Micros = Micros::millis(200);
/// A cluster that is not sent within this is of an estimate that has passed.
const SEND_WITHIN: Micros = Micros::millis(500);
/// Regular probes: so often …
const INTERVAL: Micros = Micros::secs(5);
/// … or sooner, a few times in a row, where losses left too little of the last one to measure …
const AGAIN_AFTER: Micros = Micros::millis(1_500);
const REGULAR_TRIES: u8 = 3;
/// … and at this times the estimate.
const SCALE: f64 = 2.0;
/// With losses the estimate is felt out in smaller steps.
const LOSS_LIMITED_SCALE: f64 = 1.5;
/// More than what is desired is of use for key frames and where a rate varies, but not more than this times it.
const MAX_OVER_DESIRED: f64 = 2.0;
/// An estimate of this times what is desired needs no probe.
const ENOUGH_OVER_DESIRED: f64 = 1.2;
/// What is desired changes with every layer; a probe follows where it has grown by this at least.
const DESIRED_GROWTH: f64 = 1.1;
const DESIRED_INTERVAL: Micros = Micros::secs(1);
/// A drop of the estimate to this share or less is probed against once queues are empty …
const LARGE_DROP: f64 = 0.66;
/// … within so long after it …
const DROP_MEMORY: Micros = Micros::secs(5);
/// … at this share of what the estimate was.
const AFTER_DROP_SCALE: f64 = 0.85;
/// Not worth a probe, if the expected result is not above the estimate.
const UNCERTAINTY: f64 = 0.05;
/// Long enough to average over a millisecond's jitter; longer would add to the queue.
const DURATION: Duration = Duration::from_millis(15);
const MIN_PACKETS: u32 = 5;
/// At slow rates a cluster is made longer than [`DURATION`], for a packet's worth of bytes to be measured.
const MIN_BYTES: u64 = 1_200;

/// Padding or packets sent again, to be sent as one train at a rate above the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeCluster {
    /// Goes with every packet of the cluster into `on_sent`.
    pub id: ProbeId,
    /// How fast to send them.
    pub rate: Bitrate,
    /// At least so many bytes on the wire in at least so many packets. Packets of `min_bytes / min_packets` do;
    /// larger ones only queue for longer.
    pub min_bytes: u64,
    pub min_packets: u32,
    /// What this takes at `rate`.
    pub duration: Duration,
}

/// What keeps the estimate from rising.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Limit {
    /// Nothing but what is known.
    #[default]
    None,
    /// Loss, from which it recovers.
    LossIncreasing,
    /// Loss, or queues, or no feedback: this is no time to send more.
    Congestion,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Waiting { further_above: Bitrate, is_first: bool },
    Done,
}

#[derive(Clone, Debug)]
pub struct ProbeController {
    state: State,
    /// First clusters sent.
    tries: u8,
    last_probe: Option<Micros>,
    /// Clusters in a row that came to nothing.
    unmeasured: u8,
    round_trip: Micros,
    estimate: Bitrate,
    desired: Bitrate,
    /// What was desired at the last probe for it.
    desired_probed: Bitrate,
    max: Bitrate,
    limit: Limit,
    drop: Option<Drop>,
    pending: Option<ProbeCluster>,
    last_id: u8,
}

#[derive(Clone, Copy, Debug)]
struct Drop {
    at: Micros,
    before: Bitrate,
}

impl ProbeController {
    pub fn new(start: Bitrate, max: Bitrate) -> Self {
        Self {
            state: State::Start,
            tries: 0,
            last_probe: None,
            unmeasured: 0,
            round_trip: Micros::ZERO,
            estimate: start,
            desired: Bitrate(0),
            desired_probed: Bitrate(0),
            max,
            limit: Limit::None,
            drop: None,
            pending: None,
            last_id: 0,
        }
    }

    pub fn set_round_trip(&mut self, round_trip: Micros) {
        self.round_trip = round_trip;
    }

    /// What would be sent if the link carried it.
    pub fn set_desired(&mut self, now: Micros, desired: Bitrate) {
        self.desired = desired;
        if self.state == State::Start {
            self.start(now);
            return;
        }
        let is_recent = self.last_probe.is_some_and(|last| now - last < DESIRED_INTERVAL);
        let has_grown = desired > self.desired_probed.times(DESIRED_GROWTH);
        if self.state == State::Done && has_grown && !is_recent && self.estimate < desired {
            self.probe(now, desired.min(self.estimate.times(SCALE)), true);
        }
    }

    /// The estimate changed, and what holds it.
    pub fn set_estimate(&mut self, now: Micros, estimate: Bitrate, limit: Limit) {
        self.limit = limit;
        if estimate < self.estimate.times(LARGE_DROP) {
            self.drop = Some(Drop {
                at: now,
                before: self.estimate,
            });
        }
        self.estimate = estimate;
        if let State::Waiting { further_above, .. } = self.state
            && estimate > further_above
        {
            self.probe(now, estimate.times(FURTHER_SCALE), true);
        }
    }

    /// The rate of a cluster could be told.
    pub fn on_measured(&mut self) {
        self.unmeasured = 0;
    }

    /// Queues are empty after overuse: was the drop a passing one?
    pub fn on_recovered(&mut self, now: Micros) {
        let Some(drop) = self.drop.filter(|drop| now - drop.at < DROP_MEMORY) else {
            return;
        };
        let rate = drop.before.times(AFTER_DROP_SCALE);
        if self.state == State::Done && rate.times(1.0 - UNCERTAINTY) > self.estimate {
            self.drop = None;
            self.probe(now, rate, false);
        }
    }

    /// Feedback is back after an outage, before which the estimate was `before`.
    pub fn on_resumed(&mut self, now: Micros, before: Bitrate) {
        self.limit = Limit::None;
        self.state = State::Done;
        self.probe(now, before.times(AFTER_DROP_SCALE), true);
    }

    pub fn handle_timeout(&mut self, now: Micros) {
        let within = match self.state {
            // Feedback comes, so the cluster was too ragged to measure; whoever joins waits for its result.
            State::Waiting { is_first: true, .. } if self.round_trip > Micros::ZERO => {
                FIRST_RESULT_WITHIN + self.round_trip
            }
            _ => RESULT_WITHIN + self.round_trip,
        };
        let is_late = self.last_probe.is_some_and(|last| now - last > within);
        match self.state {
            State::Start => self.start(now),
            State::Waiting { is_first, .. } if is_late => {
                self.state = match is_first && self.tries < FIRST_PROBE_TRIES {
                    true => State::Start,
                    false => State::Done,
                };
            }
            State::Waiting { .. } => {}
            State::Done => self.probe_regularly(now),
        }
    }

    /// The next cluster to send.
    pub fn poll(&mut self, now: Micros) -> Option<ProbeCluster> {
        let cluster = self.pending.take()?;
        if self.last_probe.is_some_and(|made| now - made > SEND_WITHIN) {
            return None;
        }
        if let State::Waiting { is_first: true, .. } = self.state {
            self.tries += 1;
        }
        // Until its result comes.
        self.unmeasured = self.unmeasured.saturating_add(1);
        Some(cluster)
    }

    fn start(&mut self, now: Micros) {
        if self.desired.0 == 0 {
            return;
        }
        if self.estimate.times(FURTHER_SCALE) >= FIRST_PROBE {
            self.state = State::Done;
            return self.probe(now, self.estimate.times(FURTHER_SCALE), true);
        }
        self.probe(now, FIRST_PROBE, true);
        if let State::Waiting { is_first, .. } = &mut self.state {
            *is_first = true;
        }
    }

    fn probe_regularly(&mut self, now: Micros) {
        let interval = match self.unmeasured {
            1..=REGULAR_TRIES => AGAIN_AFTER + self.round_trip,
            _ => INTERVAL,
        };
        let is_due = self.last_probe.is_none_or(|last| now - last >= interval);
        if is_due && self.estimate < self.desired.times(ENOUGH_OVER_DESIRED) {
            self.probe(now, self.estimate.times(SCALE), true);
        }
    }

    fn probe(&mut self, now: Micros, rate: Bitrate, mut further: bool) {
        let mut most = self.max.min(self.desired.times(MAX_OVER_DESIRED));
        match self.limit {
            Limit::None => {}
            Limit::LossIncreasing => most = most.min(self.estimate.times(LOSS_LIMITED_SCALE)),
            Limit::Congestion => return,
        }
        if most.0 == 0 {
            return;
        }
        if rate >= most {
            further = false;
        }
        let rate = rate.min(most);
        self.last_probe = Some(now);
        self.desired_probed = self.desired;
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let min_bytes = rate.bytes_in(DURATION).max(MIN_BYTES);
        self.pending = Some(ProbeCluster {
            id: ProbeId(NonZeroU8::new(self.last_id).expect("counted from 1")),
            rate,
            min_bytes,
            min_packets: MIN_PACKETS,
            duration: Duration::from_micros(min_bytes * 8_000_000 / rate.0.max(1)),
        });
        self.state = State::Done;
        if further {
            self.state = State::Waiting {
                further_above: rate.times(FURTHER_THRESHOLD),
                is_first: false,
            };
        }
    }
}

#[cfg(test)]
mod tests;
