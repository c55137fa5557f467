//! The estimate for peers without transport-wide feedback: by the loss that their receiver reports tell
//! (libwebrtc: `goog_cc/send_side_bandwidth_estimation.cc`; RFC 3550, section 6.4.1).

use super::time::Micros;
use crate::units::Bitrate;

/// Loss up to this lets the rate rise …
const LOW_LOSS: f64 = 0.02;
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
