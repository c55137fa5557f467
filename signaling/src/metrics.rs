//! Counters of the control plane, in the registry that `/metrics` shows.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};
use tianqiao_protocol::ErrorCode;

pub struct Metrics {
    pub meetings: IntGauge,
    pub sessions: IntGaugeVec,
    pub websockets: IntGauge,
    pub ws_messages: IntCounterVec,
    pub ws_bytes: IntCounterVec,
    pub refusals: IntCounterVec,
    pub slow_websockets: IntCounter,
    pub http_requests: IntCounterVec,
    pub http_seconds: HistogramVec,
    pub http_closed: IntCounterVec,
    pub accept_errors: IntCounter,
    pub stills: IntCounterVec,
    pub still_bytes: IntCounterVec,
    pub moves: IntCounterVec,
    pub nodes_lost: IntCounter,
    pub relay_requests: IntCounterVec,
}

/// Seconds; an HTTP answer is made from memory or by one round trip on the bus.
const HTTP_BUCKETS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    /// Fails only where another collector has taken one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        registry.register(Box::new(crate::logging::lost_lines().clone()))?;
        Ok(Self {
            meetings: add(registry, IntGauge::new("tianqiao_meetings", "Meetings that exist."))?,
            sessions: add(
                registry,
                gauges("tianqiao_sessions", "Sessions by kind: web, whip, whep.", &["kind"]),
            )?,
            websockets: add(registry, IntGauge::new("tianqiao_websockets", "Open WebSockets."))?,
            ws_messages: add(
                registry,
                counters(
                    "tianqiao_ws_messages_total",
                    "WebSocket messages by direction and type.",
                    &["direction", "type"],
                ),
            )?,
            ws_bytes: add(
                registry,
                counters(
                    "tianqiao_ws_bytes_total",
                    "Payload bytes of WebSocket messages as sent.",
                    &["direction"],
                ),
            )?,
            refusals: add(
                registry,
                counters(
                    "tianqiao_refusals_total",
                    "Errors that clients were told, by code.",
                    &["code"],
                ),
            )?,
            slow_websockets: add(
                registry,
                IntCounter::new(
                    "tianqiao_slow_websockets_total",
                    "WebSockets that were cut because they did not take their messages.",
                ),
            )?,
            http_requests: add(
                registry,
                counters(
                    "tianqiao_http_requests_total",
                    "HTTP requests by route, method and status.",
                    &["route", "method", "status"],
                ),
            )?,
            http_seconds: add(
                registry,
                HistogramVec::new(
                    HistogramOpts::new("tianqiao_http_request_seconds", "Time to an HTTP answer by route.")
                        .buckets(HTTP_BUCKETS.to_vec()),
                    &["route"],
                ),
            )?,
            http_closed: add(
                registry,
                counters(
                    "tianqiao_http_closed_total",
                    "HTTP connections that the server closed, by reason.",
                    &["reason"],
                ),
            )?,
            stills: add(
                registry,
                counters(
                    "tianqiao_stills_total",
                    "Still pictures: in, of presenters; out, that went out whole.",
                    &["direction"],
                ),
            )?,
            still_bytes: add(
                registry,
                counters(
                    "tianqiao_still_bytes_total",
                    "Bytes of still pictures, out also of those that were given up.",
                    &["direction"],
                ),
            )?,
            moves: add(
                registry,
                counters(
                    "tianqiao_moves_total",
                    "Moves of sessions to other media servers by reason (drain, lost, rebalance) and event (started, retried, done, given_up).",
                    &["reason", "event"],
                ),
            )?,
            nodes_lost: add(
                registry,
                IntCounter::new(
                    "tianqiao_nodes_lost_total",
                    "Media servers that went away or were started again.",
                ),
            )?,
            relay_requests: add(
                registry,
                counters(
                    "tianqiao_relay_requests_total",
                    "Requests that told media servers of a meeting's others, by result (relayed, behind, failed).",
                    &["result"],
                ),
            )?,
            accept_errors: add(
                registry,
                IntCounter::new(
                    "tianqiao_accept_errors_total",
                    "HTTP connections that could not be accepted, mostly for want of files.",
                ),
            )?,
        })
    }
}

impl Metrics {
    pub fn on_refused(&self, code: ErrorCode) {
        let label = serde_json::to_value(code);
        let label = label
            .as_ref()
            .ok()
            .and_then(|label| label.as_str())
            .unwrap_or("internal");
        self.refusals.with_label_values(&[label]).inc();
    }
}

fn counters(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntCounterVec> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), labels)
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: prometheus::Result<C>) -> prometheus::Result<C> {
    let collector = collector?;
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_every_metric() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(page).unwrap_or_default();
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("names are free");
        metrics.sessions.with_label_values(&["web"]).set(1);
        metrics.on_refused(ErrorCode::Internal);
        for counters in [
            &metrics.ws_messages,
            &metrics.http_requests,
            &metrics.ws_bytes,
            &metrics.http_closed,
            &metrics.stills,
            &metrics.still_bytes,
            &metrics.moves,
            &metrics.relay_requests,
        ] {
            let labels = vec!["x"; counters.desc()[0].variable_labels.len()];
            counters.with_label_values(&labels).inc();
        }
        metrics.http_seconds.with_label_values(&["x"]).observe(0.1);
        let families = registry.gather();
        assert_eq!(families.len(), 17);
        for family in families {
            assert!(
                page.contains(&format!("`{}`", family.name())),
                "{} is not in docs/metrics.md",
                family.name()
            );
        }
    }
}
