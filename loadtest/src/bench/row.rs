//! Rows of the benchmarks' tables.

use serde::Serialize;

use super::load::{Load, thousands};
use super::place::Place;
use crate::cpus::CpuList;
use crate::report::ForwardReport;
use crate::target::TargetKind;

/// From this share of its cores on the generator may be what is measured.
const SATURATED: f64 = 0.85;

/// One run of a load.
#[derive(Clone, Debug)]
pub struct Run {
    pub report: ForwardReport,
    pub floor_us: f64,
}

/// A load on a server.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub server: TargetKind,
    pub scenario: String,
    /// The two parts of its name.
    #[serde(skip)]
    shape: String,
    #[serde(skip)]
    media: String,
    /// The run of the median cost.
    #[serde(flatten)]
    pub report: ForwardReport,
    /// Server CPU by packet of all runs in their order, µs.
    pub runs_us: Vec<f64>,
    /// CPU time as a share of the cores that the server was given.
    pub server_core_share: f64,
    /// The generator was so busy that latencies and losses may be its own.
    pub generator_saturated: bool,
    /// The calibrated floor of each of them, µs: the mean of just before and just after it.
    pub floors_us: Vec<f64>,
    /// Server CPU by packet as a multiple of the floor: the median of the runs, each by its own.
    pub floor_ratio: f64,
}

impl Row {
    /// `None` without runs, or without the server's CPU time.
    pub fn of(server: TargetKind, load: &Load, runs: Vec<Run>, place: &Place) -> Option<Self> {
        let runs_us = runs
            .iter()
            .map(|run| run.report.server_cpu_us_per_packet)
            .collect::<Option<Vec<_>>>()?;
        let floors_us: Vec<_> = runs.iter().map(|run| run.floor_us).collect();
        let ratios: Vec<_> = runs_us.iter().zip(&floors_us).map(|(us, floor)| us / floor).collect();
        let report = runs.into_iter().nth(median(&runs_us)?)?.report;
        let server_cores = report.server_cpus.as_ref().unwrap_or(&place.server.cpus).count() as f64;
        let cores = CpuList::online().ok()?.count() as f64;
        Some(Self {
            server,
            scenario: format!("{} {}", load.shape(), load.media()),
            shape: load.shape(),
            media: load.media(),
            server_core_share: report.server_cpu_share? * cores / server_cores,
            generator_saturated: report.generator_core_share > SATURATED,
            floor_ratio: ratios[median(&ratios)?],
            floors_us,
            report,
            runs_us,
        })
    }

    pub fn us(&self) -> f64 {
        self.report.server_cpu_us_per_packet.unwrap_or_default()
    }

    /// Those of the server; those of the generator.
    fn cpus(&self) -> String {
        let name = |cpus: &Option<CpuList>| cpus.as_ref().map_or("any".to_owned(), CpuList::to_string);
        format!(
            "{}; {}",
            name(&self.report.server_cpus),
            name(&self.report.generator_cpus)
        )
    }

    fn packets_per_second(&self) -> String {
        thousands((self.report.forwarded as f64 / self.report.seconds).round() as u64)
    }

    /// With least and most where there were several runs.
    pub fn cost(&self) -> String {
        let (least, most) = (
            self.runs_us.iter().copied().fold(f64::INFINITY, f64::min),
            self.runs_us.iter().copied().fold(0.0, f64::max),
        );
        match self.runs_us.len() {
            1 => format!("{:.2}", self.us()),
            _ => format!("**{:.2}** ({least:.2}–{most:.2})", self.us()),
        }
    }

    fn floor(&self) -> String {
        let floors: Vec<_> = self.floors_us.iter().map(|floor| format!("{floor:.2}")).collect();
        floors.join(" ")
    }

    pub fn lost(&self) -> String {
        match self.report.lost {
            0 => "0".to_owned(),
            lost => format!("{:.3} %", 100.0 * lost as f64 / self.report.expected.max(1) as f64),
        }
    }

    pub fn latency(&self) -> String {
        let latency = &self.report.latency_ms;
        let mark = if self.generator_saturated { " ¹" } else { "" };
        format!("{:.1} / {:.1} ms{mark}", latency.p50, latency.p99)
    }

    pub fn memory(&self) -> String {
        let bytes = self.report.server_rss_bytes.unwrap_or_default();
        format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))
    }
}

/// The index of the median; of an even number the lower one.
pub fn median(values: &[f64]) -> Option<usize> {
    let mut order: Vec<_> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order.get(values.len().saturating_sub(1) / 2).copied()
}

/// The table of `bench forward`.
pub fn forward_table(rows: &[Row]) -> String {
    let mut lines = vec![vec![
        "Publishers → subscribers".to_owned(),
        "Each sends".to_owned(),
        "Packets/s".to_owned(),
        "CPU µs/packet".to_owned(),
        "Floor µs".to_owned(),
        "× floor".to_owned(),
        "Server core".to_owned(),
        "Generator core".to_owned(),
        "Lost".to_owned(),
        "Latency p50 / p99".to_owned(),
        "Memory".to_owned(),
    ]];
    for row in rows {
        lines.push(vec![
            row.shape.clone(),
            row.media.clone(),
            row.packets_per_second(),
            row.cost(),
            row.floor(),
            format!("{:.2}", row.floor_ratio),
            percent(row.server_core_share),
            generator(row),
            row.lost(),
            row.latency(),
            row.memory(),
        ]);
    }
    markdown(&lines) + footnote(rows)
}

/// The table of one room over one worker, and over more.
pub fn scaling_table(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "Publishers → subscribers",
            "Each sends",
            "CPUs of server, of generator",
            "CPU µs/packet",
            "Busiest worker µs/packet",
            "Packets/s with that worker's core full",
            "× one worker",
            "Lost",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let busiest = |row: &Row| row.report.server_busiest_thread_us_per_packet.unwrap_or_default();
    for row in rows {
        lines.push(vec![
            row.shape.clone(),
            row.media.clone(),
            row.cpus(),
            row.cost(),
            format!("{:.2}", busiest(row)),
            thousands((1e6 / busiest(row)) as u64),
            format!("{:.2}", busiest(&rows[0]) / busiest(row)),
            row.lost(),
        ]);
    }
    markdown(&lines)
}

/// The table of `bench peers`: two rows, ours first, make one line.
pub fn peers_table(pairs: &[(Row, Row)]) -> String {
    let mut lines = vec![
        [
            "Publishers → subscribers, each sends",
            "Tianqiao µs/packet",
            "Janus µs/packet",
            "Janus / Tianqiao",
            "Lost T / J",
            "Latency p50 / p99 T",
            "J",
            "Memory T / J",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (ours, theirs) in pairs {
        lines.push(vec![
            ours.scenario.clone(),
            ours.cost(),
            theirs.cost(),
            format!("{:.1}", theirs.us() / ours.us()),
            format!("{} / {}", ours.lost(), theirs.lost()),
            ours.latency(),
            theirs.latency(),
            format!("{} / {}", ours.memory(), theirs.memory()),
        ]);
    }
    let rows: Vec<_> = pairs
        .iter()
        .flat_map(|(ours, theirs)| [ours.clone(), theirs.clone()])
        .collect();
    markdown(&lines) + footnote(&rows)
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

fn generator(row: &Row) -> String {
    let mark = if row.generator_saturated { " ¹" } else { "" };
    format!("{}{mark}", percent(row.report.generator_core_share))
}

fn footnote(rows: &[Row]) -> &'static str {
    match rows.iter().any(|row| row.generator_saturated) {
        true => "\n¹ the generator's core was more than 85 % busy: loss, and perhaps latency, are its own\n",
        false => "",
    }
}

/// A table that reads as text too.
fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<_> = (0..columns)
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<_> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if index == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("|-{}-|\n", rules.join("-|-"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{KindCounts, Latency};
    use crate::scenario::forward::Shape;

    fn report(us: f64, generator_core_share: f64) -> ForwardReport {
        ForwardReport {
            client: "lean",
            generator_cpus: None,
            server_cpus: None,
            forwarded: 119_880,
            generator_core_share,
            generator_cpu_us_per_packet: 1.0,
            generator_core_percent_per_client: 0.03,
            shape: Shape::Fan {
                publishers: 1,
                subscribers: 50,
            },
            rooms: 1,
            video_kbps: 2_500,
            seconds: 8.0,
            published: 2_400,
            expected: 120_000,
            received: 119_880,
            lost: 120,
            latency_ms: Latency::default(),
            server_cpu_us_per_packet: Some(us),
            server_busiest_thread_us_per_packet: Some(us * 0.9),
            server_rss_bytes: Some(30 << 20),
            server_cpu_share: Some(0.1),
            generator_cpu_share: generator_core_share / 2.0,
            video: KindCounts::default(),
            audio: KindCounts::default(),
            join_ms: Latency::default(),
        }
    }

    fn row(server: TargetKind, costs: &[f64], generator: f64) -> Row {
        let loads = super::super::load::peers(false);
        let load = loads.iter().find(|load| load.runs > 1).unwrap();
        let run = |us: &f64| Run {
            report: report(*us, generator),
            floor_us: 1.0,
        };
        let runs = costs.iter().map(run).collect();
        let place = Place::loopback().unwrap();
        Row::of(server, load, runs, &place).unwrap()
    }

    #[test]
    fn medians_are_of_runs_that_there_were() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2));
        assert_eq!(median(&[1.0, 4.0]), Some(0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_row_tells_its_median_its_floor_and_a_busy_generator() {
        let calm = row(TargetKind::Tianqiao, &[2.5, 1.5, 2.0], 0.5);
        assert_eq!(calm.us(), 2.0);
        assert_eq!(calm.cost(), "**2.00** (1.50–2.50)");
        assert!((calm.floor_ratio - 2.0).abs() < 1e-9);
        assert_eq!((calm.lost().as_str(), calm.generator_saturated), ("0.100 %", false));
        let busy = row(TargetKind::Tianqiao, &[2.0], 0.9);
        assert!(busy.generator_saturated && busy.latency().ends_with('¹'));
        let table = forward_table(&[calm, busy]);
        assert!(table.contains("| 1 → 50 "), "{table}");
        assert!(
            table.contains(" 2,500 kbit/s ") && table.contains("14,985") && table.contains("\n¹ "),
            "{table}"
        );
    }

    #[test]
    fn workers_are_told_by_the_busiest_of_them() {
        let rows = [2.0, 1.0].map(|us| row(TargetKind::Tianqiao, &[us], 0.1));
        let table = scaling_table(&rows);
        assert!(
            table.contains("| 555,555 ") && table.contains("| 1,111,111 "),
            "{table}"
        );
        assert!(table.contains("| 2.00         |"), "{table}");
    }

    #[test]
    fn peers_are_told_by_their_ratio() {
        let pair = (
            row(TargetKind::Tianqiao, &[2.0], 0.1),
            row(TargetKind::Janus, &[25.0, 24.0, 26.0], 0.1),
        );
        let table = peers_table(&[pair]);
        assert!(table.contains("| 12.5 "), "{table}");
        let lengths: std::collections::HashSet<_> = table.lines().map(|line| line.chars().count()).collect();
        assert_eq!(lengths.len(), 1, "{table}");
    }

    #[test]
    fn the_json_of_a_row_has_the_fields_of_a_report() {
        let json = serde_json::to_value(row(TargetKind::Janus, &[25.0], 0.1)).unwrap();
        assert_eq!(json["server"], "janus");
        assert_eq!(json["scenario"], "1 → 50 2,500 kbit/s");
        assert_eq!((&json["publishers"], &json["subscribers"]), (&1.into(), &50.into()));
        assert_eq!(json["server_cpu_us_per_packet"], 25.0);
    }
}
