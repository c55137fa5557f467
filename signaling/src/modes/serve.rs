//! `tianqiao serve`: everything in one process.

use std::sync::Arc;

use anyhow::Context;
use prometheus::Registry;
use tianqiao::{Config, Server};
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_sfu::config::SfuConfig;
use tianqiao_sfu::node::Node;

use super::{Signals, announce_server};

pub async fn run(config: Config, sfu: SfuConfig) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let registry = Registry::new();
    let bus = Arc::new(InProcessBus::new());
    // Signaling first: it must hear the node's events from the first one on.
    let server = Server::start(config, bus.clone(), registry.clone()).await?;
    let node = Node::start(sfu, bus, &registry)
        .await
        .context("the media server does not start")?;
    announce_server(&server);
    signals.any().await;
    tracing::info!("stopping");
    server.shutdown().await;
    node.shutdown().await;
    Ok(())
}
