//! The binary: `tianqiao serve` runs everything in one process.

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

fn main() -> anyhow::Result<()> {
    let matches = command().get_matches();
    let Some(("serve", flags)) = matches.subcommand() else {
        unreachable!("clap asks for a sub-command");
    };
    let config = Config::load(flags, |name| std::env::var(name).ok())?;
    logging::init(&config)?;
    tokio::runtime::Runtime::new()?.block_on(serve(config))
}

fn command() -> Command {
    let serve = Command::new("serve")
        .about("Runs the web page, signaling and a media server in one process")
        .long_about(
            "Runs the web page, signaling and a media server in one process. Prints one line `ready: URL` once meetings \
             can be held; logs go to standard error. Ends with SIGTERM, SIGINT or SIGHUP.",
        )
        .args(config::args());
    Command::new("tianqiao")
        .about("Video meetings through a server of your own")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(serve)
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let registry = Registry::new();
    let bus = Arc::new(InProcessBus::new());
    // Signaling first: it must hear the node's events from the first one on.
    let server = Server::start(config.clone(), bus.clone(), registry.clone()).await?;
    let node = Node::start(sfu_config(&config), bus, &registry)
        .await
        .context("the media server does not start")?;

    let mut stdout = std::io::stdout();
    writeln!(stdout, "ready: {}", server.url())?;
    stdout.flush()?;
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

fn sfu_config(config: &Config) -> SfuConfig {
    let mut sfu = SfuConfig {
        workers: config.workers,
        pin_workers: config.pin_workers,
        media_addrs: config.media_addr.clone(),
        media_port: config.media_port,
        ..SfuConfig::default()
    };
    sfu.media_bind = config.media_bind.unwrap_or(sfu.media_bind);
    sfu.limits.sessions = config.max_sessions;
    sfu.limits.sessions_per_room = config.max_participants;
    sfu.limits.tracks_per_session = config.max_tracks;
    sfu.limits.slots_per_session = config.max_slots;
    sfu.sdp.max_bytes = config.max_sdp_size.0;
    sfu
}
