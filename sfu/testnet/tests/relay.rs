//! Real datagrams on loopback through the relay.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use tianqiao_testnet::link::Counters;
use tianqiao_testnet::profile::Profile;
use tianqiao_testnet::relay::Relay;

/// For what must come, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(10);

fn profile(down: &str, up: &str) -> Profile {
    format!("[down]\n{down}\n[up]\n{up}").parse().expect("a profile")
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    socket
}

struct Scene {
    server: UdpSocket,
    client: UdpSocket,
    relay: Relay,
}

impl Scene {
    fn new(profile: &Profile) -> Self {
        let (server, client) = (socket(), socket());
        let relay = Relay::start(server.local_addr().expect("bound"), profile, 7).expect("a relay");
        client.connect(relay.addr()).expect("connected");
        Self { server, client, relay }
    }

    /// From the client; where the server sees it.
    fn up(&self, payload: &[u8]) -> io::Result<SocketAddr> {
        self.client.send(payload)?;
        let mut buffer = [0; 2_048];
        let (len, from) = self.server.recv_from(&mut buffer)?;
        assert_eq!(&buffer[..len], payload);
        Ok(from)
    }

    /// When so many packets have been sent up.
    fn counters_up(&self, sent: u64) -> Counters {
        let begun = Instant::now();
        loop {
            let counters = self.relay.report().counters.up;
            if counters.sent == sent {
                return counters;
            }
            assert!(begun.elapsed() < PATIENCE, "{counters:?}");
            std::thread::yield_now();
        }
    }

    fn down(&self, to: SocketAddr, payload: &[u8]) -> io::Result<()> {
        self.server.send_to(payload, to)?;
        let mut buffer = [0; 2_048];
        let len = self.client.recv(&mut buffer)?;
        assert_eq!(&buffer[..len], payload);
        Ok(())
    }
}

#[test]
fn datagrams_go_both_ways_and_take_their_time() {
    let scene = Scene::new(&profile("delay = '40ms'", "delay = '20ms'"));
    let begun = Instant::now();
    let from = scene.up(b"there").expect("it comes");
    assert!(begun.elapsed() >= Duration::from_millis(20));
    scene.down(from, b"and back").expect("it comes");
    let took = begun.elapsed();
    assert!(took >= Duration::from_millis(60), "{took:?}");
    let counters = scene.relay.report().counters;
    assert_eq!((counters.up.arrived, counters.up.arrived_bytes), (1, 5 + 28));
    assert_eq!((counters.down.arrived, counters.down.arrived_bytes), (1, 8 + 28));
}

#[test]
fn every_client_has_its_own_way_back() {
    let scene = Scene::new(&profile("", ""));
    let other = socket();
    other.connect(scene.relay.addr()).expect("connected");
    let first = scene.up(b"first").expect("it comes");
    other.send(b"other").expect("sent");
    let mut buffer = [0; 16];
    let (_, second) = scene.server.recv_from(&mut buffer).expect("it comes");
    assert_ne!(first, second);
    scene.server.send_to(b"for the other", second).expect("sent");
    assert_eq!(other.recv(&mut buffer).expect("it comes"), 13);
    scene.down(first, b"for the first").expect("it comes");
}

#[test]
fn rate_queue_and_loss_are_those_of_the_profile() {
    // 128 bytes with headers are 10.24 ms, so that 30 find a place at once.
    let scene = Scene::new(&profile("", "rate = '100kbps'\nqueue = '300ms'\nloss = '20%'"));
    let begun = Instant::now();
    for _ in 0..97 {
        scene.client.send(&[0; 100]).expect("sent");
    }
    let counters = scene.counters_up(97);
    // More where the machine was slow to send them.
    let carried = counters.arrived + counters.lost;
    assert!((30..90).contains(&carried), "{counters:?}");
    assert!(counters.lost > 0, "{counters:?}");
    for _ in 0..counters.arrived {
        scene.server.recv(&mut [0; 128]).expect("it comes");
    }
    let least = Duration::from_micros(10_240) * counters.arrived as u32;
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

#[test]
fn it_can_be_cut_mended_and_changed() {
    let scene = Scene::new(&profile("", ""));
    scene.up(b"before").expect("it comes");
    scene.relay.cut(Duration::from_secs(3_600));
    scene.client.send(b"in between").expect("sent");
    let counters = scene.counters_up(2);
    assert_eq!((counters.outage, counters.arrived), (1, 1));
    scene.relay.mend();
    scene.up(b"afterwards").expect("it is the next to come");

    scene.relay.set_profile(profile("", "delay = '50ms'"));
    let begun = Instant::now();
    scene.up(b"late").expect("it comes");
    assert!(begun.elapsed() >= Duration::from_millis(50));
}

#[test]
fn a_client_can_be_moved_to_another_port_and_address() {
    let scene = Scene::new(&profile("", ""));
    let old = scene.up(b"here").expect("it comes");
    scene.relay.rebind(None);
    scene.server.send_to(b"to the old one", old).expect("sent");
    let new = scene.up(b"and now here").expect("it comes");
    assert!(new.ip() == old.ip() && new.port() != old.port(), "{old} {new}");
    scene.down(new, b"to the new one").expect("it is the next to come");

    scene.relay.rebind(Some(Ipv4Addr::new(127, 0, 0, 2).into()));
    let moved = scene.up(b"on another network").expect("it comes");
    assert_eq!(moved.ip(), Ipv4Addr::new(127, 0, 0, 2));
    scene.down(moved, b"to there").expect("it comes");
}

#[test]
fn a_stopped_relay_gives_its_port_back() {
    let scene = Scene::new(&profile("", ""));
    let addr = scene.relay.addr();
    drop(scene);
    UdpSocket::bind(addr).expect("the port is free");
}
