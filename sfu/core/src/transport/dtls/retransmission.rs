//! When flights are sent again. `dimpl` doubles its timer with each try and cannot be told a limit or a round trip, so over
//! a link that loses every third packet its tries lie half a minute apart. It knows only the time that it is told, though:
//! when a try of ours is due before its own, its clock is put forward to that.

use std::time::{Duration, Instant};

const YEAR: u64 = 365 * 24 * 3600;
/// For `dimpl`: its clock is put forward with each try, in all by less than what is left of it above [`NEVER`].
pub(super) const LIBRARY_TIMEOUT: Duration = Duration::from_secs(9 * YEAR);
/// For `dimpl`: later than the first try of ours, so that ours counts. A quarter of it is how long an ACK waits for more to
/// acknowledge (RFC 9147, section 7.1).
pub(super) const LIBRARY_FIRST: Duration = Duration::from_secs(1);
/// For `dimpl`: tries of one flight, a client's duplicates included. Nearly as many as fit into the handshake's time; the
/// last doubling comes to 194 days. Of more than 32 `dimpl` does not remember what it sent.
pub(super) const LIBRARY_TRIES: usize = 24;

/// The first try where no round trip was measured (RFC 9147, section 5.8.2, has 400 ms for its example of real time).
const UNKNOWN: Duration = Duration::from_millis(500);
/// Beyond the measured round trip: half of it, for what a queue adds, and the time in which the peer computes.
const COMPUTING: Duration = Duration::from_millis(50);
/// Below it a timer says nothing of a loss: the peer may be a phone that is busy.
const MIN: Duration = Duration::from_millis(100);
/// Of all tries. A flight has about 1 kB, so one a second leaves a link of 100 kbit/s nine tenths for others.
const MAX: Duration = Duration::from_secs(1);
/// Round trips above it are those of a queue, or of an answer that was long lost.
const MAX_ROUND_TRIP: Duration = Duration::from_secs(3);
/// What `dimpl` names as its next timeout where no flight is out is its limit for the handshake, or lies ten years ahead.
const NEVER: Duration = Duration::from_secs(4 * YEAR);

#[derive(Default)]
pub(super) struct Retransmission {
    /// How far `dimpl`'s clock is ahead.
    ahead: Duration,
    round_trip: Option<Duration>,
    /// When something was last sent, and how often it was sent again before.
    sent_at: Option<Instant>,
    tries: u32,
    /// What `dimpl` waits for, by its clock.
    awaited: Option<Instant>,
}

impl Retransmission {
    /// The time to tell `dimpl`.
    pub fn clock(&self, now: Instant) -> Instant {
        now + self.ahead
    }

    pub fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = Some(round_trip.min(MAX_ROUND_TRIP));
    }

    /// Something came in; what is sent now is a flight that was not sent before, or was asked for.
    pub fn on_received(&mut self) {
        self.tries = 0;
    }

    pub fn on_sent(&mut self, now: Instant) {
        self.sent_at = Some(now);
    }

    /// `at` is by `dimpl`'s clock.
    pub fn on_awaited(&mut self, now: Instant, at: Instant) {
        let is_ever = at.saturating_duration_since(self.clock(now)) < NEVER;
        self.awaited = is_ever.then_some(at);
    }

    /// When [`Self::handle_timeout`] is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let own = self.awaited?.checked_sub(self.ahead)?;
        let ours = self.sent_at.map(|sent_at| sent_at + self.interval(self.tries));
        Some(ours.map_or(own, |ours| ours.min(own)))
    }

    /// The time to tell `dimpl`: its own, or that of what it waits for, if that is due.
    pub fn handle_timeout(&mut self, now: Instant) -> Instant {
        if self.poll_timeout().is_some_and(|due| due <= now)
            && let Some(awaited) = self.awaited
        {
            self.ahead += awaited.saturating_duration_since(self.clock(now));
            self.sent_at = Some(now);
            self.tries += 1;
        }
        self.clock(now)
    }

    /// From the try with that number to the next one.
    pub fn interval(&self, tries: u32) -> Duration {
        let first = self
            .round_trip
            .map_or(UNKNOWN, |round_trip| round_trip * 3 / 2 + COMPUTING);
        let max = MAX.max(first);
        (first.max(MIN) * (1 << tries.min(8))).min(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Sends a flight and lets `dimpl` double its timer; when each try was due.
    fn tries(round_trip: Option<Duration>) -> Vec<u128> {
        let start = Instant::now();
        let mut timer = Retransmission::default();
        if let Some(round_trip) = round_trip {
            timer.set_round_trip(round_trip);
        }
        let (mut now, mut own) = (start, 1_000 * MS);
        let mut due = Vec::new();
        timer.on_received();
        for _ in 0..7 {
            timer.on_sent(now);
            timer.on_awaited(now, timer.clock(now) + own);
            now = timer.poll_timeout().expect("a flight is out");
            assert!(timer.handle_timeout(now - MS) < timer.clock(now - MS) + MS);
            let awaited = timer.awaited.expect("as before");
            assert!(timer.handle_timeout(now) >= awaited, "dimpl takes it for due");
            due.push((now - start).as_millis());
            own *= 2;
        }
        due
    }

    #[test]
    fn tries_follow_the_round_trip_and_are_a_second_apart_at_most() {
        assert_eq!(tries(None), [500, 1_500, 2_500, 3_500, 4_500, 5_500, 6_500]);
        assert_eq!(tries(Some(300 * MS)), [500, 1_500, 2_500, 3_500, 4_500, 5_500, 6_500]);
        assert_eq!(tries(Some(20 * MS)), [100, 300, 700, 1_500, 2_500, 3_500, 4_500]);
    }

    #[test]
    fn what_waits_for_nothing_is_left_alone() {
        let now = Instant::now();
        let mut timer = Retransmission::default();
        timer.on_sent(now);
        timer.on_awaited(now, now + Duration::from_secs(10 * 365 * 24 * 3600));
        assert_eq!(timer.poll_timeout(), None);
        let later = now + Duration::from_secs(60);
        assert_eq!(timer.handle_timeout(later), later, "the clock is not put forward");
    }

    #[test]
    fn a_timer_of_dimpls_that_is_due_before_ours_counts() {
        let now = Instant::now();
        let mut timer = Retransmission::default();
        timer.on_sent(now);
        timer.on_awaited(now, now + 30 * MS);
        assert_eq!(timer.poll_timeout(), Some(now + 30 * MS));
    }
}
