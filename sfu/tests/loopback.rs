//! A whole node over loopback: SDP over the bus, then ICE, DTLS and SRTP over real sockets, from one
//! client to another on another worker.

mod client;

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_bus::{Bus, NodeEvent};
use tianqiao_protocol::control::{CloseReason, SfuEvent};
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};
use tokio::sync::mpsc::UnboundedReceiver;

use client::{Client, PATIENCE, PAYLOAD, owner, two_workers};

async fn event(events: &mut UnboundedReceiver<NodeEvent>) -> SfuEvent {
    let event = tokio::time::timeout(PATIENCE, events.recv()).await;
    event.expect("in time").expect("an event").event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_client_says_reaches_another_on_another_worker() {
    let bus = Arc::new(InProcessBus::new());
    let mut events = bus.events(&owner().instance);
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

    let stolen = move_media_elsewhere(&mut alice, &mut bob);
    assert_eq!(stolen, Ok(()));

    node.shutdown().await;
    let mut closed = 0;
    while closed < 9 {
        // Who spoke was told meanwhile.
        if let SfuEvent::Closed { reason, .. } = event(&mut events).await {
            assert_eq!(reason, CloseReason::Shutdown);
            closed += 1;
        }
    }
}

/// Bob sends one check with the address of somebody who knows nothing of it, who then counts what comes.
fn move_media_elsewhere(alice: &mut Client, bob: &mut Client) -> Result<(), String> {
    let victim = UdpSocket::bind("127.0.0.9:0").expect("an address of this machine");
    victim.set_nonblocking(true).expect("set");
    let before = victim.send_to(&bob.check, bob.server).expect("sent");
    let (begun, mut heard, mut bytes, mut buffer) = (Instant::now(), 0, 0, [0; 2048]);
    while heard < 100 || begun.elapsed() < Duration::from_secs(1) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("bob hears nothing any more after {heard} packets"));
        }
        alice.speak();
        alice.turn();
        heard += usize::from(bob.turn().is_some());
        while let Ok(len) = victim.recv(&mut buffer) {
            bytes += len;
            if classify(&buffer[..len]) != Ok(PacketKind::Stun) {
                return Err(format!("the victim got {:?}", &buffer[..len]));
            }
        }
    }
    match bytes {
        bytes if (1..=3 * before).contains(&bytes) => Ok(()),
        bytes => Err(format!("{bytes} bytes for {before}")),
    }
}
