//! Real worker threads and sockets around a core that only says yes.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use tianqiao_bus::Bus;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_protocol::control::{CloseReason, SfuEvent, SfuReply};
use tianqiao_sfu_core::counters::Counters;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::{WorkerCommand, WorkerEvent};

use super::{fingerprint, open, owner};
use crate::config::SfuConfig;
use crate::node::{Node, StartError};
use crate::worker::{Core, PacketSink};

#[derive(Default)]
struct YesCore {
    events: VecDeque<WorkerEvent>,
    counters: Counters,
}

impl Core for YesCore {
    type Mail = ();

    fn handle_command(&mut self, _: Instant, command: WorkerCommand) {
        if let WorkerCommand::Open(open) = command {
            let connection = open.connection;
            self.events.push_back(WorkerEvent::Connected { connection });
        }
    }

    fn handle_packet(&mut self, _: Instant, _: Path, _: &mut [u8]) {}
    fn handle_mail(&mut self, _: Instant, _: WorkerIndex, (): ()) {}
    fn handle_path_closed(&mut self, _: Instant, _: Path) {}
    fn handle_timeout(&mut self, _: Instant) {}
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }
    fn write_mail(&mut self) {}
    fn flush(&mut self, _: Instant, _: &mut dyn PacketSink) {}
    fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }
    fn poll_mail(&mut self) -> Option<(WorkerIndex, ())> {
        None
    }
    fn on_mailbox_full(&mut self, _: WorkerIndex) {}
    fn counters(&self) -> &Counters {
        &self.counters
    }
    fn is_closed_path(&self, _: Path) -> bool {
        false
    }
    fn close_all(&mut self, _: Instant) {}
}

fn config() -> SfuConfig {
    SfuConfig {
        workers: 2,
        media_port: 0,
        media_bind: Ipv4Addr::LOCALHOST.into(),
        ..SfuConfig::default()
    }
}

async fn start(config: SfuConfig, bus: Arc<InProcessBus>, registry: &Registry) -> Result<Node, StartError> {
    Node::start_with(config, bus, registry, fingerprint(), |_, _| YesCore::default()).await
}

#[tokio::test]
async fn a_node_serves_the_bus_and_shuts_down() {
    let bus = Arc::new(InProcessBus::new());
    let registry = Registry::new();
    let mut events = bus.events(&owner().instance);
    let config = config();
    let name = config.node.clone();
    let node = start(config, bus.clone(), &registry).await.expect("a node");
    let ports: Vec<u16> = node.workers.iter().map(|worker| worker.port()).collect();
    let reply = bus.request(&name, &owner(), open("alice", Vec::new())).await;
    let Ok(SfuReply::Answered { sdp, .. }) = reply else {
        panic!("{reply:?}");
    };
    let announced = |port: &u16| {
        let udp = sdp.contains(&format!(" 127.0.0.1 {port} typ host\r\n"));
        udp && sdp.contains(&format!(" 127.0.0.1 {port} typ host tcptype passive\r\n"))
    };
    assert_eq!(ports.iter().filter(|port| announced(port)).count(), 1, "{sdp}");
    let connected = events.recv().await.map(|event| event.event);
    let session = "alice".to_owned();
    assert_eq!(
        connected,
        Some(SfuEvent::Connected {
            session: session.clone()
        })
    );
    let families: Vec<_> = registry
        .gather()
        .iter()
        .map(|family| family.name().to_owned())
        .collect();
    assert!(families.contains(&"tianqiao_sfu_sessions".to_owned()), "{families:?}");

    node.shutdown().await;
    let closed = events.recv().await.map(|event| event.event);
    let reason = CloseReason::Shutdown;
    assert_eq!(closed, Some(SfuEvent::Closed { session, reason }));
    assert!(bus.nodes().is_empty());
    // The ports are free again.
    for port in ports {
        std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("the worker has ended");
    }
}

#[tokio::test]
async fn a_taken_port_and_too_many_workers_are_errors() {
    let taken = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let bus = Arc::new(InProcessBus::new());
    let on_port = SfuConfig {
        media_port: port,
        workers: 1,
        ..config()
    };
    let error = start(on_port, bus.clone(), &Registry::new()).await.err();
    assert!(matches!(&error, Some(StartError::Worker(_))), "{error:?}");
    let wrong = SfuConfig {
        workers: 256,
        ..config()
    };
    let error = start(wrong, bus.clone(), &Registry::new()).await.err();
    assert!(matches!(&error, Some(StartError::Workers(256))), "{error:?}");
    assert!(bus.nodes().is_empty());
}
