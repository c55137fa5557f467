//! The estimator's clock: whole microseconds, signed, since clocks of two hosts are subtracted from each other.

use std::ops::{Add, AddAssign, Sub};
use std::time::{Duration, Instant};

use crate::units::Bitrate;

/// A moment, counted from the estimator's beginning, or a span between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Micros(pub i64);

impl Micros {
    pub const ZERO: Self = Self(0);
    /// Later than any moment.
    pub const NEVER: Self = Self(i64::MAX);

    pub const fn millis(millis: i64) -> Self {
        Self(millis * 1_000)
    }

    pub const fn secs(secs: i64) -> Self {
        Self(secs * 1_000_000)
    }

    /// The moment `now` of a clock that began at `epoch`.
    pub fn since(epoch: Instant, now: Instant) -> Self {
        Self(now.saturating_duration_since(epoch).as_micros() as i64)
    }

    pub fn as_millis(self) -> f64 {
        self.0 as f64 / 1e3
    }

    pub fn as_secs(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// As a span; a negative one is none.
    pub fn duration(self) -> Duration {
        Duration::from_micros(self.0.max(0) as u64)
    }

    /// The rate of so many bytes in this span; a span of nothing counts as a microsecond.
    pub fn rate_of(self, bytes: u64) -> Bitrate {
        Bitrate(bytes.saturating_mul(8_000_000) / self.0.max(1) as u64)
    }
}

impl Add for Micros {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Micros {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Micros {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
