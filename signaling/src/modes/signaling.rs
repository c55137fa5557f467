//! `tianqiao signaling`: one of any number of signaling instances of a fleet.

use prometheus::Registry;
use tianqiao::{Config, Server};

use super::{Signals, announce_server, connect};

pub async fn run(config: Config) -> anyhow::Result<()> {
    let mut signals = Signals::new()?;
    let bus = connect(&config, "tianqiao signaling").await?;
    let server = Server::start_in_fleet(config, bus, Registry::new()).await?;
    announce_server(&server);
    signals.any().await;
    tracing::info!("stopping: others take the meetings over");
    server.shutdown().await;
    Ok(())
}
