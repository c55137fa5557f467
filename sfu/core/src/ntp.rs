//! NTP time for sender reports. The core has no clock: the shell tells once which NTP time an instant was.

use std::time::{Duration, Instant};

/// Seconds from NTP's epoch (1900) to Unix's.
const UNIX_EPOCH: u64 = 2_208_988_800;

#[derive(Clone, Copy, Debug)]
pub struct NtpClock {
    base: Instant,
    /// Since 1900.
    at_base: Duration,
}

impl NtpClock {
    /// `now` was `since_unix_epoch` after the Unix epoch.
    pub fn new(now: Instant, since_unix_epoch: Duration) -> Self {
        Self {
            base: now,
            at_base: since_unix_epoch + Duration::from_secs(UNIX_EPOCH),
        }
    }

    /// NTP's 64 bits: 32 of seconds since 1900, 32 of fraction (RFC 5905, section 6).
    pub fn at(&self, now: Instant) -> u64 {
        let time = self.at_base + now.saturating_duration_since(self.base);
        let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
        (time.as_secs() << 32) | fraction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_second_is_half_the_fraction() {
        let now = Instant::now();
        let clock = NtpClock::new(now, Duration::from_secs(10));
        assert_eq!(
            clock.at(now + Duration::from_millis(1500)),
            ((UNIX_EPOCH + 11) << 32) | (1 << 31)
        );
    }
}
