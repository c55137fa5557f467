//! Whether queues grow: the slope of the delay over the last bursts against a threshold that adapts to what
//! the link does by itself (libwebrtc: `goog_cc/trendline_estimator.cc`; the threshold is that of Carlucci et
//! al., "Analysis and Design of the Google Congestion Control for WebRTC", MMSys 2016).

use super::inter_arrival::GroupDelta;
use super::time::Micros;

/// Bursts in the regression.
const WINDOW: usize = 20;
/// Weight of the past in the smoothed delay.
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
/// The slope counts in full from so many bursts on.
const FULL_WEIGHT_AFTER: u32 = 60;
const INITIAL_THRESHOLD: f64 = 12.5;
const THRESHOLD_RANGE: (f64, f64) = (6.0, 600.0);
/// How fast the threshold follows the trend up and down, per millisecond: slowly up, so that a queue of
/// our own making is seen, faster down.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A trend this far above the threshold is a spike and does not move it.
const SPIKE: f64 = 15.0;
/// Gaps longer than this move the threshold no further, in ms.
const MAX_THRESHOLD_STEP_MS: f64 = 100.0;
/// The trend stays above the threshold for this long, in ms of sending, before it is overuse.
const OVERUSE_AFTER_MS: f64 = 10.0;

/// What the delay says of the link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Usage {
    #[default]
    Normal,
    /// Queues grow.
    Over,
    /// Queues drain.
    Under,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    arrived_ms: f64,
    smoothed_ms: f64,
}

#[derive(Clone, Debug)]
pub struct Trendline {
    samples: [Sample; WINDOW],
    /// Samples taken, up to [`FULL_WEIGHT_AFTER`] and for the place in the ring.
    deltas: u32,
    at: usize,
    first_arrived: Option<Micros>,
    accumulated_ms: f64,
    smoothed_ms: f64,
    threshold: f64,
    last_threshold_update: Option<Micros>,
    trend: f64,
    over_ms: Option<f64>,
    over_count: u32,
    usage: Usage,
}

impl Default for Trendline {
    fn default() -> Self {
        Self {
            samples: [Sample::default(); WINDOW],
            deltas: 0,
            at: 0,
            first_arrived: None,
            accumulated_ms: 0.0,
            smoothed_ms: 0.0,
            threshold: INITIAL_THRESHOLD,
            last_threshold_update: None,
            trend: 0.0,
            over_ms: None,
            over_count: 0,
            usage: Usage::Normal,
        }
    }
}

impl Trendline {
    /// A burst arrived, its last packet at `arrived`.
    pub fn on_group(&mut self, delta: GroupDelta, arrived: Micros) {
        let first = *self.first_arrived.get_or_insert(arrived);
        self.accumulated_ms += (delta.arrival - delta.send).as_millis();
        self.smoothed_ms = SMOOTHING * self.smoothed_ms + (1.0 - SMOOTHING) * self.accumulated_ms;
        self.samples[self.at] = Sample {
            arrived_ms: (arrived - first).as_millis(),
            smoothed_ms: self.smoothed_ms,
        };
        self.at = (self.at + 1) % WINDOW;
        self.deltas = (self.deltas + 1).min(FULL_WEIGHT_AFTER);
        let is_full = self.deltas as usize >= WINDOW;
        let trend = is_full.then(|| self.slope()).flatten().unwrap_or(self.trend);
        self.detect(trend, delta.send.as_millis(), arrived);
    }

    pub fn usage(&self) -> Usage {
        self.usage
    }

    /// Least squares.
    fn slope(&self) -> Option<f64> {
        let n = WINDOW as f64;
        let (sum_x, sum_y) = self.samples.iter().fold((0.0, 0.0), |(x, y), sample| {
            (x + sample.arrived_ms, y + sample.smoothed_ms)
        });
        let (mean_x, mean_y) = (sum_x / n, sum_y / n);
        let (mut covariance, mut variance) = (0.0, 0.0);
        for sample in &self.samples {
            let x = sample.arrived_ms - mean_x;
            covariance += x * (sample.smoothed_ms - mean_y);
            variance += x * x;
        }
        (variance > 0.0).then(|| covariance / variance)
    }

    fn detect(&mut self, trend: f64, sent_ms: f64, now: Micros) {
        if self.deltas < 2 {
            return;
        }
        let weighted = f64::from(self.deltas) * trend * GAIN;
        if weighted > self.threshold {
            // At first it is taken to have been above for half of the time since the last burst.
            let over_ms = self.over_ms.map_or(sent_ms / 2.0, |over| over + sent_ms);
            self.over_ms = Some(over_ms);
            self.over_count += 1;
            if over_ms > OVERUSE_AFTER_MS && self.over_count > 1 && trend >= self.trend {
                self.over_ms = Some(0.0);
                self.over_count = 0;
                self.usage = Usage::Over;
            }
        } else {
            self.over_ms = None;
            self.over_count = 0;
            self.usage = if weighted < -self.threshold {
                Usage::Under
            } else {
                Usage::Normal
            };
        }
        self.trend = trend;
        self.adapt_threshold(weighted.abs(), now);
    }

    fn adapt_threshold(&mut self, weighted: f64, now: Micros) {
        let last = self.last_threshold_update.replace(now).unwrap_or(now);
        if weighted > self.threshold + SPIKE {
            return;
        }
        let gain = if weighted < self.threshold {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        let elapsed = (now - last).as_millis().min(MAX_THRESHOLD_STEP_MS);
        let (least, most) = THRESHOLD_RANGE;
        self.threshold = (self.threshold + gain * (weighted - self.threshold) * elapsed).clamp(least, most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bursts sent every 20 ms that arrive this much apart; the usage after each.
    fn usages(arrive_every: Micros, bursts: i64) -> Vec<Usage> {
        let mut trendline = Trendline::default();
        let delta = GroupDelta {
            send: Micros::millis(20),
            arrival: arrive_every,
        };
        let arrived = |burst| Micros::secs(987) + Micros(arrive_every.0 * burst);
        (1..=bursts)
            .map(|burst| {
                trendline.on_group(delta, arrived(burst));
                trendline.usage()
            })
            .collect()
    }

    /// libwebrtc: `goog_cc/trendline_estimator_unittest.cc`, 24 deltas as there.
    #[test]
    fn tells_growing_and_draining_queues() {
        for (arrive_every_us, usage) in [(20_000, Usage::Normal), (22_000, Usage::Over), (17_000, Usage::Under)] {
            let usages = usages(Micros(arrive_every_us), 24);
            assert_eq!(usages[18], Usage::Normal, "{arrive_every_us}: the window is not full");
            assert_eq!(usages.last(), Some(&usage), "{arrive_every_us}");
        }
    }

    #[test]
    fn the_threshold_follows_what_a_link_does_by_itself() {
        // A burst in ten is 12 ms late and the next ones catch up.
        let mut trendline = Trendline::default();
        let (mut over, mut arrived) = (0, Micros::ZERO);
        for burst in 0..3_000 {
            let late = match burst % 10 {
                0 => 12,
                1..=3 => -4,
                _ => 0,
            };
            let delta = GroupDelta {
                send: Micros::millis(20),
                arrival: Micros::millis(20 + late),
            };
            arrived += delta.arrival;
            trendline.on_group(delta, arrived);
            over += i32::from(burst > 500 && trendline.usage() == Usage::Over);
        }
        assert_eq!(over, 0);
    }
}
