//! The receiver's own estimate (draft-alvestrand-rmcat-remb), and padding that lets it rise: receivers estimate at most
//! 1.5 times what comes in (libwebrtc: `aimd_rate_control.cc`), which the next higher layer may lie above.

use std::num::NonZeroU8;
use std::time::Duration;

use super::history::ProbeId;
use super::probe_controller::ProbeCluster;
use super::report_loss::LOW_LOSS;
use super::time::Micros;
use crate::units::Bitrate;

/// Receivers send it about once a second.
const HOLDS_FOR: Micros = Micros::secs(5);
/// So long a link is filled up to the estimate, in which a receiver that can rises by half.
const PADDING: Duration = Duration::from_secs(5);
/// One that has risen by less carries no more for now …
const RISE: f64 = 1.1;
/// … and is left alone for so long, and each time for twice as long.
const FIRST_PAUSE: Micros = Micros::secs(10);
const MAX_PAUSE: Micros = Micros::secs(80);

#[derive(Clone, Debug)]
pub struct Remb {
    latest: Option<(Bitrate, Micros)>,
    desired: Bitrate,
    /// The estimate at the beginning of the padding whose outcome is not known yet, or zero.
    padded_at: Bitrate,
    /// When that is known, or a pause ends.
    next: Micros,
    pause: Micros,
}

impl Default for Remb {
    fn default() -> Self {
        Self {
            latest: None,
            desired: Bitrate(0),
            padded_at: Bitrate(0),
            next: Micros::ZERO,
            pause: FIRST_PAUSE,
        }
    }
}

impl Remb {
    pub fn on_remb(&mut self, now: Micros, rate: Bitrate) {
        // Zero is no limit, as to libwebrtc.
        self.latest = (rate.0 > 0).then_some((rate, now));
    }

    /// What the receiver said last, unless that is long ago.
    pub fn rate(&self, now: Micros) -> Option<Bitrate> {
        let (rate, at) = self.latest?;
        (now - at <= HOLDS_FOR).then_some(rate)
    }

    pub fn set_desired(&mut self, desired: Bitrate) {
        self.desired = desired;
    }

    /// What to fill up with padding, media included: the estimate, where more is wanted and `loss` (a share) is low.
    /// Whoever tells nothing gets none.
    pub fn poll_padding(&mut self, now: Micros, estimate: Bitrate, loss: f64) -> Option<ProbeCluster> {
        if now < self.next || self.rate(now).is_none() || self.desired <= estimate || loss > LOW_LOSS {
            return None;
        }
        let before = std::mem::replace(&mut self.padded_at, Bitrate(0));
        if before.0 > 0 {
            if estimate < before.times(RISE) {
                self.next = now + self.pause;
                self.pause = Micros(self.pause.0 * 2).min(MAX_PAUSE);
                return None;
            }
            self.pause = FIRST_PAUSE;
        }
        self.padded_at = estimate;
        self.next = now + Micros(PADDING.as_micros() as i64);
        Some(ProbeCluster {
            id: ProbeId(NonZeroU8::MIN),
            rate: estimate,
            min_bytes: estimate.0 * PADDING.as_secs() / 8,
            min_packets: 1,
            duration: PADDING,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_for_five_seconds_and_zero_is_no_limit() {
        let mut remb = Remb::default();
        assert_eq!(remb.rate(Micros::ZERO), None);
        remb.on_remb(Micros::ZERO, Bitrate::kbps(300));
        assert_eq!(remb.rate(Micros::secs(5)), Some(Bitrate::kbps(300)));
        assert_eq!(remb.rate(Micros::millis(5_001)), None);
        remb.on_remb(Micros::secs(6), Bitrate(0));
        assert_eq!(remb.rate(Micros::secs(6)), None);
    }

    /// When padding began within two minutes, in s.
    fn paddings(estimate: impl Fn(i64) -> u64, desired: u64, loss: f64) -> Vec<i64> {
        let mut remb = Remb::default();
        remb.set_desired(Bitrate::kbps(desired));
        let mut began = Vec::new();
        for second in 0..120 {
            let estimate = Bitrate::kbps(estimate(second));
            remb.on_remb(Micros::secs(second), estimate);
            if let Some(cluster) = remb.poll_padding(Micros::secs(second), estimate, loss) {
                assert_eq!((cluster.rate, cluster.min_bytes), (estimate, estimate.0 * 5 / 8));
                began.push(second);
            }
        }
        began
    }

    #[test]
    fn fills_the_link_for_as_long_as_the_estimate_rises_and_then_ever_less_often() {
        // By half each five seconds, up to what is desired.
        let rising = |second: i64| (300.0 * 1.08_f64.powi(second as i32)) as u64;
        assert_eq!(paddings(rising, 1_000, 0.0), [0, 5, 10, 15]);
        assert_eq!(paddings(|_| 300, 1_000, 0.0), [0, 15, 40, 85]);
        assert_eq!(paddings(|_| 300, 300, 0.0), [0; 0]);
        assert_eq!(paddings(|_| 300, 1_000, 0.05), [0; 0]);
    }
}
