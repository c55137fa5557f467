//! Empties a long queue at once.
//!
//! After overuse libwebrtc sends 15 % less than arrives, which takes four seconds for the queue of half a second that
//! a link leaves that drops from 1 Mbit/s to 300 kbit/s; and a queue that stands after a halt of the link is no overuse
//! to it at all. Speech cannot wait for that.

use super::time::Micros;
use crate::units::Bitrate;

/// A decrease to less than this share is a slower link; smaller ones are the usual search for its capacity.
const LARGE_DECREASE: f64 = 0.7;
/// A queue is long when it is longer than this and than packets of the largest size take, so many of them.
const LONG: Micros = Micros::millis(150);
const PACKETS: u64 = 3 * 1_200;
/// What was built up in a round trip is gone by then, or is not ours.
const LONGEST: Micros = Micros::secs(2);
/// The queue is to be empty after about this: the longer it is, the less is sent …
const WITHIN: Micros = Micros::millis(800);
/// … but never less than this share of the estimate, so that speech goes on.
const LEAST: f64 = 0.3;
/// A queue that has not gone by then, or is there again so soon, is not made by a change of the link.
const AGAIN_AFTER: Micros = Micros::secs(8);
/// Short enough not to be heard.
const EMPTY: Micros = Micros::millis(50);

#[derive(Clone, Debug, Default)]
pub struct Drain {
    until: Micros,
    not_before: Micros,
}

impl Drain {
    /// Feedback came, by which the estimate is now `after`, and packets wait for `queue`.
    pub fn on_feedback(&mut self, now: Micros, before: Bitrate, after: Bitrate, queue: Micros) {
        let packets = Micros((PACKETS * 8_000_000 / after.0.max(1)) as i64);
        let is_long = queue > LONG.max(packets) || after < before.times(LARGE_DECREASE);
        if is_long && now >= self.not_before {
            self.until = now + LONGEST;
            self.not_before = now + AGAIN_AFTER;
        }
    }

    /// The share of the estimate to send, with a queue of this length.
    pub fn factor(&mut self, now: Micros, queue: Micros) -> f64 {
        if now >= self.until || queue < EMPTY {
            self.until = Micros::ZERO;
            return 1.0;
        }
        (1.0 - queue.as_secs() / WITHIN.as_secs()).max(LEAST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sends_less_the_longer_the_queue_is_and_only_after_a_large_decrease() {
        let rate = Bitrate::kbps;
        // (estimate after overuse at 1,000 kbit/s, ms since, ms of queue, percent to send)
        for (after, since, queue, percent) in [
            (850, 0, 400, 100),
            (300, 0, 400, 50),
            (300, 0, 900, 30),
            (300, 1_900, 80, 90),
            (300, 1_900, 40, 100),
            (300, 2_000, 400, 100),
        ] {
            let mut drain = Drain::default();
            drain.on_feedback(Micros::secs(9), rate(1_000), rate(after), Micros::ZERO);
            let factor = drain.factor(Micros::secs(9) + Micros::millis(since), Micros::millis(queue));
            assert_eq!((factor * 100.0).round() as i32, percent, "{after} {since} {queue}");
        }
    }

    #[test]
    fn ends_when_the_queue_is_empty_once() {
        let mut drain = Drain::default();
        drain.on_feedback(Micros::ZERO, Bitrate::kbps(1_000), Bitrate::kbps(300), Micros::ZERO);
        drain.factor(Micros::millis(500), Micros::ZERO);
        assert_eq!(drain.factor(Micros::millis(600), Micros::millis(400)), 1.0);
    }
}
