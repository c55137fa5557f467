//! What the scenarios find, as JSON or as a table for people.

mod memory;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cpus::CpuList;
use crate::scenario::forward::Shape;

pub use memory::{IdleMemory, IdleStage, MemoryReport, PublisherMemory, SubscriberMemory};

/// Result of `forward`. Packets are those published in the measured window.
#[derive(Clone, Debug, Serialize)]
pub struct ForwardReport {
    /// Kind of the synthetic clients.
    pub client: &'static str,
    /// Of each room.
    #[serde(flatten)]
    pub shape: Shape,
    pub rooms: usize,
    pub video_kbps: u32,
    /// CPUs that this tool and the server were kept on.
    pub generator_cpus: Option<CpuList>,
    pub server_cpus: Option<CpuList>,
    /// Length of the measured window.
    pub seconds: f64,
    pub published: u64,
    /// Published packets × subscribers of each.
    pub expected: u64,
    pub received: u64,
    pub lost: u64,
    /// All that subscribers received, with the audio of which the server forwards only the loudest: what
    /// CPU times are divided by.
    pub forwarded: u64,
    /// From the sending of a packet to the reading of its copy by a subscriber.
    pub latency_ms: Latency,
    /// The server's CPU time by the packets forwarded; `None` without its process.
    pub server_cpu_us_per_packet: Option<f64>,
    /// The CPU time of the server's busiest thread by all packets forwarded: with a million divided by it, in
    /// packets a second, that thread is out of time.
    pub server_busiest_thread_us_per_packet: Option<f64>,
    pub server_rss_bytes: Option<u64>,
    /// CPU time as a share of all the machine's cores, 0 to 1.
    pub server_cpu_share: Option<f64>,
    pub generator_cpu_share: f64,
    /// As a share of the CPUs that this tool was kept on, 0 to 1.
    pub generator_core_share: f64,
    /// This tool's CPU time by the packets that were received.
    pub generator_cpu_us_per_packet: f64,
    /// What a client that receives 300 packets a second takes of a core, in percent.
    pub generator_core_percent_per_client: f64,
    pub video: KindCounts,
    pub audio: KindCounts,
    /// From the opening of the WebSocket to the answer, over all subscribers.
    pub join_ms: Latency,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct KindCounts {
    pub published: u64,
    pub expected: u64,
    pub received: u64,
    /// Received beyond what was expected: audio, where the server forwards only the loudest.
    pub unjudged: u64,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

impl Latency {
    /// `micros`: microseconds.
    pub fn of(micros: &Histogram<u64>) -> Self {
        if micros.is_empty() {
            return Self::default();
        }
        let at = |quantile| micros.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: micros.max() as f64 / 1000.0,
        }
    }

    pub fn of_durations(durations: &[Duration]) -> Self {
        let mut micros = micros_histogram();
        for duration in durations {
            micros.saturating_record(duration.as_micros() as u64);
        }
        Self::of(&micros)
    }
}

/// For microseconds up to a minute, with three significant digits.
pub fn micros_histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("the bounds are valid")
}

/// Result of `join`.
#[derive(Clone, Debug, Serialize)]
pub struct JoinReport {
    pub participants: usize,
    pub publishers: usize,
    /// Until the last participant had its media connection.
    pub seconds: f64,
    /// From the opening of the WebSocket to the answer.
    pub answered_ms: Latency,
    /// From the opening of the WebSocket until ICE and DTLS are up.
    pub connected_ms: Latency,
    /// Sizes as the room grew.
    pub joins: Vec<JoinSize>,
    /// What the others were told while one more participant joined.
    pub further_join: FurtherJoin,
    pub server_rss_bytes: Option<u64>,
    pub server_cpu_ms_per_join: Option<f64>,
}

/// The `nth` join of a room.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct JoinSize {
    pub nth: usize,
    pub offer_bytes: usize,
    pub answer_bytes: usize,
    /// WebSocket payloads of the join, compressed, room state included.
    pub websocket_sent_bytes: u64,
    pub websocket_received_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FurtherJoin {
    /// Participants who were told of it by a roster message.
    pub told: usize,
    /// Answers that others got: renegotiations. Must be 0.
    pub renegotiations: usize,
    pub other_messages: usize,
}

/// Result of `churn`.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnReport {
    pub cycles: usize,
    /// Cycles before memory is first looked at.
    pub warm_up_cycles: usize,
    pub seconds: f64,
    pub server_rss_before_bytes: Option<u64>,
    pub server_rss_after_bytes: Option<u64>,
    /// Growth by cycle, in bytes.
    pub growth_per_cycle_bytes: Option<f64>,
    pub cycle_ms: Latency,
}

/// A report that people can read.
pub trait Table {
    fn rows(&self) -> Vec<(&'static str, String)>;

    fn table(&self) -> String {
        let rows = self.rows();
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
        rows.iter()
            .map(|(name, value)| format!("{name:width$}  {value}\n"))
            .collect()
    }
}

impl Table for ForwardReport {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let pinned = |cpus: &Option<CpuList>| cpus.as_ref().map_or_else(|| "any".to_owned(), ToString::to_string);
        let lost = 100.0 * self.lost as f64 / self.expected.max(1) as f64;
        vec![
            (
                "publishers → subscribers",
                match self.rooms {
                    1 => self.shape.to_string(),
                    rooms => format!("{rooms} rooms of {}", self.shape),
                },
            ),
            (
                "video",
                format!("{} kbit/s each, for {:.1} s", self.video_kbps, self.seconds),
            ),
            ("clients", self.client.to_owned()),
            (
                "CPUs",
                format!(
                    "server on {}, generator on {}",
                    pinned(&self.server_cpus),
                    pinned(&self.generator_cpus)
                ),
            ),
            ("published", self.published.to_string()),
            ("expected", self.expected.to_string()),
            (
                "received",
                match self.audio.unjudged {
                    0 => self.received.to_string(),
                    unjudged => format!("{} and {unjudged} of the loudest audio", self.received),
                },
            ),
            ("lost", format!("{} ({lost:.3} %)", self.lost)),
            ("latency", self.latency_ms.to_string()),
            (
                "server CPU per packet",
                or_unknown(self.server_cpu_us_per_packet, |us| format!("{us:.2} µs")),
            ),
            ("server CPU", or_unknown(self.server_cpu_share, percent)),
            ("server memory", or_unknown(self.server_rss_bytes, mebibytes)),
            ("generator CPU", self.generator()),
            ("join", self.join_ms.to_string()),
        ]
    }
}

impl ForwardReport {
    fn generator(&self) -> String {
        format!(
            "{:.2} µs per packet, {:.0} % of its CPUs, {}; {:.3} % of a core for a client at 300 packets/s",
            self.generator_cpu_us_per_packet,
            100.0 * self.generator_core_share,
            percent(self.generator_cpu_share),
            self.generator_core_percent_per_client
        )
    }
}

impl Table for JoinReport {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let further = &self.further_join;
        let mut rows = vec![
            (
                "participants",
                format!("{}, of whom {} publish", self.participants, self.publishers),
            ),
            ("all connected after", format!("{:.1} s", self.seconds)),
            ("answer", self.answered_ms.to_string()),
            ("connected", self.connected_ms.to_string()),
            (
                "server CPU per join",
                or_unknown(self.server_cpu_ms_per_join, |ms| format!("{ms:.2} ms")),
            ),
            ("server memory", or_unknown(self.server_rss_bytes, mebibytes)),
        ];
        for join in &self.joins {
            let JoinSize {
                nth,
                offer_bytes,
                answer_bytes,
                websocket_sent_bytes,
                websocket_received_bytes,
            } = join;
            let sizes = format!(
                "offer {offer_bytes} B, answer {answer_bytes} B; WebSocket {websocket_sent_bytes} B out, \
                 {websocket_received_bytes} B in"
            );
            rows.push(("join", format!("no. {nth}: {sizes}")));
        }
        let told = format!(
            "{} told by roster, {} renegotiations",
            further.told, further.renegotiations
        );
        rows.push(("one more join", told));
        rows
    }
}

impl Table for ChurnReport {
    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            (
                "cycles",
                format!(
                    "{} after {} to warm up, in {:.1} s",
                    self.cycles, self.warm_up_cycles, self.seconds
                ),
            ),
            ("cycle", self.cycle_ms.to_string()),
            (
                "server memory before",
                or_unknown(self.server_rss_before_bytes, mebibytes),
            ),
            (
                "server memory after",
                or_unknown(self.server_rss_after_bytes, mebibytes),
            ),
            (
                "growth per cycle",
                or_unknown(self.growth_per_cycle_bytes, |bytes| format!("{bytes:.0} B")),
            ),
        ]
    }
}

impl std::fmt::Display for Latency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "p50 {:.2} ms, p99 {:.2} ms, max {:.2} ms",
            self.p50, self.p99, self.max
        )
    }
}

fn or_unknown<T>(value: Option<T>, text: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| "unknown (--server-pid)".to_owned(), text)
}

fn percent(share: f64) -> String {
    format!("{:.1} % of the machine", share * 100.0)
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_milliseconds() {
        let durations: Vec<_> = (1..=100).map(Duration::from_millis).collect();
        let latency = Latency::of_durations(&durations);
        assert!(
            (latency.p50 - 50.0).abs() < 0.1 && (latency.p99 - 99.0).abs() < 0.1,
            "{latency:?}"
        );
        assert_eq!(Latency::of_durations(&[]), Latency::default());
    }

    #[test]
    fn tables_align() {
        let report = ChurnReport {
            cycles: 10,
            warm_up_cycles: 1,
            seconds: 1.0,
            server_rss_before_bytes: None,
            server_rss_after_bytes: Some(1 << 20),
            growth_per_cycle_bytes: Some(0.4),
            cycle_ms: Latency::default(),
        };
        let table = report.table();
        assert!(table.contains("server memory after   1.0 MiB\n"), "{table}");
        assert!(table.contains("unknown (--server-pid)"), "{table}");
    }
}
