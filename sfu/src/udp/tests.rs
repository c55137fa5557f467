//! Real datagrams over loopback.

use std::net::UdpSocket as StdSocket;
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use tianqiao_sfu_core::path::Path;

use super::*;

/// How long a test waits for what must come; only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(10);

fn socket(addr: &str, offload: bool) -> UdpSocket {
    let settings = UdpSettings {
        offload,
        ..Default::default()
    };
    UdpSocket::bind(addr.parse().expect("an address"), settings).expect("binds")
}

fn peer() -> StdSocket {
    let peer = StdSocket::bind("127.0.0.1:0").expect("binds");
    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    peer
}

fn addr_of(socket: &UdpSocket) -> SocketAddr {
    ([127, 0, 0, 1], socket.local_addr().port()).into()
}

/// Receives until `count` datagrams have come.
fn receive(socket: &mut UdpSocket, count: usize) -> (Vec<(SocketAddr, Vec<u8>)>, usize) {
    let mut poll = Poll::new().expect("epoll");
    poll.registry()
        .register(&mut SourceFd(&socket.as_raw_fd()), Token(0), Interest::READABLE)
        .expect("registers");
    let mut events = Events::with_capacity(1);
    let (mut received, mut messages) = (Vec::new(), 0);
    while received.len() < count {
        match socket.recv_batch(|path, datagram| received.push((path.remote(), datagram.to_vec()))) {
            Ok(report) => messages += report.messages,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll.poll(&mut events, Some(PATIENCE)).expect("polls");
                assert!(!events.is_empty(), "only {} datagrams came", received.len());
            }
            Err(error) => panic!("{error}"),
        }
    }
    (received, messages)
}

/// `sizes` as datagrams to `to`, each filled with its index.
fn batch_to(to: SocketAddr, sizes: &[usize]) -> (SendBatch, Vec<Vec<u8>>) {
    let mut batch = SendBatch::with_capacity(1 << 20);
    let datagrams: Vec<_> = (0..).zip(sizes).map(|(i, &size)| vec![i as u8; size]).collect();
    for datagram in &datagrams {
        assert!(batch.push(Path::udp(to), datagram));
    }
    (batch, datagrams)
}

const SIZES: &[usize] = &[1100, 1100, 1100, 700, 40, 1200, 1200, 1, 65];

#[test]
fn runs_arrive_as_their_datagrams_with_and_without_offload() {
    for bind in ["127.0.0.1:0", "[::]:0"] {
        for offload in [true, false] {
            let mut socket = socket(bind, offload);
            let peer = peer();
            let (batch, datagrams) = batch_to(peer.local_addr().expect("bound"), SIZES);
            let report = socket.send_batch(&batch);
            assert_eq!(report.datagrams, datagrams.len());
            assert_eq!(report.bytes, SIZES.iter().sum::<usize>());
            for datagram in datagrams {
                let mut buffer = [0; 2000];
                let (len, from) = peer.recv_from(&mut buffer).expect("a datagram");
                assert_eq!(buffer[..len], datagram, "{bind} {offload}");
                assert_eq!(from, addr_of(&socket));
            }
            assert_eq!(socket.is_offloading(), offload, "this kernel has UDP_SEGMENT");
        }
    }
}

#[test]
fn what_gro_joined_is_split_again() {
    for (sender_offload, receiver_offload) in [(true, true), (true, false), (false, true)] {
        let mut sender = socket("127.0.0.1:0", sender_offload);
        let mut receiver = socket("127.0.0.1:0", receiver_offload);
        let (batch, datagrams) = batch_to(addr_of(&receiver), &[1000; 40]);
        assert_eq!(sender.send_batch(&batch).datagrams, 40);
        let (received, messages) = receive(&mut receiver, 40);
        let from = addr_of(&sender);
        let expected: Vec<_> = datagrams.into_iter().map(|datagram| (from, datagram)).collect();
        assert!(received == expected, "{sender_offload} {receiver_offload}");
        if sender_offload && receiver_offload {
            assert_eq!(messages, 1, "the receiver takes the run as it was sent");
        }
    }
}

#[test]
fn a_dual_stack_socket_sees_ipv4_peers_as_ipv4_and_answers_them() {
    let mut socket = socket("[::]:0", true);
    let peer = peer();
    peer.send_to(b"hello", addr_of(&socket)).expect("sent");
    let (received, _) = receive(&mut socket, 1);
    let from = peer.local_addr().expect("bound");
    assert_eq!(received, [(from, b"hello".to_vec())]);
    let (batch, _) = batch_to(received[0].0, &[10, 10]);
    assert_eq!(socket.send_batch(&batch).datagrams, 2);
    let mut buffer = [0; 100];
    assert_eq!(peer.recv(&mut buffer).expect("an answer"), 10);
}

#[test]
fn ipv6_peers_and_their_packets_changed_in_place() {
    let mut a = socket("[::1]:0", true);
    let mut b = socket("[::1]:0", true);
    let (batch, _) = batch_to(b.local_addr(), &[100; 3]);
    assert_eq!(a.send_batch(&batch).datagrams, 3);
    let (received, _) = receive(&mut b, 3);
    assert!(received.iter().all(|(from, _)| *from == a.local_addr()));
    let (batch, _) = batch_to(a.local_addr(), &[4]);
    assert_eq!(b.send_batch(&batch).datagrams, 1);
    let mut events = 0;
    while events == 0 {
        let outcome = a.recv_batch(|_, datagram| {
            datagram[0] = 9;
            assert_eq!(datagram, [9, 0, 0, 0]);
            events += 1;
        });
        assert!(!matches!(outcome, Err(error) if error.kind() != io::ErrorKind::WouldBlock));
    }
}

#[test]
fn empty_and_oversized_datagrams_do_no_harm() {
    let mut socket = socket("127.0.0.1:0", false);
    let peer = peer();
    for datagram in [&[][..], &[1; 5000], &[2; 2]] {
        peer.send_to(datagram, addr_of(&socket)).expect("sent");
    }
    let (mut received, mut too_large) = (Vec::new(), 0);
    while received.len() < 2 {
        if let Ok(report) = socket.recv_batch(|_, datagram| received.push(datagram.to_vec())) {
            too_large += report.too_large;
        }
    }
    assert_eq!((received, too_large), (vec![vec![], vec![2, 2]], 1));
}

#[test]
fn a_closed_peer_port_stops_nothing() {
    let gone = peer().local_addr().expect("bound");
    let peer = peer();
    let mut socket = socket("127.0.0.1:0", true);
    for _ in 0..3 {
        let (mut batch, _) = batch_to(gone, &[100, 100]);
        assert!(batch.push(Path::udp(peer.local_addr().expect("bound")), &[5; 8]));
        socket.send_batch(&batch);
        let mut buffer = [0; 100];
        assert_eq!(peer.recv(&mut buffer).expect("a datagram"), 8);
    }
}

#[test]
fn buffers_have_the_size_that_was_asked_for() {
    let settings = UdpSettings {
        buffer_bytes: 100_000,
        ..Default::default()
    };
    let socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), settings).expect("binds");
    assert_eq!(socket.buffer_sizes().expect("told"), (100_000, 100_000));
}

#[test]
fn overflows_of_the_receive_buffer_are_reported() {
    let settings = UdpSettings {
        buffer_bytes: 1,
        offload: false,
        ..Default::default()
    };
    let mut socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), settings).expect("binds");
    let peer = peer();
    for _ in 0..50 {
        peer.send_to(&[0; 1000], addr_of(&socket)).expect("sent");
    }
    let (kept, _) = receive(&mut socket, 1);
    // The kernel tells with the next datagram that finds room.
    peer.send_to(&[1], addr_of(&socket)).expect("sent");
    let mut datagrams = kept.len();
    let mut overflowed = 0;
    while overflowed == 0 {
        if let Ok(report) = socket.recv_batch(|_, _| ()) {
            datagrams += report.datagrams;
            overflowed += report.overflowed as usize;
        }
    }
    assert!(datagrams + overflowed >= 50, "{datagrams} {overflowed}");
}

#[test]
fn answers_leave_from_the_address_that_was_asked() {
    for bind in ["0.0.0.0:0", "[::]:0"] {
        for sizes in [&[100][..], &[100, 100, 100, 40]] {
            let (mut socket, peer) = (socket(bind, true), peer());
            for last in [2, 9, 1] {
                let asked = SocketAddr::from(([127, 0, 0, last], socket.local_addr().port()));
                peer.send_to(b"ask", asked).expect("sends");
                let mut answer = SendBatch::with_capacity(1000);
                while answer.is_empty() {
                    let received = socket.recv_batch(|path, _| {
                        for &size in sizes {
                            assert!(answer.push(path, &vec![7; size]));
                        }
                    });
                    assert!(
                        received.is_ok_and(|report| report.datagrams == 1),
                        "loopback delivers at once"
                    );
                }
                assert_eq!(socket.send_batch(&answer).datagrams, sizes.len());
                let mut buffer = [0; 2000];
                for &size in sizes {
                    assert_eq!(peer.recv_from(&mut buffer).expect("an answer"), (size, asked), "{bind}");
                }
            }
        }
    }
}

/// First two bytes of what a client sends, and whether it can wait.
const SORTED: &[([u8; 2], bool)] = &[
    ([0x80, 96], false),      // RTP
    ([0x81, 201], true),      // receiver report with one block
    ([0x80, 200], false),     // sender report
    ([0x80 | 1, 205], false), // NACK
    ([0x80 | 15, 205], true), // transport-wide feedback
    ([0x80 | 11, 205], true), // congestion control feedback
    ([0x80 | 1, 206], false), // PLI
    ([0x80 | 4, 206], false), // FIR
    ([0x80 | 15, 206], true), // REMB
    ([0x80, 203], false),     // BYE
    ([0x00, 201], false),     // a STUN method that happens to have this number
    ([0x16, 0xfe], false),    // DTLS
];

#[test]
fn feedback_that_can_wait_is_sorted_out() {
    for bind in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
        let (mut socket, peer) = (socket(bind, true), peer());
        assert!(socket.feedback_fd().is_some(), "this kernel can sort");
        for (head, _) in SORTED {
            peer.send_to(&[&head[..], &[7; 30]].concat(), addr_of(&socket))
                .expect("sent");
        }
        peer.send_to(&[0x80], addr_of(&socket)).expect("sent");
        // Loopback delivers at once.
        let (mut prompt, mut late) = (Vec::new(), Vec::new());
        let from = peer.local_addr().expect("bound");
        let head = |path: Path, datagram: &[u8]| {
            assert_eq!(path.remote(), from);
            [datagram[0], datagram.get(1).copied().unwrap_or_default()]
        };
        while socket
            .recv_batch(|path, datagram| prompt.push(head(path, datagram)))
            .is_ok()
        {}
        while socket
            .recv_feedback(|path, datagram| late.push(head(path, datagram)))
            .is_ok()
        {}
        let of = |can_wait| {
            SORTED
                .iter()
                .filter(move |(_, waits)| *waits == can_wait)
                .map(|(head, _)| *head)
        };
        assert_eq!(prompt, of(false).chain([[0x80, 0]]).collect::<Vec<_>>(), "{bind}");
        assert_eq!(late, of(true).collect::<Vec<_>>(), "{bind}");
    }
}

#[test]
fn a_second_server_on_the_port_is_refused() {
    let first = socket("127.0.0.1:0", true);
    let second = UdpSocket::bind(first.local_addr(), UdpSettings::default());
    let refused = second.err().expect("refused").kind();
    assert_eq!(refused, io::ErrorKind::AddrInUse);
}

#[test]
fn without_sorting_feedback_comes_with_the_rest() {
    let settings = UdpSettings {
        sort_feedback: false,
        ..Default::default()
    };
    let mut socket = UdpSocket::bind("127.0.0.1:0".parse().expect("an address"), settings).expect("binds");
    assert_eq!(socket.feedback_fd(), None);
    let none = socket.recv_feedback(|_, _| ()).expect_err("nothing is sorted out");
    assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    let peer = peer();
    peer.send_to(&[0x81, 201, 0, 1], addr_of(&socket)).expect("sent");
    assert_eq!(receive(&mut socket, 1).0.len(), 1);
}

#[test]
fn one_batch_takes_more_messages_than_are_asked_for_first() {
    let mut socket = socket("127.0.0.1:0", false);
    let peer = peer();
    for (sent, is_full) in [(1, false), (16, false), (17, false), (BATCH - 1, false), (BATCH, true)] {
        for _ in 0..sent {
            peer.send_to(&[3; 50], addr_of(&socket)).expect("sent");
        }
        let mut received = 0;
        let report = socket.recv_batch(|_, _| received += 1).expect("some came");
        assert_eq!((report.messages, report.datagrams, received), (sent, sent, sent));
        assert_eq!((report.bytes, report.is_full), (50 * sent, is_full));
    }
}
