//! One room over two and three nodes, over real sockets: what is said on one is heard on the others.

mod client;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prometheus::Registry;
use tianqiao_bus::Bus;
use tianqiao_bus::in_process::InProcessBus;
use tianqiao_protocol::control::{
    RelayEndpoint, RelayKeys, RelayLink, RemoteParticipant, RoomRelays, SfuEvent, SfuReply, SfuRequest,
};
use tianqiao_sfu::config::{RateLimits, SfuConfig};
use tianqiao_sfu::node::Node;

use client::{Client, PATIENCE, PAYLOAD, owner};

async fn node(bus: &Arc<InProcessBus>, name: &str, registry: &Registry) -> Node {
    let config = SfuConfig {
        node: name.to_owned(),
        workers: 2,
        media_port: 0,
        media_bind: Ipv4Addr::LOCALHOST.into(),
        rates: RateLimits::UNLIMITED,
        ..SfuConfig::default()
    };
    Node::start(config, bus.clone(), registry).await.expect("a node")
}

fn keys(is_first: bool) -> RelayKeys {
    let [one, other] = [1, 2].map(|byte| BASE64.encode([byte; 28]));
    let (send, receive) = if is_first { (one, other) } else { (other, one) };
    RelayKeys {
        generation: 1,
        send,
        receive,
    }
}

/// One end of the link `id` towards `peer`.
fn link(id: u64, peer: &str, is_first: bool, to: Option<&[RelayEndpoint]>) -> RelayLink {
    let endpoint = to.and_then(|endpoints| endpoints.iter().find(|endpoint| endpoint.link == id));
    RelayLink {
        id,
        peer: peer.to_owned(),
        keys: keys(is_first),
        endpoints: endpoint.map_or(Vec::new(), |endpoint| endpoint.addresses.clone()),
    }
}

fn remote(client: &Client, name: &str, via: u64) -> RemoteParticipant {
    RemoteParticipant {
        session: name.to_owned(),
        identity: name.to_owned(),
        via,
        tracks: client.tracks.clone(),
    }
}

async fn relay(bus: &InProcessBus, node: &str, relays: RoomRelays) -> Vec<RelayEndpoint> {
    let reply = bus.request(&node.to_owned(), &owner(), SfuRequest::Relay(relays)).await;
    match reply.expect("the node answers") {
        SfuReply::Relayed { endpoints } => endpoints,
        other => panic!("{other:?}"),
    }
}

fn state(version: u64, home: Option<u64>, links: Vec<RelayLink>, participants: Vec<RemoteParticipant>) -> RoomRelays {
    RoomRelays {
        room: "room".to_owned(),
        version,
        base: None,
        home,
        links,
        participants,
        gone: Vec::new(),
    }
}

fn connect(clients: &mut [&mut Client]) {
    let begun = Instant::now();
    while clients.iter().any(|client| !client.connected) {
        assert!(begun.elapsed() < PATIENCE, "no DTLS");
        for client in &mut *clients {
            client.turn();
        }
    }
}

/// Speaks until every listener has heard it.
fn speak_to(speaker: &mut Client, listeners: &mut [&mut Client]) {
    let begun = Instant::now();
    let mut heard = vec![false; listeners.len()];
    while heard.contains(&false) {
        assert!(begun.elapsed() < PATIENCE, "heard: {heard:?}");
        speaker.speak();
        speaker.turn();
        for (listener, heard) in listeners.iter_mut().zip(&mut heard) {
            if let Some(packet) = listener.turn() {
                assert_eq!(packet[12..16], speaker.tracks[0].id.to_be_bytes(), "the track");
                assert!(packet.ends_with(PAYLOAD));
                *heard = true;
            }
        }
    }
}

fn sample(registry: &Registry, name: &str, direction: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name).expect("a metric");
    let of_direction = family
        .get_metric()
        .iter()
        .filter(|metric| direction.is_empty() || metric.get_label().iter().any(|label| label.value() == direction));
    of_direction
        .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
        .sum()
}

const SENDS: &str = "a=sendonly\r\na=ssrc:1111 cname:x\r\n";
const LISTENS: &str = "a=recvonly\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_on_one_node_is_heard_on_the_other_and_crosses_once() {
    let bus = Arc::new(InProcessBus::new());
    let registries = [Registry::new(), Registry::new()];
    let mut events = bus.events(&owner().instance);
    let one = node(&bus, "n1", &registries[0]).await;
    let other = node(&bus, "n2", &registries[1]).await;
    let mut alice = Client::join(&bus, &"n1".to_owned(), "alice", SENDS).await;
    let mut bob = Client::join(&bus, &"n2".to_owned(), "bob", LISTENS).await;
    let mut carol = Client::join(&bus, &"n2".to_owned(), "carol", LISTENS).await;
    connect(&mut [&mut alice, &mut bob, &mut carol]);

    let ends = relay(&bus, "n1", state(1, None, vec![link(7, "n2", true, None)], vec![])).await;
    assert_eq!(ends.len(), 1);
    let behind = vec![remote(&alice, "alice", 7)];
    let second = || state(1, Some(7), vec![link(7, "n1", false, Some(&ends))], behind.clone());
    relay(&bus, "n2", second()).await;
    speak_to(&mut alice, &mut [&mut bob, &mut carol]);

    // The same again changes nothing; an older state neither; changes since a state that is not in force are asked for whole.
    assert_eq!(relay(&bus, "n2", second()).await.len(), 1);
    let ahead = RoomRelays {
        base: Some(5),
        version: 6,
        ..second()
    };
    let reply = bus.request(&"n2".to_owned(), &owner(), SfuRequest::Relay(ahead)).await;
    assert_eq!(reply.expect("an answer"), SfuReply::RelayBehind);
    speak_to(&mut alice, &mut [&mut bob, &mut carol]);

    let up = tokio::time::timeout(PATIENCE, async {
        loop {
            if let SfuEvent::Link { link, up, .. } = events.recv().await.expect("an event").event {
                break (link, up);
            }
        }
    });
    assert_eq!(up.await.expect("in time"), (7, true));

    // However many listen behind the link, a packet crosses it once.
    let (crossed, begun) = ("tianqiao_sfu_link_packets_total", Instant::now());
    loop {
        alice.speak();
        alice.turn();
        bob.turn();
        carol.turn();
        let out = sample(&registries[0], crossed, "out");
        let came = sample(&registries[1], crossed, "in");
        let spoken = alice.spoken() as f64;
        assert!(out <= spoken, "{out} of {spoken} packets crossed");
        if out > 100.0 && came > 100.0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{out} out, {came} in");
    }

    // A participant that leaves is heard no longer.
    let gone = RoomRelays {
        version: 2,
        base: Some(1),
        participants: Vec::new(),
        gone: vec!["alice".to_owned()],
        ..second()
    };
    relay(&bus, "n2", gone).await;
    let (begun, mut quiet_since) = (Instant::now(), Instant::now());
    while quiet_since.elapsed() < Duration::from_millis(300) {
        assert!(begun.elapsed() < PATIENCE, "still heard");
        alice.speak();
        alice.turn();
        if bob.turn().is_some() {
            quiet_since = Instant::now();
        }
        carol.turn();
    }
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_between_two_others_passes_on_what_it_does_not_publish() {
    let bus = Arc::new(InProcessBus::new());
    let registries = [Registry::new(), Registry::new(), Registry::new()];
    let names = ["n1", "n2", "n3"];
    let mut nodes = Vec::new();
    for (name, registry) in names.iter().zip(&registries) {
        nodes.push(node(&bus, name, registry).await);
    }
    let mut alice = Client::join(&bus, &"n1".to_owned(), "alice", SENDS).await;
    let mut bob = Client::join(&bus, &"n3".to_owned(), "bob", LISTENS).await;
    connect(&mut [&mut alice, &mut bob]);

    let first = relay(&bus, "n1", state(1, None, vec![link(7, "n2", true, None)], vec![])).await;
    let middle_links = vec![link(7, "n1", false, Some(&first)), link(8, "n3", true, None)];
    let middle = state(1, Some(7), middle_links, vec![remote(&alice, "alice", 7)]);
    let second = relay(&bus, "n2", middle).await;
    let last = vec![link(8, "n2", false, Some(&second))];
    relay(&bus, "n3", state(1, Some(8), last, vec![remote(&alice, "alice", 8)])).await;
    speak_to(&mut alice, &mut [&mut bob]);
    for node in nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_key_gets_nothing_in() {
    let bus = Arc::new(InProcessBus::new());
    let registries = [Registry::new(), Registry::new()];
    let one = node(&bus, "n1", &registries[0]).await;
    let other = node(&bus, "n2", &registries[1]).await;
    let mut alice = Client::join(&bus, &"n1".to_owned(), "alice", SENDS).await;
    let mut bob = Client::join(&bus, &"n2".to_owned(), "bob", LISTENS).await;
    connect(&mut [&mut alice, &mut bob]);
    let ends = relay(&bus, "n1", state(1, None, vec![link(7, "n2", true, None)], vec![])).await;
    let mut wrong = link(7, "n1", false, Some(&ends));
    wrong.keys.send = BASE64.encode([9; 28]);
    relay(
        &bus,
        "n2",
        state(1, Some(7), vec![wrong], vec![remote(&alice, "alice", 7)]),
    )
    .await;

    let stranger = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let begun = Instant::now();
    loop {
        let mut datagram = vec![0xf1, 0x11];
        datagram.extend(7_u64.to_be_bytes());
        datagram.extend([0; 60]);
        stranger.send_to(&datagram, ends[0].addresses[0]).expect("sent");
        alice.speak();
        alice.turn();
        assert!(bob.turn().is_none(), "nothing came out");
        let dropped = sample(&registries[0], "tianqiao_sfu_drops_total", "link_auth");
        if dropped > 20.0 {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{dropped} dropped");
    }
    assert_eq!(sample(&registries[0], "tianqiao_sfu_links_up", ""), 0.0);
    one.shutdown().await;
    other.shutdown().await;
}
