//! The binary: `tianqiao serve` runs everything in one process.

mod node_settings;

use std::io::Write;
use std::sync::Arc;

use anyhow::Context;
use clap::Command;
use prometheus::Registry;
use tianqiao::{Config, Server, config, logging};
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_sfu::config::SfuConfig;
use tianqiao_sfu::node::Node;
use tokio::signal::unix::{SignalKind, signal};

/// It gives memory back some seconds after a crowd or an attack; glibc's keeps what lies below a long-lived piece.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> anyhow::Result<()> {
    let matches = command().get_matches();
    let Some(("serve", flags)) = matches.subcommand() else {
        unreachable!("clap asks for a sub-command");
    };
    let mut config = Config::load(flags, |name| std::env::var(name).ok())?;
    logging::init(&config)?;
    let mut sfu = node_settings::sfu_config(&config);
    node_settings::fit_to_files(&mut config, &mut sfu);
    tokio::runtime::Runtime::new()?.block_on(serve(config, sfu))
}

fn command() -> Command {
    let serve = Command::new("serve")
        .about("Runs the web page, signaling and a media server in one process")
        .long_about(
            "Runs the web page, signaling and a media server in one process. Prints `ready: URL` once meetings \
             can be held, and `metrics: URL` on a second line; logs go to standard error. Ends with SIGTERM, SIGINT or SIGHUP.",
        )
        .args(config::args());
    Command::new("tianqiao")
        .about("Video meetings through a server of your own")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
}

async fn serve(config: Config, sfu: SfuConfig) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let registry = Registry::new();
    let bus = Arc::new(InProcessBus::new());
    // Signaling first: it must hear the node's events from the first one on.
    let server = Server::start(config, bus.clone(), registry.clone()).await?;
    let node = Node::start(sfu, bus, &registry)
        .await
        .context("the media server does not start")?;

    announce(&server);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
    tracing::info!("stopping");
    server.shutdown().await;
    node.shutdown().await;
    Ok(())
}

/// Nobody may be listening, or the disk behind standard output be full: no reason not to serve.
fn announce(server: &Server) {
    let mut lines = format!("ready: {}\n", server.url());
    if let Some(url) = server.metrics_url() {
        lines += &format!("metrics: {url}\n");
    }
    let mut stdout = std::io::stdout();
    let written = stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush());
    if let Err(error) = written {
        tracing::warn!(%error, url = server.url(), "standard output cannot be written; the server is ready");
    }
}
