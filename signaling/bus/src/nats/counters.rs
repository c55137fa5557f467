//! What went wrong on the bus, for metrics.

use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default)]
pub struct Counters {
    /// Events that this process could not hand to the bus.
    pub events_dropped: Counter,
    /// Times that events to this process were found to be lost.
    pub events_missed: Counter,
    /// Messages that cannot be understood, of a later version or of a stranger.
    pub not_understood: Counter,
    /// Requests that came again.
    pub requests_repeated: Counter,
    /// Load reports that could not be sent or read in time.
    pub reports_dropped: Counter,
    /// Times that the bus went away.
    pub outages: Counter,
}

#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
