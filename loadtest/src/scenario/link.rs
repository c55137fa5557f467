//! `link`: a command behind a weak link, in a network namespace of its own.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use serde::Serialize;
use tianqiao_testnet::Report;
use tianqiao_testnet::link::Counters;
use tianqiao_testnet::profile::{NAMES, Profile};
use tianqiao_testnet::tun_link::TunLink;
use tokio::process::Command;

use crate::report::Table;

/// What the command finds in its environment.
const SERVER_VARIABLE: &str = "TIANQIAO_LINK_SERVER";
const CLIENT_VARIABLE: &str = "TIANQIAO_LINK_CLIENT";

#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// A shipped profile's name or a file.
    pub profile: String,
    pub seed: u64,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its output goes to standard error, as the report alone has the other.
    pub keeps_stdout_free: bool,
}

/// Result of `link`.
#[derive(Debug, Serialize)]
pub struct LinkReport {
    pub profile: String,
    pub seed: u64,
    pub server: Ipv4Addr,
    pub client: Ipv4Addr,
    /// How the command ended; `None` by a signal.
    pub exit_code: Option<i32>,
    /// Packets of the client for elsewhere than the server, which took nothing of the link.
    pub strays: u64,
    #[serde(flatten)]
    pub link: Report,
}

/// The shipped profiles: name and description.
pub fn list() -> Vec<(&'static str, String)> {
    let described = |name: &&'static str| Some((*name, Profile::shipped(name).ok()?.description));
    NAMES.iter().filter_map(described).collect()
}

pub async fn run(options: &LinkOptions) -> Result<LinkReport> {
    let profile = Profile::load(&options.profile)?;
    let link = TunLink::start(&profile, options.seed)?;
    let (server, client) = (link.server(), link.client());
    eprintln!("{}, seed {}", options.profile, options.seed);
    eprintln!("server side: {server} on {}", link.device());
    eprintln!("client side: {client} in namespace {}", link.netns().name());
    let status = run_command(options, &link).await?;
    let report = LinkReport {
        profile: options.profile.clone(),
        seed: options.seed,
        server,
        client,
        exit_code: status.code(),
        strays: link.strays(),
        link: link.report(),
    };
    // It waits for a thread, and for `ip`.
    tokio::task::spawn_blocking(move || drop(link)).await?;
    Ok(report)
}

async fn run_command(options: &LinkOptions, link: &TunLink) -> Result<ExitStatus> {
    let Some((program, arguments)) = options.command.split_first() else {
        bail!("there is no command");
    };
    // It becomes the program by `exec`.
    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", link.netns().name(), program])
        .args(arguments)
        .env(SERVER_VARIABLE, link.server().to_string())
        .env(CLIENT_VARIABLE, link.client().to_string())
        .kill_on_drop(true);
    if options.keeps_stdout_free {
        command.stdout(Stdio::from(io::stderr().as_fd().try_clone_to_owned()?));
    }
    let mut child = command.spawn().context("`ip` is not there: install iproute2")?;
    Ok(child.wait().await?)
}

impl LinkReport {
    /// The command said that all is well.
    pub fn is_good(&self) -> bool {
        self.exit_code == Some(0)
    }
}

impl Table for LinkReport {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let seconds = self.link.seconds;
        let describe = |of: &Counters| {
            let kbps = of.arrived_bytes as f64 * 8e-3 / seconds.max(f64::MIN_POSITIVE);
            format!(
                "{} packets sent, {} arrived ({kbps:.0} kbit/s), {} lost, {} found the queue full, {} fell into an outage",
                of.sent, of.arrived, of.lost, of.overflowed, of.outage
            )
        };
        vec![
            ("link", format!("{}, seed {}, {seconds:.1} s", self.profile, self.seed)),
            ("down", describe(&self.link.counters.down)),
            ("up", describe(&self.link.counters.up)),
            ("for elsewhere", format!("{} packets", self.strays)),
        ]
    }
}
