//! Whether the sender sends clearly less than it may, so that what arrives says little about the link
//! (libwebrtc: `goog_cc/alr_detector.cc`, `rtc_base/../interval_budget.cc`).

use super::time::Micros;
use crate::units::Bitrate;

/// Share of the estimate whose use counts as full use.
const USAGE: f64 = 0.65;
/// The budget holds what is not used over this span.
const WINDOW: Micros = Micros::millis(500);
/// Share of the budget above which the sender is application limited …
const START: f64 = 0.8;
/// … and below which it no longer is.
const STOP: f64 = 0.5;

#[derive(Clone, Debug, Default)]
pub struct AlrDetector {
    target: Bitrate,
    /// Unused bytes; negative where more was sent.
    budget: i64,
    last: Option<(Micros, u64)>,
    since: Option<Micros>,
}

impl AlrDetector {
    pub fn set_estimate(&mut self, estimate: Bitrate) {
        self.target = estimate.times(USAGE);
        let most = self.capacity();
        self.budget = self.budget.clamp(-most, most);
    }

    /// `bytes_sent` have been sent in all.
    pub fn update(&mut self, now: Micros, bytes_sent: u64) {
        let Some((last, bytes_before)) = self.last.replace((now, bytes_sent)) else {
            return;
        };
        let most = self.capacity();
        let used = (bytes_sent - bytes_before) as i64;
        let earned = self.target.bytes_in((now - last).duration()) as i64;
        // Overuse is not carried further than a window, nor is a pause.
        self.budget = (self.budget - used + earned.min(2 * most)).clamp(-most, most);
        let level = self.budget as f64 / most.max(1) as f64;
        if level > START && self.since.is_none() {
            self.since = Some(now);
        } else if level < STOP {
            self.since = None;
        }
    }

    /// Since when the sender is application limited.
    pub fn since(&self) -> Option<Micros> {
        self.since
    }

    fn capacity(&self) -> i64 {
        self.target.bytes_in(WINDOW.duration()) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends at so many percent of an estimate of 300 kbit/s for so many ms each; whether it is limited after each.
    fn run(phases: &[(u64, i64)]) -> Vec<bool> {
        let mut detector = AlrDetector::default();
        detector.set_estimate(Bitrate::kbps(300));
        let (mut now, mut sent) = (Micros::ZERO, 0);
        detector.update(now, sent);
        phases
            .iter()
            .map(|&(percent, ms)| {
                for _ in 0..ms / 10 {
                    now += Micros::millis(10);
                    sent += 300_000 * percent / 100 / 8 / 100;
                    detector.update(now, sent);
                }
                detector.since().is_some()
            })
            .collect()
    }

    /// After libwebrtc's `goog_cc/alr_detector_unittest.cc`, named as there.
    #[test]
    fn tells_a_sender_that_has_less_to_send() {
        for (name, phases, limited) in [
            (
                "AlrDetection",
                &[(90, 1_000), (20, 1_500), (100, 1_000)][..],
                &[false, true, false][..],
            ),
            (
                "ShortSpike",
                &[(90, 1_000), (20, 1_500), (150, 100), (20, 200)],
                &[false, true, true, true],
            ),
            ("BandwidthEstimateChanges: near full use", &[(60, 3_000)], &[false]),
            ("nothing at all", &[(0, 1_000)], &[true]),
        ] {
            assert_eq!(run(phases), limited, "{name}");
        }
    }
}
