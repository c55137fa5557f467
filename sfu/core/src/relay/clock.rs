//! The peer's clock as seen from here: an offset that is right but for the shortest time a datagram takes.

use std::time::{Duration, Instant};

/// After that time the shortest way counts anew: clocks drift by some milliseconds in a minute at worst.
const WINDOW: Duration = Duration::from_secs(20);

/// Moments further than that from a link's beginning are none.
const MAX_DISTANCE: Duration = Duration::from_secs(3 * 365 * 24 * 3600);

/// Microseconds since the link's beginning at its sender.
pub(super) type Stamp = u64;

#[derive(Debug)]
pub(super) struct PeerClock {
    epoch: Instant,
    /// Of this window and of the one before: the least of arrival − sending, in µs.
    least: [Option<i64>; 2],
    began: Instant,
}

impl PeerClock {
    pub fn new(now: Instant) -> Self {
        Self {
            epoch: now,
            least: [None; 2],
            began: now,
        }
    }

    /// What our datagrams are stamped with.
    pub fn stamp(&self, now: Instant) -> Stamp {
        now.saturating_duration_since(self.epoch).as_micros() as Stamp
    }

    /// A datagram came that was stamped so.
    pub fn on_stamp(&mut self, now: Instant, sent: Stamp) {
        if now.saturating_duration_since(self.began) > WINDOW {
            self.least = [None, self.least[0]];
            self.began = now;
        }
        let Some(offset) = i64::try_from(sent)
            .ok()
            .and_then(|sent| (self.stamp(now) as i64).checked_sub(sent))
        else {
            return;
        };
        let least = &mut self.least[0];
        *least = Some(least.map_or(offset, |least| least.min(offset)));
    }

    /// One of our moments as the peer will read it, which may lie before the link's beginning.
    pub fn write(&self, at: Instant) -> i64 {
        match at.checked_duration_since(self.epoch) {
            Some(after) => after.as_micros() as i64,
            None => -(self.epoch.saturating_duration_since(at).as_micros() as i64),
        }
    }

    /// A moment of the peer's on our clock; `None` before anything came, and where it lies out of all reason.
    pub fn read(&self, at: i64) -> Option<Instant> {
        let offset = self.least.iter().flatten().min()?;
        let here = at.checked_add(*offset)?;
        let distance = Duration::from_micros(here.unsigned_abs());
        if distance > MAX_DISTANCE {
            return None;
        }
        match here < 0 {
            true => self.epoch.checked_sub(distance),
            false => self.epoch.checked_add(distance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quickest_datagram_sets_the_clock_and_is_forgotten_in_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let peer = PeerClock::new(at(500));
        let mut clock = PeerClock::new(start);
        assert_eq!(clock.read(0), None);
        for (sent, took) in [(600, 40), (700, 10), (800, 90)] {
            clock.on_stamp(at(sent + took), peer.stamp(at(sent)));
        }
        assert_eq!(clock.read(peer.write(at(900))), Some(at(910)));
        assert_eq!(clock.read(peer.write(at(100))), Some(at(110)));
        for second in 1..60 {
            let sent = second * 1_000;
            clock.on_stamp(at(sent + 30), peer.stamp(at(sent)));
        }
        assert_eq!(clock.read(peer.write(at(60_000))), Some(at(60_030)));
        assert_eq!(clock.read(i64::MIN), None);
    }
}
