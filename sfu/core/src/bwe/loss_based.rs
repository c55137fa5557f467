//! The estimate by loss: the rate above which a link loses, besides what it loses anyhow, that explains the
//! last observations best (libwebrtc: `goog_cc/loss_based_bwe_v2.cc`; constants are its defaults).

use arrayvec::ArrayVec;

use super::feedback::{Acked, LostPacket};
use super::inherent_loss::InherentLoss;
use super::loss_model::{Channel, Observation, Observations};
use super::loss_pattern::{is_outage, runs};
use super::time::Micros;
use crate::units::Bitrate;

/// An observation is this long at least.
const OBSERVATION: Micros = Micros::millis(250);
/// So many observations before it says anything.
const MIN_OBSERVATIONS: u64 = 3;
/// Rates to try, of the best so far.
const CANDIDATES: [f64; 3] = [1.02, 1.0, 0.95];
/// Those, what arrives and the estimate by delay.
const MAX_CANDIDATES: usize = CANDIDATES.len() + 2;
const INITIAL_INHERENT_LOSS: f64 = 0.01;
const MIN_INHERENT_LOSS: f64 = 1e-3;
/// Inherent loss that is believed without proof: this, and what 100 kbit/s are of the rate …
const INHERENT_LOSS_OFFSET: f64 = 0.05;
const LOSS_BALANCE: Bitrate = Bitrate::kbps(100);
/// … and this on top of what is proven (see [`InherentLoss`]).
const PROVEN_MARGIN: f64 = 0.03;
/// Of candidates that explain as much the higher is preferred, up to this loss.
const PREFER_HIGH_BELOW: f64 = 0.2;
const PREFERENCE_SMOOTHING: f64 = 0.002;
const PREFERENCE: f64 = 0.0002;
const LOG_PREFERENCE: f64 = 0.02;
/// While limited by loss the estimate rises to this times what arrives, less where that is far below the rate
/// that was held after the last loss.
const RAMP_UP: f64 = 1.5;
const RAMP_UP_IN_HOLD: f64 = 1.2;
const HOLD_THRESHOLD: f64 = 1.3;
/// A probe may take it to this: a policer lets a short burst through that it would not bear for long.
const MOST_BY_PROBE: f64 = 2.0;
/// A short cluster of which some is lost measures no better than this.
const PROBE_TRUST: f64 = 0.9;
const MIN_LOSS: f64 = 0.01;
/// And by this in a window of 300 ms.
const MAX_INCREASE: f64 = 1.3;
const INCREASE_WINDOW: Micros = Micros::millis(300);
/// After a decrease the rate is held, twice as long each time.
const FIRST_HOLD: Micros = Micros::millis(300);
const MAX_HOLD: Micros = Micros::secs(60);
const MIN_RATE: Bitrate = Bitrate::kbps(5);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LossState {
    /// Loss does not limit.
    #[default]
    Unlimited,
    Increasing,
    Decreasing,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Micros,
    next_duration: Micros,
    rate: f64,
}

const NO_HOLD: Hold = Hold {
    until: Micros(i64::MIN),
    next_duration: FIRST_HOLD,
    rate: f64::INFINITY,
};

#[derive(Clone, Debug)]
pub struct LossBased {
    observations: Observations,
    partial: Observation,
    /// Sent besides, with its feedback lost.
    unreported: u64,
    last_sent: Option<Micros>,
    best: Option<Channel>,
    state: LossState,
    result: f64,
    hold: Hold,
    window_since: Option<Micros>,
    window_limit: f64,
    average_loss: f64,
    inherent: InherentLoss,
    min: f64,
    max: f64,
}

/// What else is known when feedback comes.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    pub now: Micros,
    pub delay_based: Bitrate,
    /// What arrives, as [`super::acked_rate::Throughput::before_loss`] puts it.
    pub throughput: Option<Bitrate>,
    pub is_application_limited: bool,
    /// How long packets wait in queues.
    pub queue: Micros,
}

impl LossBased {
    pub fn new(min: Bitrate, max: Bitrate) -> Self {
        Self {
            observations: Observations::default(),
            partial: Observation::default(),
            unreported: 0,
            last_sent: None,
            best: None,
            state: LossState::Unlimited,
            result: 0.0,
            hold: NO_HOLD,
            window_since: None,
            window_limit: f64::INFINITY,
            average_loss: 0.0,
            inherent: InherentLoss::default(),
            min: min.0 as f64,
            max: max.0 as f64,
        }
    }

    /// The estimate; `None` until there are observations enough.
    pub fn estimate(&self) -> Option<Bitrate> {
        (self.best.is_some() && self.observations.count() >= MIN_OBSERVATIONS).then_some(Bitrate(self.result as u64))
    }

    pub fn state(&self) -> LossState {
        self.state
    }

    /// Loss that is the link's own.
    pub fn inherent(&mut self) -> &mut InherentLoss {
        &mut self.inherent
    }

    pub fn inherent_share(&self) -> f64 {
        self.inherent.share()
    }

    pub fn on_feedback(&mut self, context: &Context, acked: &[Acked], lost: &[LostPacket]) {
        if !self.observe(context, acked, lost) {
            return;
        }
        let delay_based = context.delay_based.0 as f64;
        let throughput = context.throughput.map(|rate| rate.0 as f64);
        let current = *self.best.get_or_insert(Channel {
            bandwidth: delay_based,
            inherent: INITIAL_INHERENT_LOSS,
        });
        if self.result == 0.0 {
            self.result = delay_based;
        }
        let mut candidate = self.best_candidate(context, current);
        let share = self.inherent.share();
        let allowed = if share > INHERENT_LOSS_OFFSET {
            PROVEN_MARGIN
        } else {
            0.0
        };
        if self.average_loss > candidate.inherent.max(share) + allowed {
            candidate.bandwidth = candidate.bandwidth.min(current.bandwidth);
        }
        if self.state != LossState::Unlimited {
            self.bound_increase(&mut candidate, current, throughput);
        }
        let least = throughput.unwrap_or(0.0).max(self.min);
        let most = candidate.bandwidth.min(self.instant_limit()).min(delay_based);
        let bounded = most.max(least);
        self.best = Some(if bounded < candidate.bandwidth {
            Channel {
                bandwidth: bounded,
                inherent: 0.0,
            }
        } else {
            Channel {
                bandwidth: candidate.bandwidth.max(least),
                ..candidate
            }
        });
        self.conclude(bounded, delay_based, least);
    }

    /// A probe measured that the link carries `rate`. While loss limits, the estimate rises no further than a step above
    /// what arrives; where the next layer takes more than that step, only a probe can show that there is room for it.
    pub fn on_probed(&mut self, rate: Bitrate) {
        let trust = if self.average_loss > MIN_LOSS { PROBE_TRUST } else { 1.0 };
        let rate = rate.0 as f64 * trust;
        let rate = rate.min(self.max).min(self.result * MOST_BY_PROBE);
        if self.state == LossState::Unlimited || rate <= self.result {
            return;
        }
        if let Some(best) = &mut self.best {
            best.bandwidth = best.bandwidth.max(rate);
        }
        self.result = rate;
        self.state = LossState::Increasing;
        self.hold = NO_HOLD;
        self.window_limit = self.window_limit.max(rate);
    }

    /// Takes packets into observations; whether one became complete.
    fn observe(&mut self, context: &Context, acked: &[Acked], lost: &[LostPacket]) -> bool {
        let (mut first, mut last) = (Micros::NEVER, Micros(i64::MIN));
        for packet in acked {
            let bytes = u64::from(packet.bytes);
            self.unreported += u64::from(packet.unreported);
            if packet.was_lost {
                self.partial.lost_bytes = self.partial.lost_bytes.saturating_sub(bytes);
                self.partial.lost_packets = self.partial.lost_packets.saturating_sub(1);
            } else {
                self.partial.packets += 1;
                self.partial.bytes += bytes;
            }
            (first, last) = (first.min(packet.sent), last.max(packet.sent));
        }
        for run in runs(lost) {
            let is_outage = is_outage(run);
            for packet in run.iter().filter(|_| !is_outage) {
                let bytes = u64::from(packet.bytes);
                self.partial.packets += 1;
                self.partial.lost_packets += 1;
                self.partial.bytes += bytes;
                self.partial.lost_bytes += bytes;
                (first, last) = (first.min(packet.sent), last.max(packet.sent));
            }
        }
        if first == Micros::NEVER {
            return false;
        }
        let since = *self.last_sent.get_or_insert(first);
        if last - since < OBSERVATION {
            return false;
        }
        self.last_sent = Some(last);
        let mut observation = std::mem::take(&mut self.partial);
        let unreported = std::mem::take(&mut self.unreported);
        observation.rate = (last - since).rate_of(observation.bytes + unreported);
        self.observations.push(observation);
        self.inherent.on_observation(context.now, &observation, context.queue);
        self.average_loss = self.observations.average_loss();
        true
    }

    fn best_candidate(&self, context: &Context, current: Channel) -> Channel {
        let delay_based = context.delay_based.0 as f64;
        let mut rates: ArrayVec<f64, MAX_CANDIDATES> =
            CANDIDATES.iter().map(|factor| factor * current.bandwidth).collect();
        if let Some(throughput) = context.throughput.filter(|_| !context.is_application_limited) {
            rates.push(throughput.0 as f64);
        }
        if delay_based > current.bandwidth {
            rates.push(delay_based);
        }
        let most = match self.state {
            LossState::Unlimited => self.max,
            _ => self.window_limit.min(self.max),
        };
        let (mut best, mut best_objective) = (current, f64::MIN);
        for rate in rates {
            let mut candidate = Channel {
                bandwidth: rate.min(current.bandwidth.max(most)),
                ..current
            };
            candidate.inherent = self.feasible_loss(&candidate);
            candidate.inherent -= candidate.newton_step(&self.observations);
            candidate.inherent = self.feasible_loss(&candidate);
            let preference = self.preference(candidate.bandwidth / 1e3);
            let objective = candidate.likelihood(&self.observations) + preference * self.observations.kilobytes();
            let is_higher = objective == best_objective && candidate.bandwidth > best.bandwidth;
            if objective > best_objective || is_higher {
                (best, best_objective) = (candidate, objective);
            }
        }
        best
    }

    fn feasible_loss(&self, channel: &Channel) -> f64 {
        let unproven = INHERENT_LOSS_OFFSET + LOSS_BALANCE.0 as f64 / channel.bandwidth.max(1.0);
        let most = unproven.max(self.inherent.share() + PROVEN_MARGIN).min(1.0);
        channel.inherent.max(MIN_INHERENT_LOSS).min(most)
    }

    fn preference(&self, kbps: f64) -> f64 {
        let below = PREFER_HIGH_BELOW - (self.average_loss - self.inherent.share()).max(0.0);
        let factor = below / (PREFERENCE_SMOOTHING + below.abs());
        factor * (PREFERENCE * kbps + LOG_PREFERENCE * kbps.ln_1p())
    }

    fn bound_increase(&self, candidate: &mut Channel, current: Channel, throughput: Option<f64>) {
        let now = self.last_sent.unwrap_or_default();
        if self.window_since.is_some_and(|since| since + INCREASE_WINDOW > now) {
            candidate.bandwidth = candidate.bandwidth.min(self.window_limit);
        }
        let (Some(throughput), true) = (throughput, self.is_increase(current.bandwidth, candidate.bandwidth)) else {
            return;
        };
        let is_low = throughput < HOLD_THRESHOLD * self.hold.rate && self.hold.rate.is_finite();
        let ramp_up = if is_low { RAMP_UP_IN_HOLD } else { RAMP_UP };
        candidate.bandwidth = candidate.bandwidth.min(ramp_up * throughput).max(current.bandwidth);
        // Counts as an increase, so that probes may follow.
        if self.state == LossState::Decreasing && candidate.bandwidth == current.bandwidth {
            candidate.bandwidth += 1.0;
        }
    }

    fn is_increase(&self, before: f64, after: f64) -> bool {
        before < after || (before == after && self.state == LossState::Increasing)
    }

    /// What is to be had at such a loss at most, whatever explains it.
    fn instant_limit(&self) -> f64 {
        let offset = INHERENT_LOSS_OFFSET.max(self.inherent.share() + PROVEN_MARGIN);
        if self.average_loss <= offset {
            return self.max;
        }
        LOSS_BALANCE.0 as f64 / (self.average_loss - offset)
    }

    /// Takes the new estimate and says what limits it.
    fn conclude(&mut self, bounded: f64, delay_based: f64, least: f64) {
        let now = self.last_sent.unwrap_or_default();
        let is_limited = bounded < delay_based && bounded < self.max;
        if self.state == LossState::Decreasing && self.hold.until > now && bounded < delay_based {
            self.hold.rate = self.hold.rate.max(least);
            self.result = self.hold.rate.min(bounded);
            return;
        }
        let was_limited = self.state != LossState::Unlimited;
        if !is_limited {
            self.hold = NO_HOLD;
            self.state = LossState::Unlimited;
        } else if was_limited && self.is_increase(self.result, bounded) {
            self.state = LossState::Increasing;
        } else {
            if self.state != LossState::Decreasing {
                self.hold = Hold {
                    until: now + self.hold.next_duration,
                    next_duration: Micros(self.hold.next_duration.0 * 2).min(MAX_HOLD),
                    rate: bounded,
                };
            }
            self.state = LossState::Decreasing;
        }
        self.result = bounded;
        let is_window_over = self.window_since.is_none_or(|since| since + INCREASE_WINDOW < now);
        if self.state != LossState::Unlimited && is_window_over {
            let bandwidth = self.best.map_or(0.0, |best| best.bandwidth);
            self.window_limit = (bandwidth * MAX_INCREASE).max(MIN_RATE.0 as f64);
            self.window_since = Some(now);
        }
    }
}

#[cfg(test)]
mod tests;
