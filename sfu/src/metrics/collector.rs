//! Turns what workers have published into Prometheus samples when it is scraped.

use std::collections::HashMap;
use std::sync::Arc;

use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use tianqiao_sfu_core::drop_reason::{DropClass, DropReason};

use super::counters::LATENCY_BUCKETS;
use super::table::{FAMILIES, WorkerStats};

const DROPS: (&str, &str) = (
    "tianqiao_sfu_drops_total",
    "Packets that went no further though they should have, or should not have been sent, by reason, of all workers.",
);
const DISCARDS: (&str, &str) = (
    "tianqiao_sfu_discards_total",
    "Packets that went no further while all is well, such as probes and copies, by reason, of all workers.",
);
const LATENCY: (&str, &str) = (
    "tianqiao_sfu_forwarding_latency_seconds",
    "From the receipt of a batch of packets to the hand-over to the kernel of those sent for it, for each packet sent.",
);

pub struct WorkerCollector {
    workers: Vec<Arc<WorkerStats>>,
    descs: Vec<Desc>,
}

impl WorkerCollector {
    pub fn register(registry: &Registry, workers: Vec<Arc<WorkerStats>>) -> prometheus::Result<()> {
        let mut descs = Vec::new();
        for family in FAMILIES {
            let labels = ["worker", family.label].into_iter().filter(|label| !label.is_empty());
            let labels = labels.map(str::to_owned).collect();
            descs.push(Desc::new(
                family.name.into(),
                family.help.into(),
                labels,
                HashMap::new(),
            )?);
        }
        for (name, help) in [DROPS, DISCARDS] {
            descs.push(Desc::new(
                name.into(),
                help.into(),
                vec!["reason".into()],
                HashMap::new(),
            )?);
        }
        descs.push(Desc::new(LATENCY.0.into(), LATENCY.1.into(), vec![], HashMap::new())?);
        registry.register(Box::new(Self { workers, descs }))
    }

    /// A sample for each entry of the table and worker.
    fn table(&self) -> Vec<MetricFamily> {
        let mut all: Vec<Vec<Metric>> = FAMILIES.iter().map(|_| Vec::new()).collect();
        for worker in &self.workers {
            let mut values = worker.values();
            let index = label("worker", &worker.worker.0.to_string());
            for (family, metrics) in FAMILIES.iter().zip(&mut all) {
                for sample in family.samples {
                    let value = values.next().unwrap_or(0) as f64 / family.divisor;
                    let mut labels = vec![index.clone()];
                    if !family.label.is_empty() {
                        labels.insert(0, label(family.label, sample.label));
                    }
                    metrics.push(metric(family.kind, value, labels));
                }
            }
        }
        FAMILIES
            .iter()
            .zip(all)
            .map(|(family, metrics)| named((family.name, family.help), family.kind, metrics))
            .collect()
    }

    fn drops(&self, family: (&str, &str), class: DropClass) -> MetricFamily {
        let metrics = DropReason::ALL
            .iter()
            .filter(|reason| reason.class() == class)
            .map(|&reason| {
                let drops: u64 = self.workers.iter().map(|worker| worker.drops(reason)).sum();
                metric(MetricType::COUNTER, drops as f64, vec![label("reason", reason.label())])
            })
            .collect();
        named(family, MetricType::COUNTER, metrics)
    }

    fn latency(&self) -> MetricFamily {
        let mut counts = [0; LATENCY_BUCKETS.len() + 1];
        let mut sum_ns = 0;
        for (buckets, sum) in self.workers.iter().map(|worker| worker.latency()) {
            sum_ns += sum;
            for (count, more) in counts.iter_mut().zip(buckets) {
                *count += more;
            }
        }
        let mut total = 0;
        let mut buckets = Vec::new();
        for (bound, count) in LATENCY_BUCKETS.iter().zip(counts) {
            total += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(total);
            buckets.push(bucket);
        }
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum_ns as f64 / 1e9);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        named(LATENCY, MetricType::HISTOGRAM, vec![metric])
    }
}

impl Collector for WorkerCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut families = self.table();
        families.push(self.drops(DROPS, DropClass::Fault));
        families.push(self.drops(DISCARDS, DropClass::Expected));
        families.push(self.latency());
        families
    }
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.into());
    pair.set_value(value.into());
    pair
}

fn metric(kind: MetricType, value: f64, labels: Vec<LabelPair>) -> Metric {
    let mut metric = Metric::default();
    metric.set_label(labels);
    if kind == MetricType::COUNTER {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
    }
    metric
}

fn named((name, help): (&str, &str), kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.into());
    family.set_help(help.into());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::TextEncoder;
    use tianqiao_sfu_core::counters::Counters;
    use tianqiao_sfu_core::units::WorkerIndex;

    use super::*;
    use crate::metrics::ShellCounters;

    #[test]
    fn what_workers_publish_is_scraped() {
        let workers: Vec<_> = (0..2).map(|i| Arc::new(WorkerStats::new(WorkerIndex(i)))).collect();
        let registry = Registry::new();
        WorkerCollector::register(&registry, workers.clone()).expect("no name twice");

        for (worker, packets) in workers.iter().zip([3, 5]) {
            let mut core = Counters {
                connections: 7,
                rtp_packets_out: packets,
                ..Default::default()
            };
            core.drops.count(DropReason::SrtpAuth);
            core.drops.count(DropReason::RtxDuplicate);
            let mut shell = ShellCounters {
                busy_permille: 250,
                busy_ns: 1_500_000_000,
                ..Default::default()
            };
            shell.drop_packets(DropReason::SrtpAuth, 2);
            shell.latency.record(Duration::from_micros(60), packets);
            worker.publish(&core, &shell);
        }

        let text = TextEncoder::new()
            .encode_to_string(&registry.gather())
            .expect("encodes");
        for line in [
            "tianqiao_sfu_connections{worker=\"1\"} 7",
            "tianqiao_sfu_rtp_packets_total{direction=\"out\",worker=\"0\"} 3",
            "tianqiao_sfu_rtp_packets_total{direction=\"out\",worker=\"1\"} 5",
            "tianqiao_sfu_worker_busy_ratio{worker=\"0\"} 0.25",
            "tianqiao_sfu_worker_busy_seconds_total{worker=\"0\"} 1.5",
            "tianqiao_sfu_drops_total{reason=\"srtp_auth\"} 6",
            "tianqiao_sfu_drops_total{reason=\"too_large\"} 0",
            "tianqiao_sfu_discards_total{reason=\"rtx_duplicate\"} 2",
            "tianqiao_sfu_forwarding_latency_seconds_bucket{le=\"0.00005\"} 0",
            "tianqiao_sfu_forwarding_latency_seconds_bucket{le=\"0.0001\"} 8",
            "tianqiao_sfu_forwarding_latency_seconds_bucket{le=\"+Inf\"} 8",
            "tianqiao_sfu_forwarding_latency_seconds_count 8",
        ] {
            assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("drops_total{reason=\"rtx_duplicate"), "no fault");
    }

    #[test]
    fn the_docs_list_every_metric_and_reason() {
        let docs = include_str!("../../../docs/metrics.md");
        let names = FAMILIES
            .iter()
            .map(|family| family.name)
            .chain([DROPS.0, DISCARDS.0, LATENCY.0]);
        let reasons = DropReason::ALL.iter().map(|reason| reason.label());
        for word in names.chain(reasons) {
            assert!(docs.contains(&format!("`{word}`")), "{word} is not in docs/metrics.md");
        }
    }
}
