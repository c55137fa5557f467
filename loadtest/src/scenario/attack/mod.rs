//! `attack`: strangers and bad members against a server of the tool's own, while three honest participants
//! talk and a fourth joins again and again. What each attack reached, and what the honest ones saw.
//!
//! Everything is over loopback, bounded in time and number. Attackers run on threads of low priority: on one machine
//! they would otherwise take the server's processors away, which no attacker over a network can.

mod attacks;
mod crowd;
mod ctx;
mod fourth;
mod honest;
mod http;
mod isolation;
mod judge;
mod limits;
mod memory;
mod report;
mod text;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures_util::future::BoxFuture;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;
use url::Url;

use self::attacks::ALL;
use self::ctx::{Ctx, Shared, Tally};
use self::fourth::Joins;
use self::honest::{Honest, Judged, PASSCODE, Seen};
use self::judge::Bounds;
use self::memory::Memory;
use crate::client::signaling::connect_from;
use crate::client::{ClientKind, Clients, sdp};
use crate::file_limit;
use crate::process_stats::{CpuSnapshot, resident_bytes};
use crate::server_process::{ServerOptions, ServerProcess};

pub use self::crowd::{CrowdOptions, CrowdReport};
pub use self::isolation::Sources;
pub use self::report::{AttackReport, Row};

const SECONDS: f64 = 10.0;
const SHORT_SECONDS: f64 = 2.0;
/// Before memory is first looked at, the attack goes on for that part of its time: what a server keeps for good
/// at its first use is no leak.
const WARM_UP: f64 = 0.2;
/// For what an attack looks at when it is over.
const OVERTIME: Duration = Duration::from_secs(10);
/// In the meeting of a crowd beside the crowd: who talks, and attackers.
const OTHERS: usize = 100;
/// Open files of the server as most systems have it.
const SERVER_FILES: u64 = 1024;
/// Files of attackers.
const FILES: u64 = 16_384;
/// Added to the priority number of attackers' threads.
const NICE: i32 = 10;

/// An attack of the list.
pub struct Attack {
    pub name: &'static str,
    pub about: &'static str,
    judged: Judged,
    /// Part of the short run.
    in_short: bool,
    run: fn(Ctx) -> BoxFuture<'static, Result<()>>,
}

#[derive(Clone, Debug)]
pub struct AttackOptions {
    pub server: ServerOptions,
    pub sources: Sources,
    /// All where it is empty.
    pub only: Vec<String>,
    pub short: bool,
    pub seconds: Option<f64>,
    /// Shows each row as soon as there is one.
    pub is_verbose: bool,
}

/// The names and what they stand for.
pub fn list() -> impl Iterator<Item = (&'static str, &'static str)> {
    ALL.iter().map(|attack| (attack.name, attack.about))
}

pub async fn run(options: &AttackOptions) -> Result<AttackReport> {
    let attacks = chosen(options)?;
    file_limit::raise_to(FILES)?;
    let stage = Stage::new(options)?;
    let mut world = World::start(&stage).await?;
    let quiet = world.quiet(&stage).await?;
    let bounds = match options.short {
        true => Bounds::short(quiet.fourth.median_ms),
        false => Bounds::FULL,
    };
    let quiet_seen = quiet.honest.clone();
    let mut rows = vec![quiet];
    options.show(&rows[0]);
    for attack in attacks {
        let row = world.suffer(&stage, attack, &bounds, &quiet_seen).await?;
        options.show(&row);
        let is_hurt = !row.faults.is_empty();
        rows.push(row);
        if is_hurt {
            // The next attack is to meet a healthy server.
            world.end().await;
            world = World::start(&stage).await?;
        }
    }
    world.end().await;
    Ok(AttackReport {
        is_isolated: options.sources.is_isolated,
        ipv6_addresses: options.sources.v6().len(),
        rows,
    })
}

/// `crowd`, on the server and from the addresses of `options`.
pub async fn run_crowd(options: &AttackOptions, crowd: &CrowdOptions) -> Result<CrowdReport> {
    file_limit::raise_to(FILES)?;
    let mut options = options.clone();
    // The second crowd is in the same meeting.
    let limit = 2 * crowd.participants + OTHERS;
    options.server.arguments.push(format!("--max-participants={limit}"));
    crowd::run(&Stage::new(&options)?, crowd).await
}

fn attack_named(name: &str) -> Result<&'static Attack> {
    let attack = ALL.iter().find(|attack| attack.name == name);
    attack.with_context(|| {
        let names: Vec<_> = list().map(|(name, _)| name).collect();
        format!("no attack is called {name}; there are {}", names.join(", "))
    })
}

fn chosen(options: &AttackOptions) -> Result<Vec<&'static Attack>> {
    for name in &options.only {
        attack_named(name)?;
    }
    let is_chosen = |attack: &&Attack| match options.only.is_empty() {
        true => !options.short || attack.in_short,
        false => options.only.iter().any(|name| name == attack.name),
    };
    Ok(ALL.iter().filter(is_chosen).collect())
}

impl AttackOptions {
    fn show(&self, row: &Row) {
        if self.is_verbose {
            let mut text = String::new();
            row.write(&mut text);
            eprint!("{text}");
        }
    }
}

/// What all attacks use: clients of honest participants, and threads of low priority for attackers.
struct Stage<'a> {
    options: &'a AttackOptions,
    honest: Clients,
    attackers: Clients,
    runtime: Attackers,
    attack_time: Duration,
}

/// A runtime that is put away without waiting, also from within another one.
struct Attackers(Option<Runtime>);

impl Attackers {
    fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is only taken when dropped").handle()
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl<'a> Stage<'a> {
    fn new(options: &'a AttackOptions) -> Result<Self> {
        let be_nice = || {
            // Threads have priorities of their own on Linux.
            if let Err(error) = rustix::process::nice(NICE) {
                tracing::warn!(%error, "attackers compete with the server for processors");
            }
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("attacker")
            .on_thread_start(be_nice)
            .enable_all()
            .build()?;
        // Threads begin with the priority of those that start them.
        let (sender, receiver) = std::sync::mpsc::channel();
        runtime.spawn(async move { sender.send(ClientKind::Lean.start(1)) });
        let attackers = receiver.recv()??;
        let seconds = options
            .seconds
            .unwrap_or(if options.short { SHORT_SECONDS } else { SECONDS });
        Ok(Self {
            options,
            honest: ClientKind::Lean.start(1)?,
            attackers,
            runtime: Attackers(Some(runtime)),
            attack_time: Duration::from_secs_f64(seconds),
        })
    }
}

/// A server with a meeting in it.
struct World {
    server: ServerProcess,
    url: String,
    http: SocketAddr,
    http6: Option<SocketAddr>,
    media: SocketAddr,
    honest: Honest,
}

/// Where an attacker's IPv6 address finds the server; `None` where it finds none.
async fn reached_over_v6(from: &[Ipv6Addr], port: u16) -> Option<SocketAddr> {
    let from = IpAddr::from(*from.last()?);
    let to = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
    match connect_from(Some(from), to).await {
        Ok(_) => Some(to),
        Err(error) => {
            tracing::warn!(%from, %to, %error, "no attack comes over IPv6");
            None
        }
    }
}

/// What was seen while something, or nothing, went on.
struct Observed {
    seen: Seen,
    joins: Joins,
    peak: Option<u64>,
    cores: f64,
    seconds: f64,
}

impl World {
    async fn start(stage: &Stage<'_>) -> Result<Self> {
        let has_v6 = !stage.options.sources.v6().is_empty();
        let any = if has_v6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            Ipv4Addr::LOCALHOST.into()
        };
        let mut options = stage.options.server.clone();
        options.addr = Some(any);
        options.media_addr = Some(Ipv4Addr::LOCALHOST.into());
        options.arguments.insert(0, "--plain-http".to_owned());
        options.files = Some(SERVER_FILES);
        let server = ServerProcess::start(&options).await?;
        let port = Url::parse(&server.url)?.port().context("a URL without port")?;
        let http = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
        let url = format!("http://{http}");
        let honest = Honest::join(&url, &stage.honest).await;
        let honest = honest.with_context(|| format!("the server says:\n{}", server.log_tail()))?;
        let media = sdp::first_udp_candidate(honest.answer()).context("no media address")?;
        Ok(Self {
            http6: reached_over_v6(stage.options.sources.v6(), port).await,
            server,
            url,
            http,
            media,
            honest,
        })
    }

    async fn end(self) {
        self.honest.leave().await;
        let _ = self.server.stop().await;
    }

    fn ctx(&self, stage: &Stage<'_>, time: Duration) -> Ctx {
        Ctx::new(Shared {
            http: self.http,
            http6: self.http6,
            media: self.media,
            sources: stage.options.sources.clone(),
            meeting: self.honest.meeting.clone(),
            passcode: PASSCODE.to_owned(),
            honest: self.honest.ids(),
            clients: stage.attackers.clone(),
            end: Instant::now() + time,
            tally: Tally::default(),
            servers: Default::default(),
        })
    }

    /// A window without an attack.
    async fn quiet(&mut self, stage: &Stage<'_>) -> Result<Row> {
        let pid = self.server.pid;
        let before = resident_bytes(pid)?;
        let quiet = tokio::time::sleep(stage.attack_time);
        let observed = self.observe(stage, Judged::All, quiet).await;
        let after = resident_bytes(pid)?;
        Ok(Row {
            attack: "none",
            about: "The same window without an attack.",
            seconds: observed.seconds,
            reached: Default::default(),
            honest: observed.seen,
            fourth: observed.joins,
            memory: Memory {
                before_bytes: before,
                peak_bytes: observed.peak.unwrap_or_default(),
                after_bytes: after,
                seconds_to_return: 0.0,
            },
            server_cores: observed.cores,
            faults: vec![],
        })
    }

    async fn suffer(&mut self, stage: &Stage<'_>, attack: &Attack, bounds: &Bounds, quiet: &Seen) -> Result<Row> {
        let pid = self.server.pid;
        if !stage.options.short {
            let ctx = self.ctx(stage, stage.attack_time.mul_f64(WARM_UP));
            let warming = stage.runtime.handle().spawn((attack.run)(ctx));
            let _ = timeout(stage.attack_time + OVERTIME, warming).await;
            let begin = resident_bytes(pid)?;
            memory::settle(pid, begin / 2, Duration::from_secs(1)).await;
        }
        let before = resident_bytes(pid)?;
        let ctx = self.ctx(stage, stage.attack_time);
        let attacking = stage.runtime.handle().spawn((attack.run)(ctx.clone()));
        let mut failure = None;
        let observed = self
            .observe(stage, attack.judged, async {
                match timeout(stage.attack_time + OVERTIME, attacking).await {
                    Ok(Ok(Ok(()))) => {}
                    Ok(Ok(Err(error))) => failure = Some(format!("{error:#}")),
                    Ok(Err(error)) => failure = Some(format!("the attack broke off: {error}")),
                    Err(_) => failure = Some("the attack does not end".to_owned()),
                }
            })
            .await;
        let settled = memory::settle(pid, bounds.memory(before), bounds.settle).await;
        let memory = settled.zip(observed.peak).map(|((after, time), peak)| Memory {
            before_bytes: before,
            peak_bytes: peak,
            after_bytes: after,
            seconds_to_return: time.as_secs_f64(),
        });
        let mut faults = bounds.faults(&observed.seen, quiet, &observed.joins, memory.as_ref());
        faults.extend(failure);
        let reached = ctx.tally.reached();
        if reached.is_nothing() {
            faults.push("nothing of the attack reached the server, so it shows nothing".to_owned());
        }
        Ok(Row {
            attack: attack.name,
            about: attack.about,
            seconds: observed.seconds,
            reached,
            honest: observed.seen,
            fourth: observed.joins,
            memory: memory.unwrap_or_default(),
            server_cores: observed.cores,
            faults,
        })
    }

    /// What the honest ones see until `over`.
    async fn observe(&mut self, stage: &Stage<'_>, judged: Judged, over: impl Future<Output = ()>) -> Observed {
        let pid = self.server.pid;
        let (stop, stopped) = watch::channel(false);
        let meeting = self.honest.meeting.id.clone();
        let fourth = tokio::spawn(fourth::run(
            self.url.clone(),
            meeting,
            stage.honest.clone(),
            stopped.clone(),
        ));
        let peak = tokio::spawn(memory::peak(pid, stopped));
        let window = self.honest.begin_window();
        let (begin, cpu) = (Instant::now(), CpuSnapshot::take(pid).ok());
        over.await;
        let seconds = begin.elapsed().as_secs_f64();
        let spent = CpuSnapshot::take(pid)
            .ok()
            .zip(cpu)
            .map(|(end, begin)| end.since(&begin));
        stop.send_replace(true);
        let joins = fourth.await.unwrap_or_default();
        Observed {
            seen: self.honest.end_window(window, judged).await,
            joins,
            peak: peak.await.ok().flatten(),
            cores: spent.map(|spent| spent.as_secs_f64() / seconds).unwrap_or_default(),
            seconds,
        }
    }
}
