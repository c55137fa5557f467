//! A whole node over loopback: SDP over the bus, then ICE, DTLS and SRTP over real sockets, from one
//! client to another on another worker.

mod client;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, NodeEvent};
use tianqiao_protocol::control::{CloseReason, SfuEvent};
use tianqiao_sfu::config::SfuConfig;
use tianqiao_sfu::node::Node;
use tokio::sync::mpsc::UnboundedReceiver;

use client::{Client, PATIENCE, PAYLOAD};

async fn event(events: &mut UnboundedReceiver<NodeEvent>) -> SfuEvent {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("in time").expect("an event").event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_says_reaches_another_on_another_worker() {
    let bus = Arc::new(InProcessBus::new());
    let mut events = bus.events();
    let config = SfuConfig {
        workers: 2,
        media_port: 0,
        media_bind: Ipv4Addr::LOCALHOST.into(),
        ..SfuConfig::default()
    };
    let name = config.node.clone();
    let registry = Registry::new();
    let node = Node::start(config, bus.clone(), &registry).await.expect("a node");

    let sends = "a=sendonly\r\na=ssrc:1111 cname:x\r\n";
    let mut alice = Client::join(&bus, &name, "alice", sends).await;
    // The first eight of a room share a worker.
    for filler in 0..7 {
        Client::join(&bus, &name, &format!("filler {filler}"), "a=recvonly\r\n").await;
    }
    let mut bob = Client::join(&bus, &name, "bob", "a=recvonly\r\n").await;
    assert_ne!(alice.server, bob.server, "two workers");
    let begun = Instant::now();
    while !(alice.connected && bob.connected) {
        assert!(begun.elapsed() < PATIENCE, "no DTLS");
        alice.turn();
        bob.turn();
    }
    for _ in 0..2 {
        let event = event(&mut events).await;
        assert!(matches!(event, SfuEvent::Connected { .. }), "{event:?}");
    }

    let heard = loop {
        assert!(begun.elapsed() < PATIENCE, "nothing was forwarded");
        alice.speak();
        alice.turn();
        if let Some(packet) = bob.turn() {
            break packet;
        }
    };
    assert_eq!(heard[0] & 0x0f, 1, "one CSRC");
    assert_eq!(heard[12..16], alice.tracks[0].id.to_be_bytes(), "the track");
    assert!(heard.ends_with(PAYLOAD));

    node.shutdown().await;
    for _ in 0..9 {
        let SfuEvent::Closed { reason, .. } = event(&mut events).await else {
            panic!("not closed");
        };
        assert_eq!(reason, CloseReason::Shutdown);
    }
}
