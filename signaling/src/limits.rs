//! Rates: one token bucket; and buckets and counts of mistakes by key (address, meeting) in bounded memory.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indexmap::IndexMap;
use rand::Rng;

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

    /// Bytes per second.
    pub const fn bytes(per_second: usize, burst: usize) -> Self {
        Self {
            per_second: if per_second == 0 { 1.0 } else { per_second as f64 },
            burst: if burst == 0 { 1.0 } else { burst as f64 },
        }
    }

    /// A part of it, for one of several who share.
    pub fn share(self, of: f64) -> Self {
        Self {
            per_second: self.per_second / of,
            burst: (self.burst / of).max(1.0),
        }
    }

    /// As many times as much.
    pub fn times(self, factor: f64) -> Self {
        Self {
            per_second: self.per_second * factor,
            burst: self.burst * factor,
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
        self.tokens = self.level(now);
        self.filled_at = self.filled_at.max(now);
        if self.tokens >= 1.0 {
            return Ok(());
        }
        Err(Duration::from_secs_f64((1.0 - self.tokens) / self.rate.per_second))
    }

    /// Takes `tokens` where that many are left, or says how long until they are; more than the burst never are.
    pub fn take_all(&mut self, now: Instant, tokens: usize) -> Result<(), Duration> {
        let needed = tokens as f64;
        self.tokens = self.level(now);
        self.filled_at = self.filled_at.max(now);
        if self.tokens >= needed {
            self.tokens -= needed;
            return Ok(());
        }
        let wait = (needed - self.tokens) / self.rate.per_second;
        Err(Duration::from_secs_f64(wait.min(MAX_WAIT_SECONDS)))
    }

    /// Takes `tokens` that are used already, also those that are not there: they are paid back first.
    pub fn charge(&mut self, now: Instant, tokens: usize) {
        self.tokens = self.level(now) - tokens as f64;
        self.filled_at = self.filled_at.max(now);
    }

    /// Whole tokens that are left.
    pub fn available(&self, now: Instant) -> usize {
        self.level(now).max(0.0) as usize
    }

    pub fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.rate.burst
    }

    fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        (self.tokens + passed * self.rate.per_second).min(self.rate.burst)
    }
}

const MAX_WAIT_SECONDS: f64 = 3600.0;

/// Keys that are remembered at a time. Past it the one of a few picked at random that has most left is forgotten: who
/// invents keys forgets his own first, and nobody is refused for the number of others.
const MAX_KEYS: usize = 100_000;
/// Keys among which the one to be forgotten is chosen.
const CANDIDATES: usize = 8;

pub struct KeyedBuckets<K> {
    rate: Rate,
    capacity: usize,
    buckets: Mutex<IndexMap<K, TokenBucket>>,
}

impl<K: Eq + Hash> KeyedBuckets<K> {
    pub fn new(rate: Rate) -> Self {
        Self::with_capacity(rate, MAX_KEYS)
    }

    fn with_capacity(rate: Rate, capacity: usize) -> Self {
        Self {
            rate,
            capacity,
            buckets: Mutex::default(),
        }
    }

    /// Takes one of `key`'s tokens, or says how long until there is one.
    pub fn take(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket| bucket.take(now))
    }

    /// As [`Self::take`], but leaves the token.
    pub fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.with(key, now, |bucket| bucket.check(now))
    }

    fn with<R>(&self, key: K, now: Instant, act: impl FnOnce(&mut TokenBucket) -> R) -> R {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= self.capacity && !buckets.contains_key(&key) {
            forget_one(&mut buckets, |bucket| bucket.level(now));
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

/// Forgets the entry of a few picked at random of which least is lost.
fn forget_one<K, V>(entries: &mut IndexMap<K, V>, worth_little: impl Fn(&V) -> f64) {
    let picked = (0..CANDIDATES).map(|_| rand::rng().random_range(0..entries.len()));
    let scored = picked.filter_map(|index| Some((index, worth_little(entries.get_index(index)?.1))));
    if let Some((index, _)) = scored.max_by(|(_, a), (_, b)| a.total_cmp(b)) {
        entries.swap_remove_index(index);
    }
}

/// In this time a mistake fades to 1/e, so that a steady rate per minute is what is counted.
const FADE: Duration = Duration::from_secs(60);

/// How many mistakes there were in about the last minute: each counts 1 and fades.
#[derive(Clone, Copy, Debug)]
struct Mistakes {
    level: f64,
    at: Instant,
}

impl Mistakes {
    fn level(&self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.level * (-passed / FADE.as_secs_f64()).exp()
    }
}

/// Counts mistakes by key in bounded memory.
pub struct KeyedMistakes<K> {
    /// As many are free, in a minute and at once.
    free: f64,
    capacity: usize,
    counts: Mutex<IndexMap<K, Mistakes>>,
}

impl<K: Eq + Hash> KeyedMistakes<K> {
    pub fn new(free_per_minute: u32) -> Self {
        Self {
            free: f64::from(free_per_minute.max(1)),
            capacity: MAX_KEYS,
            counts: Mutex::default(),
        }
    }

    pub fn add(&self, key: K, now: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.len() >= self.capacity && !counts.contains_key(&key) {
            forget_one(&mut counts, |mistakes| -mistakes.level(now));
        }
        let mistakes = counts.entry(key).or_insert(Mistakes { level: 0.0, at: now });
        mistakes.level = mistakes.level(now) + 1.0;
        mistakes.at = mistakes.at.max(now);
    }

    /// How many times more than the free ones there were, and when the next one is free; `None`: it is now.
    pub fn excess(&self, key: &K, now: Instant) -> Option<Excess> {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let level = counts.get(key)?.level(now);
        let allowed = self.free - 0.5;
        (level > allowed).then(|| Excess {
            factor: level / self.free,
            wait: FADE.mul_f64((level / allowed).ln()),
        })
    }

    pub fn sweep(&self, now: Instant) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.retain(|_, mistakes| mistakes.level(now) >= 0.5);
        counts.shrink_to_fit();
    }
}

/// Mistakes beyond the free ones.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Excess {
    pub factor: f64,
    pub wait: Duration,
}

impl Excess {
    /// Of two counts the one that weighs more.
    pub fn worse(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) if a.factor >= b.factor => Some(a),
            (_, Some(b)) => Some(b),
            (a, None) => a,
        }
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

    #[test]
    fn bytes_are_taken_whole_or_charged_and_paid_back() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(Rate::bytes(100, 1_000), start);
        assert_eq!(bucket.take_all(start, 900), Ok(()));
        assert_eq!(bucket.take_all(start, 200), Err(Duration::from_secs(1)));
        bucket.charge(start, 300);
        assert_eq!(bucket.take_all(start, 1), Err(Duration::from_millis(2_010)));
        assert_eq!(bucket.take_all(start + Duration::from_secs(3), 100), Ok(()));
        assert!(bucket.is_full(start + Duration::from_secs(60)));
    }

    #[test]
    fn a_full_set_forgets_strangers_and_refuses_nobody() {
        let now = Instant::now();
        let buckets = KeyedBuckets::with_capacity(Rate::per_second(1, 2), 100);
        let known = || {
            let _ = buckets.take(1_000_000, now);
            let _ = buckets.take(1_000_000, now);
        };
        known();
        for stranger in 0..1_000 {
            assert_eq!(buckets.take(stranger, now), Ok(()));
            assert!(buckets.len() <= 100);
        }
        assert!(
            buckets.take(1_000_000, now).is_err(),
            "who has used up his tokens is remembered"
        );
    }

    #[test]
    fn mistakes_are_free_up_to_a_rate_and_fade() {
        let start = Instant::now();
        let mistakes = KeyedMistakes::new(3);
        for _ in 0..3 {
            assert_eq!(mistakes.excess(&"a", start), None);
            mistakes.add("a", start);
        }
        let excess = mistakes.excess(&"a", start).expect("they are used up");
        assert_eq!(excess.factor, 1.0);
        assert_eq!(mistakes.excess(&"b", start), None);
        let just_before = start + excess.wait - Duration::from_millis(1);
        assert!(mistakes.excess(&"a", just_before).is_some());
        assert_eq!(
            mistakes.excess(&"a", start + excess.wait + Duration::from_millis(1)),
            None
        );
        for _ in 0..9 {
            mistakes.add("a", start);
        }
        assert_eq!(mistakes.excess(&"a", start).map(|excess| excess.factor), Some(4.0));
        mistakes.sweep(start + Duration::from_secs(600));
        assert!(mistakes.counts.lock().expect("no panic").is_empty());
    }
}
