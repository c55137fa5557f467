//! What the shell around a worker's core counts.

use std::time::Duration;

use tianqiao_sfu_core::drop_reason::{DropCounters, DropReason};

/// Upper bounds of the forwarding latency's buckets; a last one has none.
pub const LATENCY_BUCKETS: [Duration; 11] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(200),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
];

/// A histogram of how long packets stayed in the worker.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Packets within each bound and above the one before; the last is of those above all.
    pub buckets: [u64; LATENCY_BUCKETS.len() + 1],
    /// Of all packets, in nanoseconds.
    pub sum_ns: u64,
}

impl Latency {
    pub fn record(&mut self, latency: Duration, packets: u64) {
        let bucket = LATENCY_BUCKETS.partition_point(|&bound| bound < latency);
        self.buckets[bucket] += packets;
        self.sum_ns += packets * u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX / 2);
    }
}

/// All values only grow but for `tcp_streams` and `busy_permille`.
#[derive(Clone, Debug, Default)]
pub struct ShellCounters {
    /// Datagrams and TCP frames.
    pub packets_in: u64,
    pub bytes_in: u64,
    pub packets_out: u64,
    pub bytes_out: u64,
    /// Datagrams that the kernel dropped because the worker did not fetch them in time.
    pub receive_overflows: u64,
    pub tcp_streams: u64,
    pub drops: DropCounters,
    pub latency: Latency,
    /// Time not spent waiting, in nanoseconds.
    pub busy_ns: u64,
    /// Share of the time since the last publication that was not spent waiting.
    pub busy_permille: u64,
}

impl ShellCounters {
    pub fn drop_packets(&mut self, reason: DropReason, packets: usize) {
        for _ in 0..packets {
            self.drops.count(reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_fall_into_the_bucket_whose_bound_they_do_not_pass() {
        for (micros, bucket) in [(0, 0), (50, 0), (51, 1), (1_000, 4), (100_000, 10), (100_001, 11)] {
            let mut latency = Latency::default();
            latency.record(Duration::from_micros(micros), 3);
            assert_eq!(latency.buckets[bucket], 3, "{micros} µs");
            assert_eq!(latency.buckets.iter().sum::<u64>(), 3);
            assert_eq!(latency.sum_ns, 3_000 * micros);
        }
    }
}
