//! Counters of the control plane, in the registry that `/metrics` shows.

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

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
}

/// Seconds; an HTTP answer is made from memory or by one round trip on the bus.
const HTTP_BUCKETS: [f64; 9] = [0.000_5, 0.001, 0.002_5, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

impl Metrics {
    /// Fails only where another collector has taken one of the names.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
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
        })
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
