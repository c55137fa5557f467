//! A whole node over loopback: SDP over the bus, then ICE, DTLS and SRTP over real sockets, from one
//! client to another on another worker.

mod client;

use std::sync::Arc;
use std::time::Instant;

use prometheus::Registry;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, NodeEvent};
use tianqiao_protocol::control::{CloseReason, SfuEvent};
use tokio::sync::mpsc::UnboundedReceiver;

use client::{PATIENCE, PAYLOAD, two_workers};

async fn event(events: &mut UnboundedReceiver<NodeEvent>) -> SfuEvent {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("in time").expect("an event").event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_says_reaches_another_on_another_worker() {
    let bus = Arc::new(InProcessBus::new());
    let mut events = bus.events();
    let (node, mut alice, mut bob) = two_workers(&bus, &Registry::new()).await;
    for _ in 0..2 {
        let event = event(&mut events).await;
        assert!(matches!(event, SfuEvent::Connected { .. }), "{event:?}");
    }

    let begun = Instant::now();
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
