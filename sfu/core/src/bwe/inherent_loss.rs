//! Loss that does not come from us: what a link loses also while it is sent clearly less than it carries.
//!
//! libwebrtc's loss-based estimate takes 5 % (and 100 kbit/s' worth) for inherent at most, so a link that loses
//! 20 % at random ends at 667 kbit/s whatever it carries. Loss of a full queue goes away when less is sent, and
//! that of a policer shrinks with it; where it stays with empty queues at three quarters of a rate that was
//! carried, it is the link's own.

use super::time::Micros;
use crate::units::Bitrate;

/// Of what was carried; a policer that lost 20 % at full rate loses nothing at this.
const CLEARLY_LESS: f64 = 0.75;
/// What was carried is known for this long.
const CARRIED_SPAN: Micros = Micros::secs(10);
/// A queue shorter than this is none: the jitter of mobile links.
const EMPTY_QUEUE: Micros = Micros::millis(50);
/// Weight of the past at each observation, of which there are up to four a second: some ten seconds.
const DECAY: f64 = 0.97;
/// So many packets tell a share of 20 % to within 5.
const MIN_PACKETS: f64 = 60.0;
/// Without being seen again, a share is believed for this long.
const MEMORY: Micros = Micros::secs(30);
/// Loss at full rate that exceeds the share by no more than this confirms it.
const MARGIN: f64 = 0.05;
/// Video is not to be had beyond this, and a lying receiver gains no more than this by it.
const MAX_SHARE: f64 = 0.4;

/// A quarter of a second or more of sending.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observation {
    pub packets: u32,
    pub lost_packets: u32,
    pub bytes: u64,
    pub lost_bytes: u64,
    pub rate: Bitrate,
}

#[derive(Clone, Debug, Default)]
pub struct InherentLoss {
    packets: f64,
    lost: f64,
    share: f64,
    confirmed: Micros,
    carried: Bitrate,
    carried_before: Bitrate,
    carried_since: Micros,
}

impl InherentLoss {
    /// So much was sent and carried, seen by what arrived or by a probe.
    pub fn on_carried(&mut self, now: Micros, rate: Bitrate) {
        if now - self.carried_since > CARRIED_SPAN {
            self.carried_before = std::mem::take(&mut self.carried);
            self.carried_since = now;
        }
        self.carried = self.carried.max(rate);
    }

    /// `queue` is what packets waited in queues of late.
    pub fn on_observation(&mut self, now: Micros, observation: &Observation, queue: Micros) {
        let carried = self.carried.max(self.carried_before);
        let loss = f64::from(observation.lost_packets) / f64::from(observation.packets.max(1));
        if queue < EMPTY_QUEUE && observation.rate < carried.times(CLEARLY_LESS) {
            self.packets = self.packets * DECAY + f64::from(observation.packets);
            self.lost = self.lost * DECAY + f64::from(observation.lost_packets);
            if self.packets >= MIN_PACKETS {
                self.share = (self.lost / self.packets).min(MAX_SHARE);
                self.confirmed = now;
            }
        } else if (loss - self.share).abs() < MARGIN {
            self.confirmed = now;
        }
        if now - self.confirmed > MEMORY {
            *self = Self {
                carried: self.carried,
                carried_before: self.carried_before,
                carried_since: self.carried_since,
                ..Self::default()
            };
        }
    }

    /// 0 to 0.4, of packets.
    pub fn share(&self) -> f64 {
        self.share
    }
}
