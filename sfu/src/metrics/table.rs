//! The table of what each worker exports, and the atomics that carry it to a scrape.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::MetricType;
use tianqiao_sfu_core::counters::Counters;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::quality::Cause;
use tianqiao_sfu_core::units::WorkerIndex;

use super::counters::{LATENCY_BUCKETS, ShellCounters};

/// A metric with a sample per worker, or several that differ in one label.
pub(super) struct Family {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: MetricType,
    /// The stored integer is divided by it.
    pub divisor: f64,
    /// The name of the label that the samples' labels are values of; empty where there is one sample.
    pub label: &'static str,
    pub samples: &'static [Sample],
}

pub(super) struct Sample {
    pub label: &'static str,
    read: fn(&Counters, &ShellCounters) -> u64,
}

const fn of(label: &'static str, read: fn(&Counters, &ShellCounters) -> u64) -> Sample {
    Sample { label, read }
}

const fn gauge(name: &'static str, help: &'static str, samples: &'static [Sample]) -> Family {
    Family {
        name,
        help,
        kind: MetricType::GAUGE,
        divisor: 1.0,
        label: "",
        samples,
    }
}

const fn by_cause(name: &'static str, help: &'static str, samples: &'static [Sample]) -> Family {
    Family {
        label: "cause",
        ..gauge(name, help, samples)
    }
}

const fn counter(name: &'static str, help: &'static str, label: &'static str, samples: &'static [Sample]) -> Family {
    Family {
        name,
        help,
        kind: MetricType::COUNTER,
        divisor: 1.0,
        label,
        samples,
    }
}

pub(super) const FAMILIES: &[Family] = &[
    gauge(
        "tianqiao_sfu_connections",
        "Clients' connections on the worker.",
        &[of("", |core, _| core.connections)],
    ),
    gauge(
        "tianqiao_sfu_links_up",
        "Links to other nodes over which something comes.",
        &[of("", |core, _| core.links_up)],
    ),
    counter(
        "tianqiao_sfu_link_packets_total",
        "Media packets over links to other nodes.",
        "direction",
        &[
            of("in", |core, _| core.relayed.media_in),
            of("out", |core, _| core.relayed.media_out),
        ],
    ),
    counter(
        "tianqiao_sfu_link_bytes_total",
        "Bytes of datagrams over links to other nodes.",
        "direction",
        &[
            of("in", |core, _| core.relayed.bytes_in),
            of("out", |core, _| core.relayed.bytes_out),
        ],
    ),
    counter(
        "tianqiao_sfu_link_repairs_total",
        "Media packets that were lost between nodes and sent again.",
        "direction",
        &[
            of("in", |core, _| core.relayed.repairs_in),
            of("out", |core, _| core.relayed.repairs_out),
        ],
    ),
    gauge(
        "tianqiao_sfu_uptracks",
        "Tracks published to the worker.",
        &[of("", |core, _| core.uptracks)],
    ),
    gauge(
        "tianqiao_sfu_downtracks",
        "Slots of subscribers with a source in them.",
        &[of("", |core, _| core.downtracks)],
    ),
    by_cause(
        "tianqiao_sfu_fair_connections",
        "Clients whose link is fair, by what it lacks most.",
        &[
            of("downlink", |core, _| core.fair_connections[Cause::Downlink as usize]),
            of("uplink", |core, _| core.fair_connections[Cause::Uplink as usize]),
            of("loss", |core, _| core.fair_connections[Cause::Loss as usize]),
            of("delay", |core, _| core.fair_connections[Cause::Delay as usize]),
        ],
    ),
    by_cause(
        "tianqiao_sfu_poor_connections",
        "Clients whose link is poor, by what it lacks most.",
        &[
            of("downlink", |core, _| core.poor_connections[Cause::Downlink as usize]),
            of("uplink", |core, _| core.poor_connections[Cause::Uplink as usize]),
            of("loss", |core, _| core.poor_connections[Cause::Loss as usize]),
            of("delay", |core, _| core.poor_connections[Cause::Delay as usize]),
        ],
    ),
    gauge(
        "tianqiao_sfu_tcp_streams",
        "ICE-TCP streams.",
        &[of("", |_, shell| shell.tcp_streams)],
    ),
    counter(
        "tianqiao_sfu_packets_total",
        "Datagrams and ICE-TCP frames of all kinds.",
        "direction",
        &[
            of("in", |_, shell| shell.packets_in),
            of("out", |_, shell| shell.packets_out),
        ],
    ),
    counter(
        "tianqiao_sfu_bytes_total",
        "Bytes of datagrams and ICE-TCP frames, without headers of UDP or TCP and below.",
        "direction",
        &[
            of("in", |_, shell| shell.bytes_in),
            of("out", |_, shell| shell.bytes_out),
        ],
    ),
    counter(
        "tianqiao_sfu_rtp_packets_total",
        "RTP packets from publishers, and forwarded to subscribers without retransmissions.",
        "direction",
        &[
            of("in", |core, _| core.rtp_packets_in),
            of("out", |core, _| core.rtp_packets_out),
        ],
    ),
    counter(
        "tianqiao_sfu_rtp_bytes_total",
        "Bytes of these RTP packets.",
        "direction",
        &[
            of("in", |core, _| core.rtp_bytes_in),
            of("out", |core, _| core.rtp_bytes_out),
        ],
    ),
    counter(
        "tianqiao_sfu_rtcp_packets_total",
        "Compound RTCP packets.",
        "direction",
        &[
            of("in", |core, _| core.rtcp_packets_in),
            of("out", |core, _| core.rtcp_packets_out),
        ],
    ),
    counter(
        "tianqiao_sfu_nacked_packets_total",
        "Packets asked for again: in, by subscribers; out, of publishers.",
        "direction",
        &[
            of("in", |core, _| core.nacked_packets_received),
            of("out", |core, _| core.nacked_packets_sent),
        ],
    ),
    counter(
        "tianqiao_sfu_pli_total",
        "Keyframe requests (PLI and FIR): in, by subscribers; out, to publishers; deferred, of those in, for the subscriber asks too often.",
        "direction",
        &[
            of("in", |core, _| core.keyframe_requests_received),
            of("out", |core, _| core.keyframe_requests_sent),
            of("deferred", |core, _| core.keyframe_requests_deferred),
        ],
    ),
    counter(
        "tianqiao_sfu_retransmissions_total",
        "Packets that subscribers asked for again: sent, or missed because no longer kept.",
        "result",
        &[
            of("sent", |core, _| core.retransmissions_sent),
            of("missed", |core, _| core.retransmissions_missed),
        ],
    ),
    counter(
        "tianqiao_sfu_rtx_packets_total",
        "Packets recovered by publishers' RTX.",
        "",
        &[of("", |core, _| core.rtx_packets_in)],
    ),
    counter(
        "tianqiao_sfu_red_frames_recovered_total",
        "Frames of voices that were lost and came as redundancy in a later packet of their publisher.",
        "",
        &[of("", |core, _| core.red_frames_recovered)],
    ),
    counter(
        "tianqiao_sfu_probe_packets_total",
        "Padding sent to subscribers to find out what their links carry.",
        "",
        &[of("", |core, _| core.probe_packets_out)],
    ),
    counter(
        "tianqiao_sfu_receive_overflows_total",
        "Datagrams that the kernel dropped because the worker was late to fetch them.",
        "",
        &[of("", |_, shell| shell.receive_overflows)],
    ),
    Family {
        name: "tianqiao_sfu_worker_busy_seconds_total",
        help: "Time that the worker did not spend waiting.",
        kind: MetricType::COUNTER,
        divisor: 1e9,
        label: "",
        samples: &[of("", |_, shell| shell.busy_ns)],
    },
    Family {
        name: "tianqiao_sfu_worker_busy_ratio",
        help: "Share of the last second or less that the worker did not spend waiting.",
        kind: MetricType::GAUGE,
        divisor: 1e3,
        label: "",
        samples: &[of("", |_, shell| shell.busy_permille)],
    },
];

fn samples() -> impl Iterator<Item = &'static Sample> {
    FAMILIES.iter().flat_map(|family| family.samples)
}

/// One worker's counters as last published.
pub struct WorkerStats {
    pub worker: WorkerIndex,
    /// In the order of the table.
    values: Box<[AtomicU64]>,
    /// In the order of [`DropReason::ALL`].
    drops: Box<[AtomicU64]>,
    latency: [AtomicU64; LATENCY_BUCKETS.len() + 1],
    latency_sum_ns: AtomicU64,
}

impl WorkerStats {
    pub fn new(worker: WorkerIndex) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            worker,
            values: zeros(samples().count()),
            drops: zeros(DropReason::ALL.len()),
            latency: Default::default(),
            latency_sum_ns: AtomicU64::new(0),
        }
    }

    /// By the worker, a few times a second.
    pub fn publish(&self, core: &Counters, shell: &ShellCounters) {
        for (value, sample) in self.values.iter().zip(samples()) {
            value.store((sample.read)(core, shell), Ordering::Relaxed);
        }
        for (value, &reason) in self.drops.iter().zip(DropReason::ALL) {
            let drops = core.drops.value(reason) + shell.drops.value(reason);
            value.store(drops, Ordering::Relaxed);
        }
        for (value, count) in self.latency.iter().zip(shell.latency.buckets) {
            value.store(count, Ordering::Relaxed);
        }
        self.latency_sum_ns.store(shell.latency.sum_ns, Ordering::Relaxed);
    }

    /// One value of the table; 0 where there is none of that name and label.
    pub fn value(&self, name: &str, label: &str) -> u64 {
        let all = FAMILIES
            .iter()
            .flat_map(|family| family.samples.iter().map(|sample| (family.name, sample.label)));
        let place = all.zip(&self.values).find(|(sample, _)| *sample == (name, label));
        place.map_or(0, |(_, value)| value.load(Ordering::Relaxed))
    }

    /// In the order of the table.
    pub(super) fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.values.iter().map(|value| value.load(Ordering::Relaxed))
    }

    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops[reason as usize].load(Ordering::Relaxed)
    }

    pub(super) fn latency(&self) -> ([u64; LATENCY_BUCKETS.len() + 1], u64) {
        let buckets = self.latency.each_ref().map(|count| count.load(Ordering::Relaxed));
        (buckets, self.latency_sum_ns.load(Ordering::Relaxed))
    }
}
