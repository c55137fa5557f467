//! `tianqiao-loadtest fleet`: a fleet to try things with, until it is told to stop.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use super::{Fleet, FleetOptions};

#[derive(Debug, Args)]
pub struct FleetCommand {
    /// Signaling instances.
    #[arg(long, default_value_t = 2)]
    signaling: usize,
    /// Media nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Where the proxy before signaling listens on loopback; 0: a free port.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The server; default: `tianqiao` beside this tool.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// A further argument for each signaling instance; repeatable.
    #[arg(long = "signaling-arg", allow_hyphen_values = true)]
    signaling_args: Vec<String>,
    /// A further argument for each node; repeatable.
    #[arg(long = "node-arg", allow_hyphen_values = true)]
    node_args: Vec<String>,
    /// Goes on where one of the processes ends; a line on standard error tells of it.
    #[arg(long)]
    keep_going: bool,
}

impl FleetCommand {
    /// Goes on until `stop` or until one of the processes ends; either way all are ended in order.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let options = FleetOptions {
            binary: self.server_bin,
            signaling: self.signaling,
            nodes: self.nodes,
            signaling_args: self.signaling_args,
            node_args: self.node_args,
            port: self.port,
        };
        tokio::pin!(stop);
        let mut fleet = tokio::select! {
            fleet = Fleet::start(&options) => fleet?,
            () = &mut stop => return Ok(()),
        };
        describe(&fleet);
        let ended = loop {
            let ended = tokio::select! {
                ended = fleet.ended() => ended,
                () = &mut stop => break None,
            };
            match ended {
                Ok((name, status)) if self.keep_going => eprintln!("{name} has ended: {status}"),
                ended => break Some(ended),
            }
        };
        let Some(ended) = ended else {
            fleet.stop().await;
            return Ok(());
        };
        let (name, status) = ended?;
        let said = fleet.log_tail(&name);
        fleet.stop().await;
        bail!("{name} has ended: {status}; it said:\n{said}")
    }
}

/// Nobody may be listening: no reason not to go on.
fn describe(fleet: &Fleet) {
    let nats = fleet.nats.pid().unwrap_or_default();
    let mut text = format!(
        "ready: {}\nbus: {}\nnats: process {nats}\n",
        fleet.url(),
        fleet.nats.url()
    );
    for process in fleet.signaling.iter().chain(&fleet.nodes) {
        let pid = process.pid().unwrap_or_default();
        let url = process.metrics_url();
        text += &format!("{}: process {pid}, metrics: {url}\n", process.name());
    }
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}
