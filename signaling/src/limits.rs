//! Rates: one token bucket, and buckets by key (IP address, meeting) in bounded memory.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How fast a bucket fills and how much it holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    per_second: f64,
    burst: f64,
}

impl Rate {
    /// A rate or burst of 0 is taken as 1: a limit that lets nothing through is a mistake.
    pub fn per_second(rate: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(rate.max(1)),
            burst: f64::from(burst.max(1)),
        }
    }

    pub fn per_minute(rate: u32, burst: u32) -> Self {
        Self {
            per_second: f64::from(rate.max(1)) / 60.0,
            burst: f64::from(burst.max(1)),
        }
    }

    fn time_to_fill(self) -> Duration {
        Duration::from_secs_f64(self.burst / self.per_second)
    }
}

#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    tokens: f64,
    filled_at: Instant,
}

impl TokenBucket {
    pub fn new(rate: Rate, now: Instant) -> Self {
        Self {
            rate,
            tokens: rate.burst,
            filled_at: now,
        }
    }

    /// Takes one token, or says how long until there is one.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.check(now)?;
        self.tokens -= 1.0;
        Ok(())
    }

    /// As [`Self::take`], but leaves the token.
    pub fn check(&mut self, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
        if self.tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate.per_second))
    }
}

/// Keys that are remembered at a time. Past it a full set of buckets forgets those that have
/// refilled; if none has, unknown keys are refused.
const MAX_KEYS: usize = 100_000;

pub struct KeyedBuckets<K> {
    rate: Rate,
    buckets: Mutex<HashMap<K, TokenBucket>>,
}

impl<K: Eq + Hash> KeyedBuckets<K> {
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            buckets: Mutex::default(),
        }
    }

    /// Takes one of `key`'s tokens, or says how long until there is one.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket| bucket.take(now))
    }

    pub fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket| bucket.check(now))
    }

    fn with(
        &self,
        key: K,
        now: Instant,
        act: impl FnOnce(&mut TokenBucket) -> Result<(), Duration>,
    ) -> Result<(), Duration> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MAX_KEYS && !buckets.contains_key(&key) {
            let full_after = self.rate.time_to_fill();
            buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled_at) < full_after);
            if buckets.len() >= MAX_KEYS {
                return Err(full_after);
            }
        }
        act(buckets.entry(key).or_insert_with(|| TokenBucket::new(self.rate, now)))
    }

    /// Forgets the buckets that are full again.
    pub fn sweep(&self, now: Instant) {
        let full_after = self.rate.time_to_fill();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.retain(|_, bucket| now.saturating_duration_since(bucket.filled_at) < full_after);
        buckets.shrink_to_fit();
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.lock().expect("no panic").len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Rate::per_second(2, 3), start);
        for (millis, passes) in [
            (0, true),
            (0, true),
            (0, true),
            (0, false),
            (400, false),
            (500, true),
            (600, false),
            (1_000, true),
            (60_000, true),
            (60_000, true),
            (60_000, true),
            (60_000, false),
        ] {
            let now = start + Duration::from_millis(millis);
            assert_eq!(bucket.take(now).is_ok(), passes, "{millis}");
        }
    }

    #[test]
    fn the_wait_is_told() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(Rate::per_minute(6, 1), now);
        assert_eq!(bucket.take(now), Ok(()));
        assert_eq!(bucket.take(now), Err(Duration::from_secs(10)));
    }

    #[test]
    fn keys_do_not_share_and_are_forgotten_when_full_again() {
        let now = Instant::now();
        let buckets = KeyedBuckets::new(Rate::per_second(1, 1));
        assert!(buckets.take("a", now).is_ok());
        assert!(buckets.take("a", now).is_err());
        assert!(buckets.take("b", now).is_ok());
        buckets.sweep(now + Duration::from_millis(500));
        assert_eq!(buckets.len(), 2);
        buckets.sweep(now + Duration::from_secs(1));
        assert_eq!(buckets.len(), 0);
    }
}
