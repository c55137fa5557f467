//! Prometheus metrics of the media plane. Workers count in plain integers and store them into
//! atomics a few times a second ([`WorkerStats`]); a scrape only reads those.

mod collector;
mod counters;
mod table;

use prometheus::{IntGauge, Registry};

pub use collector::WorkerCollector;
pub use counters::{LATENCY_BUCKETS, Latency, ShellCounters};
pub use table::WorkerStats;

/// What the node's control side counts.
#[derive(Clone, Debug)]
pub struct NodeMetrics {
    pub rooms: IntGauge,
    pub sessions: IntGauge,
}

impl NodeMetrics {
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let metrics = Self {
            rooms: IntGauge::new("tianqiao_sfu_rooms", "Rooms with a session on this node.")?,
            sessions: IntGauge::new("tianqiao_sfu_sessions", "Sessions on this node.")?,
        };
        registry.register(Box::new(metrics.rooms.clone()))?;
        registry.register(Box::new(metrics.sessions.clone()))?;
        Ok(metrics)
    }
}
