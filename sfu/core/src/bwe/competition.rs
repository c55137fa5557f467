//! Whether the queue is somebody else's: a flow that fills it until it overflows, as TCP does.
//!
//! Delay alone would have us give way to such a flow to the last bit. Copa (Arun and Balakrishnan, NSDI 2018)
//! tells it by a queue that never becomes nearly empty though one sends less; so does this.

use super::time::Micros;
use crate::units::Bitrate;

/// A queue that is never shorter than it takes to send two packets, within these bounds, …
const STANDING: (Micros, Micros) = (Micros::millis(50), Micros::millis(100));
const TWO_PACKETS: u64 = 2 * 1_200;
/// … for so long …
const AFTER: Micros = Micros::millis(2_500);
/// … while the rate has been lowered to this share, is not ours.
const GAVE_WAY: f64 = 0.8;
/// A queue of this share of its greatest length or less is one that drains.
const DRAINING: f64 = 0.6;
/// A queue that grows to so much more than it was when this began is ours after all.
const CEILING: f64 = 1.3;
/// Nobody keeps a queue for ever, but paths become longer: looked at anew after this.
const LONGEST: Micros = Micros::secs(120);
/// What we had before we gave way is shared with one other.
const FAIR_SHARE: f64 = 0.5;

#[derive(Clone, Debug, Default)]
pub struct Competition {
    standing: Option<Standing>,
    competes: bool,
}

#[derive(Clone, Copy, Debug)]
struct Standing {
    since: Micros,
    rate: Bitrate,
    longest: Micros,
}

impl Competition {
    /// Packets of the last feedback waited for `queue`, the least and the most. Where this shows that somebody else
    /// fills it, the rate to return to.
    pub fn on_feedback(&mut self, now: Micros, queue: (Micros, Micros), rate: Bitrate) -> Option<Bitrate> {
        let (least, most) = queue;
        let two_packets = Micros((TWO_PACKETS * 8_000_000 / rate.0.max(1)) as i64);
        if least < two_packets.clamp(STANDING.0, STANDING.1) {
            *self = Self::default();
            return None;
        }
        let standing = self.standing.get_or_insert(Standing {
            since: now,
            rate,
            longest: most,
        });
        if self.competes {
            let is_ours = most.0 as f64 > standing.longest.0 as f64 * CEILING;
            if is_ours || now - standing.since > LONGEST {
                *self = Self::default();
            }
            return None;
        }
        standing.longest = standing.longest.max(most);
        self.competes = now - standing.since > AFTER
            && rate < standing.rate.times(GAVE_WAY)
            && most.0 as f64 > standing.longest.0 as f64 * DRAINING;
        self.competes.then(|| standing.rate.times(FAIR_SHARE).max(rate))
    }

    pub fn competes(&self) -> bool {
        self.competes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feedback ten times a second: (seconds, least and most ms of queue, kbit/s).
    fn run(steps: &[(i64, i64, i64, u64)]) -> bool {
        let mut competition = Competition::default();
        let mut now = Micros::ZERO;
        for &(seconds, least, most, kbps) in steps {
            for _ in 0..seconds * 10 {
                now += Micros::millis(100);
                let queue = (Micros::millis(least), Micros::millis(most));
                competition.on_feedback(now, queue, Bitrate::kbps(kbps));
            }
        }
        competition.competes()
    }

    #[test]
    fn a_queue_that_stays_though_we_give_way_is_somebody_elses() {
        for (steps, competes) in [
            (&[(1, 100, 150, 1_000), (3, 100, 150, 700)][..], true),
            // We did not give way: the path may have become longer.
            (&[(4, 100, 150, 1_000)], false),
            // It was empty once.
            (&[(1, 100, 150, 1_000), (1, 40, 150, 700), (2, 100, 150, 500)], false),
            // It drains.
            (&[(1, 500, 600, 1_000), (2, 300, 350, 700)], false),
            // It ended, or grew to what nobody had made of it before.
            (&[(1, 100, 150, 1_000), (3, 100, 150, 700), (1, 0, 20, 700)], false),
            (&[(1, 100, 150, 1_000), (3, 100, 150, 700), (1, 100, 250, 700)], false),
        ] {
            assert_eq!(run(steps), competes, "{steps:?}");
        }
    }
}
