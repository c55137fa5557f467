//! The server's resident memory before, during and after an attack.

use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::process_stats::resident_bytes;

const SAMPLE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Memory {
    pub before_bytes: u64,
    pub peak_bytes: u64,
    pub after_bytes: u64,
    /// Until it was back within the bound, or the limit.
    pub seconds_to_return: f64,
}

/// Follows the peak until `stop`; `None` where the server is gone.
pub async fn peak(pid: u32, stop: watch::Receiver<bool>) -> Option<u64> {
    let mut peak = 0;
    loop {
        peak = resident_bytes(pid).ok()?.max(peak);
        if *stop.borrow() {
            return Some(peak);
        }
        sleep(SAMPLE).await;
    }
}

/// Waits until the memory is at most `bound`; what it is then, or at the limit, and how long that took.
pub async fn settle(pid: u32, bound: u64, limit: Duration) -> Option<(u64, Duration)> {
    let begin = Instant::now();
    loop {
        let resident = resident_bytes(pid).ok()?;
        if resident <= bound || begin.elapsed() >= limit {
            return Some((resident, begin.elapsed()));
        }
        sleep(SAMPLE).await;
    }
}
