//! How a link that loses is modelled, and how well that explains what was seen (libwebrtc:
//! `goog_cc/loss_based_bwe_v2.cc`, whose constants these are).

use arrayvec::ArrayVec;

use crate::units::Bitrate;

const WINDOW: usize = 15;
/// Weight of an observation against the one after it.
const TEMPORAL_WEIGHT: f64 = 0.9;
const NEWTON_STEP: f64 = 0.75;
/// With fewer none is left out as an outlier.
const MIN_FOR_OUTLIERS: u64 = 3;
/// An observation at this times the median rate that has the greatest loss is a sudden load, not an outlier.
const SUDDEN_LOAD: f64 = 2.0;

/// A quarter of a second or more of sending.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observation {
    pub packets: u32,
    pub lost_packets: u32,
    pub bytes: u64,
    pub lost_bytes: u64,
    pub rate: Bitrate,
}

/// The last observations.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    /// A ring, the observation `n` at `n % WINDOW`.
    ring: [Observation; WINDOW],
    count: u64,
}

impl Observations {
    pub fn push(&mut self, observation: Observation) {
        self.ring[(self.count % WINDOW as u64) as usize] = observation;
        self.count += 1;
    }

    /// How many there were so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Observations from the latest on, each with its weight.
    fn weighted(&self) -> impl Iterator<Item = (f64, &Observation)> {
        let known = self.count.min(WINDOW as u64);
        (0..known).scan(1.0, |weight, age| {
            let current = *weight;
            *weight *= TEMPORAL_WEIGHT;
            Some((current, &self.ring[((self.count - 1 - age) % WINDOW as u64) as usize]))
        })
    }

    /// Bytes sent, weighted.
    pub fn kilobytes(&self) -> f64 {
        self.weighted()
            .map(|(weight, observation)| weight * observation.bytes as f64 / 1e3)
            .sum()
    }

    /// Share of bytes lost, without the best and the worst observation.
    pub fn average_loss(&self) -> f64 {
        let (mut bytes, mut lost) = (0.0, 0.0);
        // Loss share, weighted bytes lost, weighted bytes, rate.
        let mut best = (1.0, 0.0, 0.0);
        let mut worst = (0.0, 0.0, 0.0, Bitrate(0));
        for (weight, observation) in self.weighted() {
            let weighted_bytes = weight * observation.bytes as f64;
            let weighted_lost = weight * observation.lost_bytes as f64;
            bytes += weighted_bytes;
            lost += weighted_lost;
            let loss = observation.lost_bytes as f64 / observation.bytes.max(1) as f64;
            if self.count > MIN_FOR_OUTLIERS && loss > worst.0 {
                worst = (loss, weighted_lost, weighted_bytes, observation.rate);
            }
            if self.count > MIN_FOR_OUTLIERS && loss < best.0 {
                best = (loss, weighted_lost, weighted_bytes);
            }
        }
        let rest = bytes - best.2 - worst.2;
        if rest <= 0.0 || self.median_rate().times(SUDDEN_LOAD) <= worst.3 {
            return lost / bytes.max(1.0);
        }
        ((lost - best.1 - worst.1) / rest).max(0.0)
    }

    fn median_rate(&self) -> Bitrate {
        let rates = self.weighted().map(|(_, observation)| observation.rate);
        let mut rates: ArrayVec<Bitrate, WINDOW> = rates.filter(|rate| rate.0 > 0).collect();
        rates.sort_unstable();
        let Some(&upper) = rates.get(rates.len() / 2) else {
            return Bitrate(0);
        };
        match rates.len() % 2 {
            0 => Bitrate((rates[rates.len() / 2 - 1].0 + upper.0) / 2),
            _ => upper,
        }
    }
}

/// A link.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// Bits per second above which loss grows.
    pub bandwidth: f64,
    /// Share lost below that.
    pub inherent: f64,
}

impl Channel {
    /// What to take off the inherent loss to come nearer to the one that explains the observations best at this
    /// bandwidth.
    pub fn newton_step(&self, observations: &Observations) -> f64 {
        let (mut first, mut second) = (0.0, 0.0);
        for (weight, observation) in observations.weighted() {
            let loss = self.loss_at(observation.rate);
            let lost = observation.lost_bytes as f64 / 1e3;
            let arrived = (observation.bytes - observation.lost_bytes) as f64 / 1e3;
            first += weight * (lost / loss - arrived / (1.0 - loss));
            second -= weight * (lost / (loss * loss) + arrived / ((1.0 - loss) * (1.0 - loss)));
        }
        if second < 0.0 {
            NEWTON_STEP * first / second
        } else {
            0.0
        }
    }

    /// Logarithm of the likelihood of what was seen.
    pub fn likelihood(&self, observations: &Observations) -> f64 {
        let of_each = observations.weighted().map(|(weight, observation)| {
            let loss = self.loss_at(observation.rate);
            let lost = observation.lost_bytes as f64 / 1e3;
            let arrived = (observation.bytes - observation.lost_bytes) as f64 / 1e3;
            weight * (lost * loss.ln() + arrived * (1.0 - loss).ln())
        });
        of_each.sum()
    }

    /// Probability that a packet is lost, where so much is sent.
    fn loss_at(&self, rate: Bitrate) -> f64 {
        let rate = rate.0 as f64;
        let mut loss = self.inherent;
        if rate > self.bandwidth {
            loss += (1.0 - self.inherent) * (rate - self.bandwidth) / rate;
        }
        loss.clamp(1e-6, 1.0 - 1e-6)
    }
}
