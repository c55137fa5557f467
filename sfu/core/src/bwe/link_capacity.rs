//! What the link carried when its queue began to grow: near it the rate rises by steps, away from it in
//! proportion (libwebrtc: `goog_cc/link_capacity_estimator.cc`).

use crate::units::Bitrate;

/// Weight of a new sample.
const GAIN: f64 = 0.05;
/// Bounds of the variance, normalised by the rate: 0.4 is 14 kbit/s at 500 kbit/s, 2.5 is 35.
const DEVIATION_RANGE: (f64, f64) = (0.4, 2.5);
/// Samples further off than so many deviations are of another link.
const DEVIATIONS: f64 = 3.0;

#[derive(Clone, Debug)]
pub struct LinkCapacity {
    kbps: Option<f64>,
    deviation: f64,
}

impl Default for LinkCapacity {
    fn default() -> Self {
        Self {
            kbps: None,
            deviation: DEVIATION_RANGE.0,
        }
    }
}

impl LinkCapacity {
    pub fn on_overuse(&mut self, throughput: Bitrate) {
        let sample = throughput.0 as f64 / 1e3;
        let kbps = self.kbps.map_or(sample, |kbps| (1.0 - GAIN) * kbps + GAIN * sample);
        let error = kbps - sample;
        let deviation = (1.0 - GAIN) * self.deviation + GAIN * error * error / kbps.max(1.0);
        self.deviation = deviation.clamp(DEVIATION_RANGE.0, DEVIATION_RANGE.1);
        self.kbps = Some(kbps);
    }

    pub fn reset(&mut self) {
        self.kbps = None;
    }

    pub fn estimate(&self) -> Option<Bitrate> {
        self.kbps.map(bitrate)
    }

    pub fn is_below(&self, throughput: Bitrate) -> bool {
        self.kbps
            .is_some_and(|kbps| throughput > bitrate(kbps + DEVIATIONS * self.deviation_kbps(kbps)))
    }

    pub fn is_above(&self, throughput: Bitrate) -> bool {
        self.kbps
            .is_some_and(|kbps| throughput < bitrate(kbps - DEVIATIONS * self.deviation_kbps(kbps)))
    }

    fn deviation_kbps(&self, kbps: f64) -> f64 {
        (self.deviation * kbps).sqrt()
    }
}

fn bitrate(kbps: f64) -> Bitrate {
    Bitrate((kbps.max(0.0) * 1e3) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_what_was_carried_slowly_and_tells_what_is_far_from_it() {
        let mut capacity = LinkCapacity::default();
        assert_eq!(capacity.estimate(), None);
        assert!(!capacity.is_below(Bitrate::kbps(1)) && !capacity.is_above(Bitrate::kbps(1)));
        capacity.on_overuse(Bitrate::kbps(500));
        capacity.on_overuse(Bitrate::kbps(520));
        assert_eq!(capacity.estimate(), Some(Bitrate::kbps(501)));
        // Three deviations of some 14 kbit/s.
        for (kbps, below, above) in [
            (440, false, true),
            (470, false, false),
            (535, false, false),
            (560, true, false),
        ] {
            let rate = Bitrate::kbps(kbps);
            assert_eq!(
                (capacity.is_below(rate), capacity.is_above(rate)),
                (below, above),
                "{kbps}"
            );
        }
        capacity.reset();
        assert_eq!(capacity.estimate(), None);
    }
}
