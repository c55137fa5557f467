//! Real streams over loopback, with time put in by hand.

use std::io::{Read, Write};
use std::net::TcpStream as StdStream;

use super::*;
use crate::poller::{Poller, Ready};

/// How long a test waits for what must come; only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    poller: Poller,
    tcp: TcpStreams,
    counters: ShellCounters,
    now: Instant,
    received: Vec<(Path, Vec<u8>)>,
    closed: Vec<Path>,
}

impl Server {
    fn new(settings: TcpSettings) -> Self {
        let poller = Poller::new().expect("epoll");
        let now = Instant::now();
        let addr = "127.0.0.1:0".parse().expect("an address");
        let tcp = TcpStreams::listen(addr, settings, poller.registry(), now).expect("listens");
        Self {
            poller,
            tcp,
            counters: ShellCounters::default(),
            now,
            received: Vec::new(),
            closed: Vec::new(),
        }
    }

    fn connect(&self) -> StdStream {
        let stream = StdStream::connect(self.tcp.listener.local_addr().expect("bound")).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        stream
    }

    /// One over which a check has come.
    fn connect_proven(&mut self) -> StdStream {
        let mut stream = self.connect();
        stream.write_all(&frame(&stun())).expect("written");
        let before = self.received.len();
        self.run(|s| s.received.len() > before);
        stream
    }

    /// Works until `done`.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        let begun = Instant::now();
        while !done(self) {
            assert!(begun.elapsed() < PATIENCE, "it did not happen");
            let timeout = if self.tcp.is_ready() { Duration::ZERO } else { PATIENCE };
            let tcp = &mut self.tcp;
            self.poller
                .wait(timeout, |ready| match ready {
                    Ready::Udp | Ready::Feedback => {}
                    Ready::Listener => tcp.on_listener_ready(),
                    Ready::Stream {
                        stream,
                        readable,
                        writable,
                    } => tcp.on_stream_ready(stream, readable, writable),
                })
                .expect("polls");
            let (received, closed) = (&mut self.received, &mut self.closed);
            self.tcp
                .handle_ready(self.now, &mut self.counters, |input| match input {
                    TcpInput::Packet(path, packet) => received.push((path, packet.to_vec())),
                    TcpInput::IsProven(_, is_proven) => *is_proven = true,
                    TcpInput::Closed(path) => closed.push(path),
                });
            self.tcp.flush();
        }
    }

    fn send(&mut self, path: Path, packet: &[u8], count: usize) {
        let mut batch = SendBatch::with_capacity(packet.len() * count);
        for _ in 0..count {
            assert!(batch.push(path, packet));
        }
        self.tcp.send_batch(&batch, &mut self.counters);
        self.tcp.flush();
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.counters.drops.value(reason)
    }
}

fn stun() -> Vec<u8> {
    let mut request = vec![0; 20];
    request[1] = 1;
    request[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
    request
}

fn frame(packet: &[u8]) -> Vec<u8> {
    [&(packet.len() as u16).to_be_bytes(), packet].concat()
}

#[test]
fn packets_both_ways() {
    let mut server = Server::new(TcpSettings::default());
    let mut client = server.connect();
    let bytes = [frame(&stun()), frame(b"two"), frame(b"three")].concat();
    let (first, second) = bytes.split_at(30);
    client.write_all(first).expect("written");
    server.run(|s| !s.received.is_empty());
    client.write_all(second).expect("written");
    server.run(|s| s.received.len() == 3);
    let path = server.received[0].0;
    assert_eq!(path.remote(), client.local_addr().expect("bound"));
    let packets: Vec<_> = server.received.iter().map(|(_, packet)| &packet[..]).collect();
    assert_eq!(packets, [&stun()[..], b"two", b"three"]);

    server.send(path, b"answer", 2);
    let mut answer = [0; 16];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"\0\x06answer\0\x06answer");

    drop(client);
    server.run(|s| !s.closed.is_empty());
    assert_eq!(server.closed, [path]);
    assert!(server.tcp.is_empty());
    assert!(server.tcp.places.is_empty());
}

#[test]
fn a_stream_that_does_not_begin_with_a_stun_request_is_closed() {
    let mut oversized = frame(&stun());
    oversized.extend([0xff, 0xff]);
    for bytes in [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(b"hello"),
        vec![0xff; 100],
        oversized,
    ] {
        let mut server = Server::new(TcpSettings::default());
        let mut client = server.connect();
        client.write_all(&bytes).expect("written");
        // The length of "GE" asks for more than a frame may have, like the other ones.
        server.run(|s| !s.closed.is_empty());
        assert_eq!(server.drops(DropReason::TcpFraming), 1, "{bytes:?}");
    }
}

#[test]
fn a_silent_stranger_is_closed_when_its_grace_is_over_and_a_user_is_not() {
    let settings = TcpSettings::default();
    let mut server = Server::new(settings);
    let mut user = server.connect();
    user.write_all(&frame(&stun())).expect("written");
    server.run(|s| !s.received.is_empty());
    let used = server.received[0].0;
    let mut stranger = server.connect();
    server.run(|s| s.tcp.len() == 2);

    let is_closed = |path| path != used;
    let early = server.now + settings.grace - Duration::from_millis(1);
    server.tcp.handle_timeout(early, is_closed);
    assert_eq!(server.tcp.len(), 2);
    let check = server.tcp.poll_timeout().expect("streams are looked over");
    server.tcp.handle_timeout(check, is_closed);
    assert_eq!(server.tcp.len(), 1);
    assert_eq!(stranger.read(&mut [0; 1]).expect("the end"), 0);

    // The user's connection ends.
    let check = server.tcp.poll_timeout().expect("streams are looked over");
    server.tcp.handle_timeout(check, |_| true);
    assert!(server.tcp.is_empty());
    assert_eq!(user.read(&mut [0; 1]).expect("the end"), 0);
    assert_eq!(server.tcp.poll_timeout(), None);
}

#[test]
fn streams_are_limited_and_their_ids_never_come_back() {
    for settings in [
        TcpSettings {
            max_streams: 2,
            ..Default::default()
        },
        TcpSettings {
            max_streams_per_address: 2,
            ..Default::default()
        },
    ] {
        let mut server = Server::new(settings);
        let first = server.connect_proven();
        let _second = server.connect_proven();
        let mut third = server.connect();
        server.run(|s| s.drops(DropReason::TcpTooManyStreams) == 1);
        assert_eq!(third.read(&mut [0; 1]).expect("the end"), 0);
        assert_eq!(server.tcp.len(), 2);
        drop(first);
        server.run(|s| s.closed.len() == 1);
        let _fourth = server.connect();
        server.run(|s| s.tcp.len() == 2);
        let mut ids: Vec<_> = server.tcp.streams.keys().map(|id| id.0).collect();
        ids.sort_unstable();
        assert_eq!(ids, [1, 2]);
    }
}

#[test]
fn who_has_shown_no_check_gives_way_to_a_newcomer() {
    let mut server = Server::new(TcpSettings {
        max_streams: 3,
        ..Default::default()
    });
    let _user = server.connect_proven();
    let mut silent = server.connect();
    server.run(|s| s.tcp.len() == 2);
    let _other = server.connect_proven();
    let _newcomer = server.connect_proven();
    assert_eq!(silent.read(&mut [0; 1]).expect("the end"), 0);
    assert_eq!(server.drops(DropReason::TcpUnproven), 1);
    assert_eq!((server.tcp.len(), server.closed.len()), (3, 1));
}

const DESCRIPTORS: &str = "TIANQIAO_TEST_DESCRIPTORS";

/// Runs itself as a process of its own, in which few files may be open.
#[test]
fn without_descriptors_those_inside_go_on_and_newcomers_wait() {
    if std::env::var_os(DESCRIPTORS).is_none() {
        let this = std::env::current_exe().expect("a test binary");
        let output = std::process::Command::new("sh")
            .args(["-c", "ulimit -n 64 && exec \"$0\" \"$@\""])
            .arg(this)
            .args([
                "--exact",
                "tcp::tests::without_descriptors_those_inside_go_on_and_newcomers_wait",
            ])
            .env(DESCRIPTORS, "1")
            .output()
            .expect("runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        return;
    }
    let mut server = Server::new(TcpSettings::default());
    let mut user = server.connect_proven();
    let path = server.received[0].0;
    let mut stranger = server.connect();
    server.run(|s| s.tcp.len() == 2);
    // These wait to be accepted when there is nothing left.
    let mut newcomers = [server.connect(), server.connect()];
    let mut files: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    newcomers[0].write_all(&frame(&stun())).expect("written");
    server.run(|s| s.drops(DropReason::TcpNoDescriptors) >= 2);
    assert_eq!(
        stranger.read(&mut [0; 1]).expect("the end"),
        0,
        "it was the oldest without a check"
    );
    server.send(path, b"still here", 1);
    let mut packet = [0; 12];
    user.read_exact(&mut packet).expect("a packet");
    assert_eq!(&packet[2..], b"still here");

    // Nobody is left that could give way: the spare descriptor refuses.
    files.truncate(files.len() - 1);
    let mut refused = server.connect();
    let unproven: Vec<_> = server.tcp.streams.keys().copied().collect();
    unproven
        .iter()
        .for_each(|&id| server.tcp.places.prove(id, path.remote().ip()));
    files.extend(std::iter::from_fn(|| File::open("/dev/null").ok()));
    let before = server.drops(DropReason::TcpNoDescriptors);
    server.run(|s| s.drops(DropReason::TcpNoDescriptors) > before);
    assert_eq!(refused.read(&mut [0; 1]).expect("the end"), 0);

    drop(files);
    let _last = server.connect_proven();
    assert!(server.tcp.streams.values().any(|stream| stream.path == path));
}

#[test]
fn a_slow_reader_loses_whole_packets_and_keeps_the_framing() {
    const PACKET: usize = 1_000;
    let mut server = Server::new(TcpSettings::default());
    let mut client = server.connect();
    client.write_all(&frame(&stun())).expect("written");
    server.run(|s| !s.received.is_empty());
    let path = server.received[0].0;
    let mut offered = 0;
    while server.drops(DropReason::SendBufferFull) == 0 {
        server.send(path, &[7; PACKET], 50);
        offered += 50;
        assert!(offered < 100_000, "nothing is ever full");
    }
    let expected = offered - server.drops(DropReason::SendBufferFull) as usize;
    assert_eq!(server.counters.packets_out, expected as u64);

    let reader = std::thread::spawn(move || {
        for _ in 0..expected {
            let mut packet = [0; 2 + PACKET];
            client.read_exact(&mut packet).expect("a packet");
            assert_eq!(packet[..2], (PACKET as u16).to_be_bytes());
            assert!(packet[2..].iter().all(|&byte| byte == 7));
        }
    });
    server.run(|s| !s.closed.is_empty());
    reader.join().expect("all packets came whole");
}

#[test]
fn sending_to_a_stream_that_is_gone_is_a_counted_drop() {
    let mut server = Server::new(TcpSettings::default());
    let path = Path::Tcp {
        stream: TcpStreamId(5),
        remote: "192.0.2.1:9".parse().expect("an address"),
    };
    server.send(path, b"lost", 3);
    assert_eq!(server.drops(DropReason::SendFailed), 3);
}

#[test]
fn a_fast_sender_is_read_in_shares() {
    let mut server = Server::new(TcpSettings::default());
    let mut client = server.connect();
    let sender = std::thread::spawn(move || {
        client.write_all(&frame(&stun())).expect("written");
        for _ in 0..2_000 {
            client.write_all(&frame(&[3; 1_200])).expect("written");
        }
    });
    server.run(|s| s.received.len() == 2_001);
    sender.join().expect("all was written");
    assert!(server.received[1..].iter().all(|(_, packet)| packet == &[3; 1_200]));
}
