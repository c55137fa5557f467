//! `bench`: the tables of docs/performance.md on whatever machine this runs on.

mod calibration;
mod load;
mod machine;
mod netns;
mod place;
mod row;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use serde::Serialize;

use self::calibration::Calibration;
use self::load::Load;
use self::machine::Machine;
use self::netns::Veth;
use self::place::Place;
use self::row::{Row, Run};
use crate::report::ForwardReport;
use crate::scenario::forward::{self, ForwardOptions};
use crate::server_limits::fitting;
use crate::server_process::{ServerOptions, default_binary};
use crate::target::{Target, TargetKind, TargetOptions, janus};

#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Our server on loopback: what a forwarded packet costs, by shape and bit rate.
    Forward(BenchOptions),
    /// Our server and Janus in alternation, with the same clients, in network namespaces; needs root.
    Peers(BenchOptions),
}

#[derive(Args, Debug)]
pub struct BenchOptions {
    /// Few and short runs that only show that it works.
    #[arg(long)]
    quick: bool,
    /// The JSON file; default: target/bench/forward.json or peers.json.
    #[arg(long)]
    output: Option<PathBuf>,
    /// Our server; default: `tianqiao` beside this tool.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Janus.
    #[arg(long, default_value = janus::BINARY)]
    janus_bin: PathBuf,
}

/// The JSON file of a benchmark.
#[derive(Serialize)]
struct Results<'a> {
    machine: &'a Machine,
    place: &'a Place,
    calibration: &'a Calibration,
    rows: Vec<&'a Row>,
}

impl Bench {
    pub async fn run(self) -> Result<()> {
        match self {
            Self::Forward(options) => run_forward(&options).await,
            Self::Peers(options) => run_peers(&options).await,
        }
    }
}

async fn run_forward(options: &BenchOptions) -> Result<()> {
    let place = Place::loopback()?;
    let runner = Runner::new(options, place)?;
    let (machine, calibration) = runner.begin(&[TargetKind::Tianqiao], "loopback").await?;
    let mut rows = Vec::new();
    for load in load::forward(options.quick) {
        let mut runs = Vec::new();
        for _ in 0..load.runs {
            runs.push(runner.run(TargetKind::Tianqiao, &load).await?);
        }
        rows.push(runner.row(TargetKind::Tianqiao, &load, runs)?);
    }
    println!("\n{}", row::forward_table(&rows));
    let scaling = runner.scaling(options.quick).await?;
    println!("one room over workers\n\n{}", row::scaling_table(&scaling));
    rows.extend(scaling);
    runner.write(options, "forward.json", &machine, &calibration, rows.iter().collect())
}

async fn run_peers(options: &BenchOptions) -> Result<()> {
    let peers = [TargetKind::Tianqiao, TargetKind::Janus];
    ensure!(
        options.janus_bin.is_file(),
        "{} is not there: install Debian's package `janus` (`make bench-peers` does)",
        options.janus_bin.display()
    );
    let veth = Veth::create()?;
    let runner = Runner::new(options, veth.place(Place::loopback()?))?;
    let (machine, calibration) = runner.begin(&peers, "a veth pair").await?;
    let mut pairs = Vec::new();
    for load in load::peers(options.quick) {
        let mut runs = [Vec::new(), Vec::new()];
        for turn in alternation(load.runs) {
            runs[turn].push(runner.run(peers[turn], &load).await?);
        }
        let [ours, theirs] = runs;
        pairs.push((runner.row(peers[0], &load, ours)?, runner.row(peers[1], &load, theirs)?));
    }
    println!("\n{}", row::peers_table(&pairs));
    let rows = pairs.iter().flat_map(|(ours, theirs)| [ours, theirs]).collect();
    runner.write(options, "peers.json", &machine, &calibration, rows)
}

/// Indices of the two peers in turns, so that what else the machine does falls on both alike.
fn alternation(runs: usize) -> impl Iterator<Item = usize> {
    (0..2 * runs).map(|turn| turn % 2)
}

struct Runner {
    place: Place,
    tianqiao: PathBuf,
    janus: PathBuf,
}

impl Runner {
    fn new(options: &BenchOptions, place: Place) -> Result<Self> {
        let tianqiao = match &options.server_bin {
            Some(binary) => binary.clone(),
            None => default_binary()?,
        };
        Ok(Self {
            place,
            tianqiao,
            janus: options.janus_bin.clone(),
        })
    }

    fn binary(&self, server: TargetKind) -> &Path {
        match server {
            TargetKind::Janus => &self.janus,
            _ => &self.tianqiao,
        }
    }

    /// Calibrates, warms up and prints what the tables stand on.
    async fn begin(&self, servers: &[TargetKind], network: &str) -> Result<(Machine, Calibration)> {
        let binaries: Vec<_> = servers.iter().map(|server| self.binary(*server)).collect();
        let machine = Machine::describe(&binaries)?;
        println!("{}", machine.line());
        let calibration = self.calibrate().await?;
        let apart = if self.place.is_apart() {
            ""
        } else {
            ", the same: there is no second"
        };
        println!(
            "over {network}; server on CPU {}, generator on CPU {}{apart}",
            self.place.server.cpus, self.place.generator.cpus
        );
        let gso = if calibration.has_gso {
            ""
        } else {
            " (this kernel has none)"
        };
        println!(
            "calibration, µs by packet of 1,100 bytes: AES-128-GCM {:.2}; datagram by GSO of 8{gso} {:.2}, by sendmmsg {:.2}; \
             floor (AES + GSO of 8) {:.2}",
            calibration.aes_ns / 1e3,
            calibration.gso8_ns / 1e3,
            calibration.plain_ns / 1e3,
            calibration.floor_us()
        );
        for server in servers {
            self.run(*server, &load::warm_up()).await?;
        }
        Ok((machine, calibration))
    }

    async fn calibrate(&self) -> Result<Calibration> {
        let place = self.place.clone();
        tokio::task::spawn_blocking(move || Calibration::measure(&place)).await?
    }

    /// One run with a fresh server, and what the machine can do just before it and just after it: on shared hardware
    /// that is another figure a minute later.
    async fn run(&self, server: TargetKind, load: &Load) -> Result<Run> {
        let before = self.calibrate().await?.floor_us();
        let place = match load.workers {
            Some(workers) => self.place.spread(workers.cpus, load::WORKER_CPUS)?,
            None => self.place.clone(),
        };
        let side = &place.server;
        let target = TargetOptions {
            kind: server,
            server: ServerOptions {
                binary: Some(self.binary(server).to_owned()),
                addr: Some(side.addr),
                netns: side.netns.clone(),
                cpus: Some(side.cpus.clone()),
                workers: load.workers.map(|workers| workers.count),
                ..Default::default()
            },
            ..Default::default()
        };
        let load_there = *load;
        let generator = place.generator.clone();
        let run = async move || forward_on(&target, &load_there.start(&place)?).await;
        let report = generator.run(run).await;
        let report = report.with_context(|| format!("{server:?} at {load:?}"))?;
        let floor_us = (before + self.calibrate().await?.floor_us()) / 2.0;
        eprintln!(
            "{server:?}: {}, {}: {:.2} µs/packet at a floor of {floor_us:.2}, {} of {} lost",
            load.shape(),
            load.media(),
            report.server_cpu_us_per_packet.unwrap_or_default(),
            report.lost,
            report.expected
        );
        Ok(Run { report, floor_us })
    }

    /// One room over workers, in turns.
    async fn scaling(&self, quick: bool) -> Result<Vec<Row>> {
        let loads = load::scaling(quick);
        let mut runs = vec![Vec::new(); loads.len()];
        for turn in 0..loads[0].runs * loads.len() {
            let index = turn % loads.len();
            runs[index].push(self.run(TargetKind::Tianqiao, &loads[index]).await?);
        }
        loads
            .iter()
            .zip(runs)
            .map(|(load, runs)| self.row(TargetKind::Tianqiao, load, runs))
            .collect()
    }

    fn row(&self, server: TargetKind, load: &Load, runs: Vec<Run>) -> Result<Row> {
        Row::of(server, load, runs, &self.place).context("a run has no CPU time of its server")
    }

    fn write(
        &self,
        options: &BenchOptions,
        name: &str,
        machine: &Machine,
        calibration: &Calibration,
        rows: Vec<&Row>,
    ) -> Result<()> {
        let path = match &options.output {
            Some(path) => path.clone(),
            None => Path::new("target/bench").join(name),
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
        }
        let results = Results {
            machine,
            place: &self.place,
            calibration,
            rows,
        };
        fs::write(&path, serde_json::to_string_pretty(&results)?)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        println!("written to {}", path.display());
        Ok(())
    }
}

async fn forward_on(target: &TargetOptions, options: &ForwardOptions) -> Result<ForwardReport> {
    let target = Target::open(&fitting(target, &options.crowd())).await?;
    let report = forward::run(&target, options).await;
    let report = match (report, target.server_log()) {
        (Err(error), Some(log)) => Err(error.context(format!("the server's last words:\n{log}"))),
        (report, _) => report,
    };
    target.close().await?;
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_take_turns() {
        assert_eq!(alternation(3).collect::<Vec<_>>(), [0, 1, 0, 1, 0, 1]);
        assert_eq!(alternation(1).collect::<Vec<_>>(), [0, 1]);
    }
}
