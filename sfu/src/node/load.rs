//! What the node's workers carry, for its reports.

use std::sync::Arc;
use std::time::Instant;

use tianqiao_protocol::fleet::NodeLoad;

use crate::metrics::WorkerStats;

/// Rates over the time since the last look.
pub struct LoadMeter {
    workers: Vec<Arc<WorkerStats>>,
    looked: Instant,
    last: Sums,
}

/// Bytes and packets since the beginning.
#[derive(Clone, Copy, Default)]
struct Sums {
    bytes_out: u64,
    bytes_in: u64,
    packets_out: u64,
}

impl LoadMeter {
    pub fn new(workers: Vec<Arc<WorkerStats>>, now: Instant) -> Self {
        Self {
            workers,
            looked: now,
            last: Sums::default(),
        }
    }

    /// All but sessions and rooms.
    pub fn measure(&mut self, now: Instant) -> NodeLoad {
        let sum = |name, label| self.workers.iter().map(|worker| worker.value(name, label)).sum::<u64>();
        let sums = Sums {
            bytes_out: sum("tianqiao_sfu_bytes_total", "out"),
            bytes_in: sum("tianqiao_sfu_bytes_total", "in"),
            packets_out: sum("tianqiao_sfu_packets_total", "out"),
        };
        let seconds = now.saturating_duration_since(self.looked).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| (now.saturating_sub(before) as f64 / seconds) as u64;
        let busy = self
            .workers
            .iter()
            .map(|worker| worker.value("tianqiao_sfu_worker_busy_ratio", ""));
        let load = NodeLoad {
            downtracks: u32::try_from(sum("tianqiao_sfu_downtracks", "")).unwrap_or(u32::MAX),
            egress: 8 * rate(sums.bytes_out, self.last.bytes_out),
            ingress: 8 * rate(sums.bytes_in, self.last.bytes_in),
            packets: rate(sums.packets_out, self.last.packets_out),
            busy: busy.max().unwrap_or(0).min(1_000) as u16,
            ..NodeLoad::default()
        };
        self.last = sums;
        self.looked = now;
        load
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tianqiao_sfu_core::counters::Counters;
    use tianqiao_sfu_core::units::WorkerIndex;

    use super::*;
    use crate::metrics::ShellCounters;

    #[test]
    fn rates_are_of_the_time_between_two_looks_and_the_busiest_worker_counts() {
        let start = Instant::now();
        let workers: Vec<_> = (0..2)
            .map(|index| Arc::new(WorkerStats::new(WorkerIndex(index))))
            .collect();
        let mut meter = LoadMeter::new(workers.clone(), start);
        let core = Counters {
            downtracks: 3,
            ..Counters::default()
        };
        let shell = |bytes_out, busy_permille| ShellCounters {
            bytes_out,
            packets_out: bytes_out / 100,
            bytes_in: 500,
            busy_permille,
            ..ShellCounters::default()
        };
        workers[0].publish(&core, &shell(1_000, 300));
        workers[1].publish(&core, &shell(3_000, 700));
        let load = meter.measure(start + Duration::from_secs(2));
        assert_eq!((load.egress, load.ingress, load.packets), (16_000, 4_000, 20));
        assert_eq!((load.downtracks, load.busy), (6, 700));
        let load = meter.measure(start + Duration::from_secs(3));
        assert_eq!((load.egress, load.packets, load.busy), (0, 0, 700));
    }
}
