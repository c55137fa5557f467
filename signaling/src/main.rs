//! The binary: `tianqiao serve` runs everything in one process.

use std::sync::Arc;

use clap::Command;
use prometheus::Registry;
use tianqiao::{Config, Server, config, logging};
use tianqiao_bus::in_process::InProcessBus;
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
             can be held; logs go to standard error. Ends with SIGTERM or SIGINT.",
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
    let registry = Registry::new();
    let bus = Arc::new(InProcessBus::new());
    let server = Server::start(config.clone(), bus.clone(), registry.clone()).await?;

    println!("ready: {}", server.url());
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    server.shutdown().await;
    Ok(())
}
