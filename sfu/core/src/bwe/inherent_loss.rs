//! Loss that does not come from us: what a link loses also while it is sent clearly less than it carries.
//!
//! libwebrtc's loss-based estimate takes 5 % (and 100 kbit/s' worth) for inherent at most, so a link that loses
//! 20 % at random ends at 667 kbit/s whatever it carries. Loss of a full queue goes away when less is sent, and
//! that of a policer shrinks with it; where it stays with empty queues at three quarters of a rate that was
//! carried, it is the link's own.

use super::loss_model::Observation;
use super::time::Micros;
use crate::units::Bitrate;

/// Of what was carried; a policer that lost 20 % at full rate loses nothing at this.
const CLEARLY_LESS: f64 = 0.75;
/// What was carried is known for this long.
const CARRIED_SPAN: Micros = Micros::secs(10);
/// A queue shorter than this is none: the jitter of mobile links.
pub const EMPTY_QUEUE: Micros = Micros::millis(50);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Observations of half a second each: (how many, kbit/s, percent lost, ms of queue). Carried was 1 Mbit/s.
    fn share(phases: &[(u32, u64, u32, i64)]) -> f64 {
        let mut inherent = InherentLoss::default();
        let mut now = Micros::ZERO;
        for &(count, kbps, percent, queue) in phases {
            for _ in 0..count {
                now += Micros::millis(500);
                inherent.on_carried(now, Bitrate::kbps(1_000));
                let observation = Observation {
                    packets: 100,
                    lost_packets: percent,
                    bytes: 100_000,
                    lost_bytes: u64::from(percent) * 1_000,
                    rate: Bitrate::kbps(kbps),
                };
                inherent.on_observation(now, &observation, Micros::millis(queue));
            }
        }
        (inherent.share() * 100.0).round() / 100.0
    }

    #[test]
    fn is_what_is_lost_at_clearly_less_than_was_carried() {
        for (phases, expected) in [
            (&[(8, 700, 20, 0)][..], 0.2),
            // Not clearly less; with a queue; too much to be believed.
            (&[(8, 800, 20, 0)], 0.0),
            (&[(8, 700, 20, 80)], 0.0),
            (&[(8, 700, 60, 0)], 0.4),
            // A policer: nothing is lost at less.
            (&[(8, 1_200, 17, 0), (8, 700, 0, 0)], 0.0),
            // Full rate with as much loss confirms it; with much more it is forgotten after half a minute.
            (&[(8, 700, 20, 0), (100, 1_000, 22, 0)], 0.2),
            (&[(8, 700, 20, 0), (50, 1_000, 40, 0)], 0.2),
            (&[(8, 700, 20, 0), (62, 1_000, 40, 0)], 0.0),
        ] {
            assert_eq!(share(phases), expected, "{phases:?}");
        }
    }
}
