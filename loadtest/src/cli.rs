//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{ArgGroup, Args, Parser, Subcommand};
use serde::Serialize;
use tianqiao_testnet::netns::NetworkError;

use crate::bench::Bench;
use crate::client::{ClientKind, Clients};
use crate::cpus::CpuList;
use crate::fleet::FleetCommand;
use crate::report::Table;
use crate::scenario::attack::{AttackOptions, CrowdOptions, Sources};
use crate::scenario::churn::ChurnOptions;
use crate::scenario::forward::{ForwardOptions, Shape};
use crate::scenario::join::JoinOptions;
use crate::scenario::link::LinkOptions;
use crate::scenario::memory::MemoryOptions;
use crate::scenario::weak_network::{Case, SpeakerKind, WeakNetworkOptions};
use crate::scenario::{attack, churn, forward, join, link, memory, weak_network};
use crate::server_limits::{Crowd, fitting};
use crate::server_process::ServerOptions;
use crate::target::whip::WhipOptions;
use crate::target::{Target, TargetKind, TargetOptions};

/// Measures a Tianqiao server with synthetic participants over real signaling, ICE, DTLS and SRTP.
#[derive(Debug, Parser)]
#[command(name = "tianqiao-loadtest", version)]
pub struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Publishers send, subscribers receive: packets, losses, latency and the server's cost.
    Forward {
        #[arg(long, default_value_t = 1)]
        publishers: usize,
        #[arg(long, default_value_t = 50)]
        subscribers: usize,
        /// Instead: so many participants of whom everybody publishes and receives all others.
        #[arg(long, conflicts_with_all = ["publishers", "subscribers"])]
        mesh: Option<usize>,
        /// Meetings of that kind. Audio is only judged where all of a meeting's fits into three slots.
        #[arg(long, default_value_t = 1)]
        rooms: usize,
        /// Video bit rate of each publisher, kbit/s.
        #[arg(long, default_value_t = 2500)]
        video_kbps: u32,
        /// Length of the measured window, which begins when all subscribers receive.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// Publish audio too (the default).
        #[arg(long, overrides_with = "no_audio")]
        audio: bool,
        /// Publish video only.
        #[arg(long)]
        no_audio: bool,
        /// Have receivers tell when each packet came, as browsers do, so that the server estimates their links.
        #[arg(long)]
        feedback: bool,
        #[command(flatten)]
        common: Common,
    },
    /// The tables of docs/performance.md.
    #[command(subcommand)]
    Bench(Bench),
    /// Attacks by strangers and by bad members on a server of the tool's own, while others talk and join.
    Attack(AttackCommand),
    /// Hundreds behind one address join within a minute, lose everything and come back; as many more from as many
    /// addresses come during attacks. Nobody may be refused.
    Crowd(CrowdCommand),
    /// NATS, signaling instances, media nodes and a proxy before them, on loopback, until Ctrl-C.
    Fleet(FleetCommand),
    /// A room fills: times and sizes of the joins, and what one more costs the others.
    Join {
        #[arg(long, default_value_t = 300)]
        participants: usize,
        #[arg(long, default_value_t = 5)]
        publishers: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Runs a command, such as a browser, in a network namespace behind a weak link. Needs root.
    Link(LinkCommand),
    /// What a person behind a weak link hears and sees, measured in real browsers. Needs root, Node and Chromium.
    WeakNetwork(WeakNetworkCommand),
    /// Participants come and go: the server's memory before and after.
    Churn {
        #[arg(long, default_value_t = 1000)]
        cycles: usize,
        /// Cycles under way at once.
        #[arg(long, default_value_t = 8)]
        parallel: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Idle sessions, subscribers and simulcast publishers: what each costs the server in memory.
    Memory {
        /// Idle sessions; 0 leaves the part out, as in the next two.
        #[arg(long, default_value_t = 2000)]
        sessions: usize,
        /// Subscribers that receive nine cameras and three microphones.
        #[arg(long, default_value_t = 200)]
        subscribers: usize,
        /// Publishers of three simulcast layers.
        #[arg(long, default_value_t = 5)]
        publishers: usize,
        /// Idle sessions of one meeting.
        #[arg(long, default_value_t = 100)]
        meeting_size: usize,
        /// How long the server's CPU time is looked at while all sessions idle.
        #[arg(long, default_value_t = 10)]
        idle_seconds: u64,
        /// Bit rate of each of the nine cameras that a subscriber receives, kbit/s.
        #[arg(long, default_value_t = 100)]
        camera_kbps: u32,
        /// Packets that each video stream sends before memory is looked at; the default fills what the
        /// server keeps of a stream.
        #[arg(long, default_value_t = 512)]
        settle_packets: u64,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Args)]
pub struct AttackCommand {
    /// Only these, by their names separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Says which attacks there are and does none.
    #[arg(long)]
    list: bool,
    /// Some of each kind for two seconds each, judged with tolerance for a slow machine.
    #[arg(long)]
    short: bool,
    /// Length of each attack; default: 10, in the short form 2.
    #[arg(long)]
    seconds: Option<f64>,
    #[command(flatten)]
    victim: Victim,
}

#[derive(Debug, Args)]
pub struct CrowdCommand {
    #[arg(long, default_value_t = 500)]
    participants: usize,
    /// For a crowd to join in.
    #[arg(long, default_value_t = 60.0)]
    seconds: f64,
    /// For all to be back in.
    #[arg(long, default_value_t = 30.0)]
    back_seconds: f64,
    /// What goes on while the second crowd joins; see `attack --list`.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "wrong-passcodes,offers-join,silent-websockets"
    )]
    attacks: Vec<String>,
    #[command(flatten)]
    victim: Victim,
}

#[derive(Debug, Args)]
pub struct LinkCommand {
    /// A shipped profile, or a file whose name ends in `.toml`.
    #[arg(long, required_unless_present = "list")]
    profile: Option<String>,
    /// The same seed loses the same packets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Says which profiles are shipped and does nothing else.
    #[arg(long)]
    list: bool,
    /// Print what the link did as JSON and nothing else to standard output; the command's own goes to standard error.
    #[arg(long)]
    json: bool,
    /// What to run at the client's end. It finds both addresses in TIANQIAO_LINK_SERVER and TIANQIAO_LINK_CLIENT.
    #[arg(last = true, required_unless_present = "list")]
    command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct WeakNetworkCommand {
    /// Only these cases, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Case>,
    /// Says which cases there are and does nothing else.
    #[arg(long)]
    list: bool,
    /// Seeds of the links, separated by commas: each case is run with each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    seeds: Vec<u64>,
    /// Length of the measured span of a case in which nothing happens; default: 120.
    #[arg(long)]
    seconds: Option<u64>,
    /// Fails where a bound is missed.
    #[arg(long)]
    check: bool,
    /// Who talks: a recording, or a browser with the page, which takes most of a core.
    #[arg(long, value_enum, default_value_t)]
    speaker: SpeakerKind,
    /// Added to the URL that is opened behind the link.
    #[arg(long, default_value = "")]
    url_extra: String,
    /// Has the browser behind the link hold no more than it thinks itself, whatever the page says.
    #[arg(long)]
    small_buffer: bool,
    /// Three links in short runs, with bounds that only what is broken misses.
    #[arg(long)]
    short: bool,
    /// Who talk at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    voices: u8,
    /// Keeps the runs that the file has, to put variants side by side.
    #[arg(long)]
    append: bool,
    /// Scores the speech that is heard, by PESQ and STOI from PyPI.
    #[arg(long)]
    score: bool,
    /// A word for the table on what is special in this run.
    #[arg(long, default_value = "")]
    variant: String,
    /// The server; default: `tianqiao` beside this tool.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// A further argument for the server; repeatable.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// The web client's folder, for its browser tests' tools.
    #[arg(long, default_value = "web-client")]
    web_client: PathBuf,
    /// The JSON file.
    #[arg(long, default_value = "target/bench/weak-network.json")]
    output: PathBuf,
    /// For what is made once: films and speech.
    #[arg(long, default_value = "target/bench/weak-network")]
    folder: PathBuf,
}

/// A server of the tool's own, and where it is.
#[derive(Debug, Args)]
struct Victim {
    /// The server to attack; default: `tianqiao` beside this tool.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// A further argument for the server; repeatable.
    #[arg(long = "server-arg", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Stay in the machine's own network even where a namespace could be had.
    #[arg(long)]
    no_isolation: bool,
    /// Print the report as JSON and nothing else to standard output.
    #[arg(long)]
    json: bool,
    #[arg(skip)]
    sources: Option<Sources>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("running").args(["url", "whip_url"])))]
struct Common {
    /// The kind of server; join, churn and memory know only tianqiao.
    #[arg(long, value_enum, default_value_t)]
    target: TargetKind,
    /// Base URL of a running server, of Janus' WebSocket with --target janus; without it a server is
    /// started and killed at the end.
    #[arg(long, conflicts_with = "whip_url")]
    url: Option<String>,
    #[command(flatten)]
    whip: WhipOptions,
    /// Join token for all participants; without it the tool creates a meeting. For WHIP the bearer token.
    #[arg(long, requires = "running")]
    token: Option<String>,
    /// Process id of the running server, for its CPU time and memory.
    #[arg(long, requires = "running")]
    server_pid: Option<u32>,
    /// Accept every TLS certificate of the running server.
    #[arg(long, requires = "running")]
    insecure: bool,
    /// The server to start; default: `tianqiao` beside this tool, or /usr/bin/janus.
    #[arg(long, conflicts_with = "running")]
    server_bin: Option<PathBuf>,
    /// Address of the started server; default: 127.0.0.1, for Janus the first that is not loopback.
    #[arg(long, conflicts_with = "running")]
    server_addr: Option<IpAddr>,
    /// Network namespace of the started server (`ip netns`).
    #[arg(long, conflicts_with = "running", requires = "server_addr")]
    server_netns: Option<String>,
    /// CPUs of the started server: a list such as 0,2-3.
    #[arg(long, conflicts_with = "running")]
    server_cpus: Option<CpuList>,
    /// Media workers of the started server; default: the server's own.
    #[arg(long, conflicts_with = "running")]
    workers: Option<usize>,
    /// A further argument for the started server; repeatable.
    #[arg(long = "server-arg", conflicts_with = "running", allow_hyphen_values = true)]
    server_args: Vec<String>,
    /// Kind of the synthetic clients.
    #[arg(long, value_enum, default_value_t)]
    client: ClientKind,
    /// Threads that lean clients share.
    #[arg(long, default_value_t = 1)]
    generator_threads: usize,
    /// CPUs of this tool's own threads: a list such as 0,2-3.
    #[arg(long)]
    generator_cpus: Option<CpuList>,
    /// Print the report as JSON and nothing else to standard output.
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Puts this thread, and those that it starts from now on, where attacks can do no harm.
    pub fn isolate(&mut self) {
        let victim = match &mut self.scenario {
            Scenario::Attack(attack) if !attack.list => &mut attack.victim,
            Scenario::Crowd(crowd) => &mut crowd.victim,
            _ => return,
        };
        victim.sources = (!victim.no_isolation).then(Sources::isolate);
    }

    /// Keeps this thread, and those that it starts from now on, on the generator's CPUs.
    pub fn pin_generator(&self) -> Result<()> {
        let common = self.scenario.common();
        match common.and_then(|common| common.generator_cpus.as_ref()) {
            Some(cpus) => cpus.pin_this_thread(),
            None => Ok(()),
        }
    }

    /// Runs the scenario until it is done or `stop` comes, and prints its report to standard output.
    pub async fn run_until(self, stop: impl Future<Output = ()>) -> Result<()> {
        if let Scenario::Fleet(fleet) = self.scenario {
            return fleet.run(stop).await;
        }
        // Told to stop, the run is dropped, and the server that it started is killed with it.
        tokio::select! {
            result = self.run() => result,
            () = stop => bail!("interrupted"),
        }
    }

    async fn run(self) -> Result<()> {
        match self.scenario {
            Scenario::Fleet(fleet) => fleet.run(std::future::pending()).await,
            Scenario::Bench(bench) => bench.run().await,
            Scenario::Attack(attack) => attack.run().await,
            Scenario::Crowd(crowd) => crowd.run().await,
            Scenario::Link(link) => link.run().await,
            Scenario::WeakNetwork(command) => command.run().await,
            Scenario::Forward {
                publishers,
                subscribers,
                mesh,
                rooms,
                video_kbps,
                seconds,
                no_audio,
                feedback,
                common,
                ..
            } => {
                let options = ForwardOptions {
                    shape: match mesh {
                        Some(participants) => Shape::Mesh { participants },
                        None => Shape::Fan {
                            publishers,
                            subscribers,
                        },
                    },
                    rooms,
                    video_kbps,
                    seconds,
                    audio: !no_audio,
                    feedback,
                    clients: common.clients()?,
                    generator_cpus: common.generator_cpus.clone(),
                    server_cpus: common.server_cpus.clone(),
                };
                let crowd = options.crowd();
                common
                    .run(&crowd, async |target| forward::run(target, &options).await)
                    .await
            }
            Scenario::Join {
                participants,
                publishers,
                common,
            } => {
                let options = JoinOptions {
                    participants,
                    publishers,
                    clients: common.clients()?,
                };
                let crowd = options.crowd();
                common
                    .run(&crowd, async |target| join::run(target, &options).await)
                    .await
            }
            Scenario::Churn {
                cycles,
                parallel,
                common,
            } => {
                let options = ChurnOptions {
                    cycles,
                    parallel,
                    clients: common.clients()?,
                };
                let crowd = options.crowd();
                common
                    .run(&crowd, async |target| churn::run(target, &options).await)
                    .await
            }
            Scenario::Memory {
                sessions,
                subscribers,
                publishers,
                meeting_size,
                idle_seconds,
                camera_kbps,
                settle_packets,
                common,
            } => {
                let options = MemoryOptions {
                    clients: common.clients()?,
                    sessions,
                    meeting_size,
                    idle_seconds,
                    subscribers,
                    publishers,
                    camera_kbps,
                    settle_packets,
                };
                let json = common.json;
                print_report(&memory::run(&common.target()?, &options).await?, json)
            }
        }
    }
}

impl Scenario {
    /// `None` for what chooses its places itself.
    fn common(&self) -> Option<&Common> {
        match self {
            Self::Forward { common, .. }
            | Self::Join { common, .. }
            | Self::Churn { common, .. }
            | Self::Memory { common, .. } => Some(common),
            Self::Bench(_)
            | Self::Attack(_)
            | Self::Crowd(_)
            | Self::Fleet(_)
            | Self::Link(_)
            | Self::WeakNetwork(_) => None,
        }
    }
}

impl AttackCommand {
    async fn run(self) -> Result<()> {
        if self.list {
            for (name, about) in attack::list() {
                println!("{name:20} {about}");
            }
            return Ok(());
        }
        let json = self.victim.json;
        let options = AttackOptions {
            only: self.only,
            short: self.short,
            seconds: self.seconds,
            ..self.victim.options()
        };
        let report = attack::run(&options).await?;
        match json {
            true => println!("{}", serde_json::to_string_pretty(&report)?),
            false => print!("{}", report.table()),
        }
        match report.failed() {
            failed if failed.is_empty() => Ok(()),
            failed => bail!("the server does not stand {}", failed.join(", ")),
        }
    }
}

impl CrowdCommand {
    async fn run(self) -> Result<()> {
        let json = self.victim.json;
        let crowd = CrowdOptions {
            participants: self.participants,
            seconds: self.seconds,
            back_seconds: self.back_seconds,
            attacks: self.attacks,
        };
        let report = attack::run_crowd(&self.victim.options(), &crowd).await?;
        match json {
            true => println!("{}", serde_json::to_string_pretty(&report)?),
            false => print!("{}", report.table()),
        }
        match report.is_good() {
            true => Ok(()),
            false => bail!("not everybody got in, or in time"),
        }
    }
}

impl LinkCommand {
    async fn run(self) -> Result<()> {
        let Some(profile) = self.profile.filter(|_| !self.list) else {
            for (name, about) in link::list() {
                println!("{name:16} {about}");
            }
            return Ok(());
        };
        let options = LinkOptions {
            profile,
            seed: self.seed,
            command: self.command,
            keeps_stdout_free: self.json,
        };
        let report = link::run(&options).await?;
        print_report(&report, self.json)?;
        match report.is_good() {
            true => Ok(()),
            false => bail!("the command did not end well"),
        }
    }
}

impl WeakNetworkCommand {
    async fn run(self) -> Result<()> {
        if self.list {
            for (name, about) in weak_network::list() {
                println!("{name:16} {about}");
            }
            return Ok(());
        }
        let options = WeakNetworkOptions {
            only: self.only,
            seeds: self.seeds,
            seconds: self.seconds,
            url_extra: self.url_extra,
            small_buffer: self.small_buffer,
            speaker: self.speaker,
            server: ServerOptions {
                binary: self.server_bin,
                arguments: self.server_args,
                ..Default::default()
            },
            web_client: self.web_client,
            folder: self.folder,
            output: self.output,
            short: self.short,
            voices: self.voices.into(),
            append: self.append,
            score: self.score,
            variant: self.variant,
        };
        let runs = match weak_network::run(&options).await {
            Err(error) if self.short && is_not_allowed(&error) => {
                eprintln!("SKIPPED: {error:#}");
                return Ok(());
            }
            runs => runs?,
        };
        match runs.iter().all(weak_network::Run::is_good) || !(self.check || self.short) {
            true => Ok(()),
            false => bail!("bounds were missed"),
        }
    }
}

/// This machine has no networks of one's own.
fn is_not_allowed(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<NetworkError>();
    matches!(cause, Some(NetworkError::NotAllowed(_)))
}

impl Victim {
    fn options(self) -> AttackOptions {
        AttackOptions {
            server: ServerOptions {
                binary: self.server_bin,
                arguments: self.server_args,
                ..Default::default()
            },
            sources: self.sources.unwrap_or_else(Sources::shared),
            is_verbose: !self.json,
            only: vec![],
            short: false,
            seconds: None,
        }
    }
}

impl Common {
    fn clients(&self) -> Result<Clients> {
        self.client.start(self.generator_threads)
    }

    /// Without CPUs of its own the server has the machine's, wherever the generator is kept.
    fn server_cpus(&self) -> Result<Option<CpuList>> {
        match (&self.server_cpus, &self.generator_cpus) {
            (Some(cpus), _) => Ok(Some(cpus.clone())),
            (None, Some(_)) => Ok(Some(CpuList::online()?)),
            (None, None) => Ok(None),
        }
    }

    fn target(self) -> Result<TargetOptions> {
        let cpus = self.server_cpus()?;
        Ok(TargetOptions {
            kind: self.target,
            whip: self.whip,
            url: self.url,
            token: self.token,
            server_pid: self.server_pid,
            insecure: self.insecure,
            server: ServerOptions {
                binary: self.server_bin,
                workers: self.workers,
                arguments: self.server_args,
                addr: self.server_addr,
                media_addr: None,
                files: None,
                netns: self.server_netns,
                cpus,
            },
        })
    }

    async fn run<R: Table + Serialize>(
        self,
        crowd: &Crowd,
        scenario: impl AsyncFnOnce(&Target) -> Result<R>,
    ) -> Result<()> {
        let json = self.json;
        let target = Target::open(&fitting(&self.target()?, crowd)).await?;
        let result = scenario(&target).await;
        if let (Err(_), Some(log)) = (&result, target.server_log()) {
            eprintln!("the server's last words:\n{log}");
        }
        target.close().await?;
        print_report(&result?, json)
    }
}

fn print_report<R: Table + Serialize>(report: &R, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn audio_is_on_unless_told_otherwise() {
        for (arguments, silent) in [(vec![], false), (vec!["--no-audio"], true), (vec!["--audio"], false)] {
            let cli = Cli::parse_from(["tianqiao-loadtest", "forward"].into_iter().chain(arguments));
            assert!(matches!(cli.scenario, Scenario::Forward { no_audio, .. } if no_audio == silent));
        }
    }
}
