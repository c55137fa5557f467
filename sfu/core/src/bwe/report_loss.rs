//! The estimate for peers without transport-wide feedback: by the loss that their receiver reports tell
//! (libwebrtc: `goog_cc/send_side_bandwidth_estimation.cc`; RFC 3550, section 6.4.1).

use super::time::Micros;
use crate::units::Bitrate;

/// Loss up to this lets the rate rise …
pub const LOW_LOSS: f64 = 0.02;
const INCREASE: f64 = 1.08;
const INCREASE_STEP: Bitrate = Bitrate(1_000);
/// … once in this time.
const INCREASE_INTERVAL: Micros = Micros::secs(1);
/// Loss above this lowers it by half of the share lost, once in this and a round trip.
const HIGH_LOSS: f64 = 0.1;
const DECREASE_INTERVAL: Micros = Micros::millis(300);
/// Fewer packets do not make a share.
const MIN_PACKETS: u32 = 20;

#[derive(Clone, Debug)]
pub struct ReportLoss {
    rate: Bitrate,
    packets: u32,
    lost: u32,
    share: f64,
    last_increase: Option<Micros>,
    last_decrease: Option<Micros>,
}

impl ReportLoss {
    pub fn new(start: Bitrate) -> Self {
        Self {
            rate: start,
            packets: 0,
            lost: 0,
            share: 0.0,
            last_increase: None,
            last_decrease: None,
        }
    }

    /// Of `packets` expected since the last report, `lost` did not arrive. `cap` bounds the rate.
    pub fn on_report(&mut self, now: Micros, packets: u32, lost: u32, round_trip: Micros, cap: Bitrate) {
        self.packets = self.packets.saturating_add(packets);
        self.lost = self.lost.saturating_add(lost.min(packets));
        if self.packets < MIN_PACKETS {
            return;
        }
        let share = f64::from(self.lost) / f64::from(self.packets);
        (self.packets, self.lost, self.share) = (0, 0, share);
        if share <= LOW_LOSS {
            if self.last_increase.is_none_or(|last| now - last >= INCREASE_INTERVAL) {
                self.rate = Bitrate(self.rate.times(INCREASE).0 + INCREASE_STEP.0);
                self.last_increase = Some(now);
            }
        } else if share > HIGH_LOSS {
            let interval = DECREASE_INTERVAL + round_trip;
            if self.last_decrease.is_none_or(|last| now - last >= interval) {
                self.rate = self.rate.times(1.0 - share / 2.0);
                self.last_decrease = Some(now);
            }
        }
        self.rate = self.rate.min(cap);
    }

    /// The receiver's own estimate: with little loss it is known better there.
    pub fn on_remb(&mut self, remb: Bitrate) {
        if self.share <= LOW_LOSS {
            self.rate = remb;
        }
    }

    pub fn rate(&self) -> Bitrate {
        self.rate
    }

    pub fn share(&self) -> f64 {
        self.share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports a second apart of 50 packets each: percents lost; the rate at the end, from 300 kbit/s.
    fn rate(lost: &[u32]) -> u64 {
        let mut report_loss = ReportLoss::new(Bitrate::kbps(300));
        for (second, percent) in lost.iter().enumerate() {
            let now = Micros::secs(second as i64);
            report_loss.on_report(now, 50, percent / 2, Micros::millis(100), Bitrate::kbps(400));
        }
        report_loss.rate().0 / 1_000
    }

    #[test]
    fn rises_with_little_loss_holds_with_some_and_falls_with_much() {
        for (lost, expected) in [
            (&[0][..], 325),
            (&[2, 0], 352),
            (&[4, 8, 10], 300),
            (&[20], 270),
            (&[20, 40, 100], 108),
            (&[0; 10], 400),
        ] {
            assert_eq!(rate(lost), expected, "{lost:?}");
        }
    }

    #[test]
    fn waits_for_enough_packets_and_for_a_decrease_to_take_effect() {
        let mut report_loss = ReportLoss::new(Bitrate::kbps(300));
        let mut report = |ms, packets, lost| {
            report_loss.on_report(
                Micros::millis(ms),
                packets,
                lost,
                Micros::millis(100),
                Bitrate::kbps(400),
            );
            report_loss.rate().0 / 1_000
        };
        assert_eq!(report(0, 10, 10), 300);
        assert_eq!(report(10, 10, 0), 225);
        assert_eq!(report(400, 20, 10), 225);
        assert_eq!(report(410, 20, 10), 168);
        // More lost than were sent is a lie or an error.
        assert_eq!(report(900, 20, 4_000_000), 84);
    }
}
