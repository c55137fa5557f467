//! The suite on NATS, with a server for each test, and what only NATS can do wrong.

#[path = "../suite/mod.rs"]
mod suite;

mod faults;
mod foreign;
mod reconnect_storm;
mod tls;

use std::sync::Arc;

use tianqiao_bus::Bus;
use tianqiao_bus::nats::{NatsBus, NatsConfig};
use tianqiao_bus::testing::NatsServer;

struct Nats(NatsServer);

impl suite::Fleet for Nats {
    async fn join(&self) -> Arc<dyn Bus> {
        connect(&self.0).await
    }
}

suite::all!(Nats(NatsServer::start()));

fn config(server: &NatsServer) -> NatsConfig {
    NatsConfig {
        servers: vec![server.url()],
        ..NatsConfig::default()
    }
}

async fn connect(server: &NatsServer) -> Arc<NatsBus> {
    connect_with(config(server)).await
}

async fn connect_with(config: NatsConfig) -> Arc<NatsBus> {
    let bus = NatsBus::connect(config).await.expect("a bus");
    wait_connected(&bus, true).await;
    bus
}

async fn wait_connected(bus: &NatsBus, is_connected: bool) {
    let mut connected = bus.connected();
    let is_so = connected.wait_for(|is_so| *is_so == is_connected);
    suite::within("the bus comes or goes", is_so)
        .await
        .expect("the bus lives");
}
