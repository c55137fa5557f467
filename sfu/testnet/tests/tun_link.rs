//! TCP and UDP through the link between two namespaces. Needs root and /dev/net/tun; skipped elsewhere.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tianqiao_testnet::link::Counters;
use tianqiao_testnet::netns::{Netns, or_skip};
use tianqiao_testnet::profile::Profile;
use tianqiao_testnet::tun_link::TunLink;

/// For what must come, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(20);

fn profile(down: &str, up: &str) -> Profile {
    format!("[down]\n{down}\n[up]\n{up}").parse().expect("a profile")
}

/// With the server's side in a namespace too, so that the tests share nothing.
fn start(profile: &Profile, seed: u64) -> Option<(Netns, TunLink)> {
    let server = or_skip(Netns::create("test"))?;
    let link = or_skip(server.enter(|| TunLink::start(profile, seed)))?;
    Some((server, link))
}

/// Sockets of server and client.
fn udp(server: &Netns, link: &TunLink) -> (UdpSocket, UdpSocket) {
    let bind = |addr| UdpSocket::bind((addr, 0)).expect("a socket");
    let sockets = (
        server.enter(|| bind(link.server())),
        link.netns().enter(|| bind(link.client())),
    );
    for socket in [&sockets.0, &sockets.1] {
        socket.set_read_timeout(Some(PATIENCE)).expect("set");
    }
    sockets
}

/// When so many packets have been sent down.
fn when_sent(link: &TunLink, packets: u64) -> Counters {
    let begun = Instant::now();
    loop {
        let down = link.report().counters.down;
        if down.sent == packets {
            return down;
        }
        assert!(begun.elapsed() < PATIENCE, "{down:?}");
        thread::yield_now();
    }
}

#[test]
fn a_tcp_flow_gets_the_rate_of_the_link() {
    const RATE: u64 = 2_000_000;
    const BYTES: usize = 800_000;
    let profile = profile("rate = '2Mbps'\nqueue = '200ms'\ndelay = '25ms'", "delay = '25ms'");
    let Some((server, link)) = start(&profile, 1) else {
        return;
    };
    let listener = server.enter(|| TcpListener::bind((link.server(), 0)).expect("a listener"));
    let addr = listener.local_addr().expect("bound");
    let begun = Instant::now();
    let sender = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.write_all(&vec![7; BYTES]).expect("sent");
    });
    let mut stream = link.netns().enter(|| TcpStream::connect(addr).expect("connected"));
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("it comes");
    let took = begun.elapsed();
    sender.join().expect("no panic");
    assert_eq!(received.len(), BYTES);

    let report = link.report();
    let down = report.counters.down;
    let least = Duration::from_secs_f64(down.arrived_bytes as f64 * 8.0 / RATE as f64);
    assert!(took >= least, "{took:?} for {down:?}");
    let by_second = &report.by_second;
    assert!(by_second.down_capacity.iter().all(|bytes| *bytes == Some(RATE / 8)));
    let share = |bytes: &u64| *bytes as f64 * 8.0 / RATE as f64;
    let shares: Vec<f64> = by_second.down_bytes.iter().map(share).collect();
    assert!(shares.iter().any(|share| *share > 0.8), "{shares:?}");
}

#[test]
fn datagrams_are_lost_as_the_profile_says_and_the_same_ones_every_time() {
    let run = |seed| {
        let (server, link) = start(&profile("delay = '10ms'\nloss = '20%'", ""), seed)?;
        let (at_server, at_client) = udp(&server, &link);
        let to = at_client.local_addr().expect("bound");
        let begun = Instant::now();
        let mut numbers = Vec::new();
        for number in 0..1_000u32 {
            at_server.send_to(&number.to_be_bytes(), to).expect("sent");
            // All that has arrived is read now and then, so that no buffer of the kernel overflows.
            if number % 100 == 99 {
                let down = when_sent(&link, u64::from(number) + 1);
                while (numbers.len() as u64) < down.arrived {
                    let mut number = [0; 4];
                    at_client.recv(&mut number).expect("it comes");
                    numbers.push(u32::from_be_bytes(number));
                }
            }
        }
        assert!((750..850).contains(&numbers.len()), "{}", numbers.len());
        assert!(numbers.is_sorted(), "they keep their order");
        assert!(begun.elapsed() >= Duration::from_millis(10));
        Some(numbers.into_iter().collect::<BTreeSet<_>>())
    };
    let Some(first) = run(7) else { return };
    assert_eq!(Some(&first), run(7).as_ref());
    assert_ne!(Some(&first), run(8).as_ref());
}

#[test]
fn what_is_for_elsewhere_takes_nothing_of_the_link() {
    let Some((server, link)) = start(&profile("", ""), 1) else {
        return;
    };
    let (at_server, at_client) = udp(&server, &link);
    at_client.send_to(b"to the world", "192.0.2.1:9").expect("sent");
    at_client
        .send_to(b"to the server", at_server.local_addr().expect("bound"))
        .expect("sent");
    let mut buffer = [0; 64];
    let (len, from) = at_server.recv_from(&mut buffer).expect("it comes");
    assert_eq!(
        (&buffer[..len], from),
        (&b"to the server"[..], at_client.local_addr().expect("bound"))
    );
    assert_eq!(link.report().counters.up.sent, 1);
    assert_eq!(link.strays(), 1);
}

#[test]
fn nothing_is_left_behind() {
    let Some((server, link)) = start(&profile("", ""), 1) else {
        return;
    };
    let (client, device) = (link.netns().name().to_owned(), link.device().to_owned());
    let mut program = link
        .netns()
        .enter(|| Command::new("sleep").arg("600").spawn().expect("started"));
    assert!(server.ip(&["link", "show", &device]).is_ok());
    drop(link);
    assert!(!program.wait().expect("a child").success(), "it was killed");
    assert!(server.ip(&["link", "show", &device]).is_err());
    assert!(!Path::new("/run/netns").join(client).exists());
}
