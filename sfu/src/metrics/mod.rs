//! Prometheus metrics of the media plane. Workers count in plain integers and store them into
//! atomics a few times a second ([`WorkerStats`]); a scrape only reads those.

mod collector;
mod counters;
mod table;

pub use collector::WorkerCollector;
pub use counters::{LATENCY_BUCKETS, Latency, ShellCounters};
pub use table::WorkerStats;
