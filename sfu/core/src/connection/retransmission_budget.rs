//! What a subscriber may have sent again: a share of what was sent to it, in bytes, so that NACKs draw little
//! more out of the server than media does, and so many looks for packets.

use std::time::{Duration, Instant};

use crate::units::Bitrate;

const WINDOW: Duration = Duration::from_secs(1);
/// On top of the share of what was sent in the last second, 1 Mbit/s: for streams that have just begun, or are so slow that a burst is most of them.
const BASE_BYTES: u64 = 125_000;
/// The same of a link that is estimated, as long as that is less: of its rate.
const SHARE_OF_LINK: f64 = 0.5;
/// What a packet costs besides its payload.
const OVERHEAD: usize = 60;
/// Packets asked for in a second: all of 20 Mbit/s, twice.
const MAX_ASKED: u32 = 5_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct RetransmissionBudget {
    since: Instant,
    sent: u64,
    sent_before: u64,
    sent_again: u64,
    asked: u32,
}

impl RetransmissionBudget {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            sent: 0,
            sent_before: 0,
            sent_again: 0,
            asked: 0,
        }
    }

    /// So much media went out for the first time.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.sent += bytes as u64;
    }

    /// May one more packet be looked for?
    pub(crate) fn may_ask(&mut self, now: Instant) -> bool {
        self.roll(now);
        self.asked += 1;
        self.asked <= MAX_ASKED
    }

    /// May a packet with that payload be sent again? Then it counts as sent. `link` is what the subscriber's link carries,
    /// where that is known: a burst of NACKs must not fill it.
    pub(crate) fn take(&mut self, now: Instant, percent: u32, payload: usize, link: Option<Bitrate>) -> bool {
        self.roll(now);
        let base = link.map_or(BASE_BYTES, |link| {
            BASE_BYTES.min(link.times(SHARE_OF_LINK).bytes_in(WINDOW))
        });
        let budget = base + self.sent_before.max(self.sent) * u64::from(percent) / 100;
        let after = self.sent_again + (payload + OVERHEAD) as u64;
        if after > budget {
            return false;
        }
        self.sent_again = after;
        true
    }

    fn roll(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < WINDOW {
            return;
        }
        // What was sent counts since the last NACK, which may have been long ago.
        let per_window = u128::from(self.sent) * WINDOW.as_millis() / elapsed.as_millis();
        *self = Self {
            sent_before: per_window as u64,
            ..Self::new(now)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_was_sent_and_a_base_is_sent_again() {
        let start = Instant::now();
        // (bytes sent per second, what the link carries, bytes sent again in a second)
        for (rate, link, expected) in [
            (0, None, 125_000),
            (312_500, None, 281_250),
            (2_500_000, None, 1_375_000),
            (37_500, Some(Bitrate::kbps(300)), 37_500),
            (312_500, Some(Bitrate::kbps(4_000)), 281_250),
        ] {
            let mut budget = RetransmissionBudget::new(start);
            for second in 0..10 {
                let mut again = 0;
                for ms in 0..1_000 {
                    let now = start + Duration::from_millis(second * 1_000 + ms);
                    budget.on_sent(rate / 1_000);
                    while budget.take(now, 50, 940, link) {
                        again += 1_000;
                    }
                }
                if second > 0 {
                    assert!(
                        (expected - 1_400..=expected + 1_400).contains(&again),
                        "{rate}: {again}"
                    );
                }
            }
        }
    }

    #[test]
    fn looks_are_counted_too() {
        let start = Instant::now();
        let mut budget = RetransmissionBudget::new(start);
        let asked = (0..100_000).filter(|_| budget.may_ask(start)).count();
        assert_eq!(asked, 5_000);
        assert!(budget.may_ask(start + WINDOW));
    }
}
