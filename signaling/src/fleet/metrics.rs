//! Counters of what passes between the instances of a fleet.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

pub struct FleetMetrics {
    /// By result: `taken`; `lost`, another was first; `failed`.
    pub takeovers: IntCounterVec,
    /// Requests and WebSockets of meetings that others own, by kind (`http`, `websocket`) and result (`passed`,
    /// `unreachable`, `moved`).
    pub proxied: IntCounterVec,
    /// Meetings that were given up because another instance owns them, by who said so: `node`, `store`.
    pub lost_claims: IntCounterVec,
    /// By result: `written`, `superseded`, `failed`.
    pub snapshots: IntCounterVec,
    /// Sessions that came from nodes by adoption, by result: `adopted`, `malformed`.
    pub adopted: IntCounterVec,
    /// Instances that are registered, this one included.
    pub instances: IntGauge,
}

impl FleetMetrics {
    /// Fails only where another collector has taken one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let instances = IntGauge::new("tianqiao_fleet_instances", "Signaling instances that are registered.")?;
        registry.register(Box::new(instances.clone()))?;
        Ok(Self {
            takeovers: counters(
                "tianqiao_fleet_takeovers_total",
                "Meetings of dead instances, by result: taken, lost, failed.",
                &["result"],
            )?,
            proxied: counters(
                "tianqiao_fleet_proxied_total",
                "What was passed on to the meeting's owner, by kind and result.",
                &["kind", "result"],
            )?,
            lost_claims: counters(
                "tianqiao_fleet_lost_claims_total",
                "Meetings that another instance has taken over from this one, by who told.",
                &["told_by"],
            )?,
            snapshots: counters(
                "tianqiao_fleet_snapshots_total",
                "Snapshots of meetings, by result: written, superseded, failed.",
                &["result"],
            )?,
            adopted: counters(
                "tianqiao_fleet_adopted_sessions_total",
                "Sessions that nodes have told of, by result: adopted, malformed.",
                &["result"],
            )?,
            instances,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_metric() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap_or_default();
        let registry = Registry::new();
        let metrics = FleetMetrics::register(&registry).expect("names are free");
        for counters in [
            &metrics.takeovers,
            &metrics.lost_claims,
            &metrics.snapshots,
            &metrics.adopted,
        ] {
            counters.with_label_values(&["x"]).inc();
        }
        metrics.proxied.with_label_values(&["x", "x"]).inc();
        let families = registry.gather();
        assert_eq!(families.len(), 6);
        for family in families {
            assert!(page.contains(&format!("`{}`", family.name())), "{}", family.name());
        }
    }
}
