//! Threads and sockets as they run, around a core that echoes.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::process::Command;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use tianqiao_sfu_core::counters::Counters;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::units::{ConnectionId, TrackId};
use tianqiao_sfu_core::worker_api::{CloseReason, WorkerCommand};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::feedback::QUIET_AFTER;
use super::*;

/// Mail that begins with `&` has come to its worker.
static ARRIVED: (Mutex<bool>, Condvar) = (Mutex::new(false), Condvar::new());
/// How long a test waits for what must come; only a failure takes that long.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends every packet back. Packets that begin with `>` go to the worker that the next byte names
/// and are sent from there; with `&`, this worker sends nothing before that one has them. Commands come back as
/// events, `SetMuted` by way of a timer.
struct EchoCore {
    batch: SendBatch,
    /// Of packets that came in, to be made mail.
    leaving: Vec<(WorkerIndex, (Path, Vec<u8>))>,
    mail: Vec<(WorkerIndex, (Path, Vec<u8>))>,
    waits_for_arrival: bool,
    events: VecDeque<WorkerEvent>,
    timer: Option<Instant>,
    counters: Counters,
    last_path: Option<Path>,
}

impl EchoCore {
    fn new(_: WorkerIndex, _: Instant) -> Self {
        Self {
            batch: SendBatch::with_capacity(1 << 20),
            leaving: Vec::new(),
            mail: Vec::new(),
            waits_for_arrival: false,
            events: VecDeque::new(),
            timer: None,
            counters: Counters::default(),
            last_path: None,
        }
    }

    fn connected(connection: u32) -> WorkerEvent {
        WorkerEvent::Connected {
            connection: ConnectionId(connection),
        }
    }
}

impl Core for EchoCore {
    type Mail = (Path, Vec<u8>);

    fn handle_command(&mut self, now: Instant, command: WorkerCommand) {
        match command {
            WorkerCommand::Close { connection } => self.events.push_back(WorkerEvent::Connected { connection }),
            _ => self.timer = Some(now + Duration::from_millis(1)),
        }
    }

    fn handle_packet(&mut self, _: Instant, path: Path, packet: &mut [u8]) {
        assert_ne!(packet, b"panic", "as the packet asks");
        self.last_path = Some(path);
        self.counters.rtp_packets_in += 1;
        match *packet {
            [kind @ (b'>' | b'&'), to, ..] => {
                self.leaving.push((WorkerIndex(to), (path, packet.to_vec())));
                self.waits_for_arrival |= kind == b'&';
            }
            _ => assert!(self.batch.push(path, packet)),
        }
    }

    fn handle_mail(&mut self, _: Instant, from: WorkerIndex, (path, mut packet): Self::Mail) {
        if packet[0] == b'&' {
            *ARRIVED.0.lock().expect("no panic before") = true;
            ARRIVED.1.notify_all();
        }
        packet.push(b'0' + from.0);
        assert!(self.batch.push(path, &packet));
    }

    fn handle_path_closed(&mut self, _: Instant, _: Path) {
        self.events.push_back(Self::connected(999));
    }

    fn handle_timeout(&mut self, now: Instant) {
        assert!(self.timer.take().is_some_and(|at| at <= now));
        self.events.push_back(Self::connected(777));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.timer
    }

    fn write_mail(&mut self) {
        self.mail.append(&mut self.leaving);
    }

    fn flush(&mut self, _: Instant, sink: &mut dyn PacketSink) {
        self.write_mail();
        if std::mem::take(&mut self.waits_for_arrival) {
            let arrived = ARRIVED.0.lock().expect("no panic before");
            let waited = ARRIVED.1.wait_timeout_while(arrived, PATIENCE, |arrived| !*arrived);
            assert!(
                !waited.expect("no panic before").1.timed_out(),
                "mail waits for sending"
            );
        }
        sink.send(&self.batch);
        self.batch.clear();
    }

    fn poll_event(&mut self) -> Option<WorkerEvent> {
        self.events.pop_front()
    }

    fn poll_mail(&mut self) -> Option<(WorkerIndex, Self::Mail)> {
        self.mail.pop()
    }

    fn on_mailbox_full(&mut self, _: WorkerIndex) {
        self.counters.drops.count(DropReason::MailboxFull);
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn is_closed_path(&self, _: Path) -> bool {
        false
    }

    fn close_all(&mut self, _: Instant) {
        self.events.push_back(WorkerEvent::Closed {
            connection: ConnectionId(0),
            reason: CloseReason::PeerClosed,
        });
        if let Some(path) = self.last_path {
            assert!(self.batch.push(path, b"bye"));
        }
    }
}

type Events = UnboundedReceiver<(WorkerIndex, WorkerEvent)>;

fn start(workers: u8) -> (Vec<WorkerHandle>, Events) {
    let settings = WorkerSettings {
        workers,
        ..Default::default()
    };
    let (sender, events) = unbounded_channel();
    (spawn_all(&settings, EchoCore::new, &sender).expect("starts"), events)
}

fn client() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

fn addr(worker: &WorkerHandle) -> SocketAddr {
    ([127, 0, 0, 1], worker.port()).into()
}

fn receive(socket: &UdpSocket) -> (Vec<u8>, u16) {
    let mut buffer = [0; 2000];
    let (len, from) = socket.recv_from(&mut buffer).expect("a datagram");
    (buffer[..len].to_vec(), from.port())
}

#[test]
fn datagrams_come_back_from_each_worker() {
    let (workers, _events) = start(2);
    assert_ne!(workers[0].port(), workers[1].port());
    let client = client();
    for worker in &workers {
        for packet in [&b"one"[..], &[5; 1200], b"three"] {
            client.send_to(packet, addr(worker)).expect("sent");
            assert_eq!(receive(&client), (packet.to_vec(), worker.port()));
        }
    }
}

#[test]
fn more_datagrams_than_one_turn_takes_all_come_back() {
    let (workers, _events) = start(1);
    let client = client();
    for round in 0..20 {
        for _ in 0..100 {
            client.send_to(&[round; 100], addr(&workers[0])).expect("sent");
        }
        for _ in 0..100 {
            assert_eq!(receive(&client).0, [round; 100]);
        }
    }
}

#[test]
fn feedback_comes_back_while_media_flows_and_while_none_does() {
    let (workers, _events) = start(1);
    let client = client();
    let media = [0x80, 96, 1];
    // Long enough for the worker to have itself woken by feedback; what comes back then ends that.
    let pauses = [Duration::ZERO, Duration::ZERO, QUIET_AFTER * 3 / 2, Duration::ZERO];
    for (number, pause) in (0..).zip(pauses) {
        std::thread::sleep(pause);
        let report = [0x81, 201, number];
        client.send_to(&report, addr(&workers[0])).expect("sent");
        assert_eq!(receive(&client).0, report, "though nothing else comes");
        client.send_to(&report, addr(&workers[0])).expect("sent");
        client.send_to(&media, addr(&workers[0])).expect("sent");
        let mut came = [receive(&client).0, receive(&client).0];
        came.sort();
        assert_eq!(came, [media, report]);
    }
}

#[test]
fn mail_reaches_the_other_worker_and_leaves_from_there() {
    let (workers, _events) = start(3);
    let client = client();
    for (from, to) in [(0, 1), (1, 0), (2, 1), (0, 0)] {
        client.send_to(&[b'>', to], addr(&workers[from])).expect("sent");
        let expected = vec![b'>', to, b'0' + from as u8];
        assert_eq!(receive(&client), (expected, workers[usize::from(to)].port()));
    }
}

#[test]
fn the_other_worker_has_its_mail_before_this_one_sends() {
    let (workers, _events) = start(2);
    let client = client();
    client.send_to(b"&\x01", addr(&workers[0])).expect("sent");
    assert_eq!(receive(&client), (b"&\x010".to_vec(), workers[1].port()));
}

#[test]
fn mail_to_a_worker_that_is_not_there_is_a_counted_drop() {
    let (mut workers, _events) = start(1);
    let client = client();
    client.send_to(b">\x05", addr(&workers[0])).expect("sent");
    client.send_to(b"after", addr(&workers[0])).expect("sent");
    assert_eq!(receive(&client).0, b"after");
    let worker = workers.remove(0);
    let stats = worker.stats();
    worker.join();
    assert_eq!(stats.drops(DropReason::MailboxFull), 1);
}

#[test]
fn packets_over_tcp_come_back_framed() {
    let (workers, mut events) = start(1);
    let mut client = TcpStream::connect(addr(&workers[0])).expect("connects");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut request = vec![0, 20, 0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    request.resize(22, 9);
    client.write_all(&request).expect("written");
    client.write_all(b"\0\x03two").expect("written");
    let mut answer = [0; 27];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[..22], request);
    assert_eq!(&answer[22..], b"\0\x03two");
    drop(client);
    assert_eq!(events.blocking_recv(), Some((WorkerIndex(0), EchoCore::connected(999))));
}

#[test]
fn commands_and_timers_lead_to_events() {
    let (workers, mut events) = start(2);
    workers[1].send(WorkerCommand::Close {
        connection: ConnectionId(5),
    });
    assert_eq!(events.blocking_recv(), Some((WorkerIndex(1), EchoCore::connected(5))));
    workers[0].send(WorkerCommand::SetMuted {
        track: TrackId(1),
        muted: true,
    });
    assert_eq!(events.blocking_recv(), Some((WorkerIndex(0), EchoCore::connected(777))));
}

#[test]
fn a_stopped_worker_handles_its_commands_takes_leave_and_publishes() {
    let (mut workers, mut events) = start(1);
    let client = client();
    client.send_to(b"hello", addr(&workers[0])).expect("sent");
    assert_eq!(receive(&client).0, b"hello");
    let worker = workers.remove(0);
    let port = worker.port();
    let stats = worker.stats();
    worker.send(WorkerCommand::Close {
        connection: ConnectionId(8),
    });
    worker.join();
    assert_eq!(receive(&client), (b"bye".to_vec(), port));
    let (_, first) = events.blocking_recv().expect("the command's event");
    assert_eq!(first, EchoCore::connected(8));
    assert!(matches!(events.blocking_recv(), Some((_, WorkerEvent::Closed { .. }))));
    assert_eq!(events.blocking_recv(), None, "nobody is left to send");
    let text = scrape(vec![stats]);
    for line in [
        "tianqiao_sfu_rtp_packets_total{direction=\"in\",worker=\"0\"} 1",
        "tianqiao_sfu_packets_total{direction=\"out\",worker=\"0\"} 2",
        "tianqiao_sfu_bytes_total{direction=\"out\",worker=\"0\"} 8",
        "tianqiao_sfu_forwarding_latency_seconds_count 2",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
}

fn scrape(stats: Vec<Arc<WorkerStats>>) -> String {
    let registry = prometheus::Registry::new();
    crate::metrics::WorkerCollector::register(&registry, stats).expect("no name twice");
    prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .expect("encodes")
}

#[test]
fn a_running_worker_publishes_by_itself() {
    let (workers, _events) = start(1);
    let client = client();
    let begun = Instant::now();
    while scrape(vec![workers[0].stats()]).contains("rtp_packets_total{direction=\"in\",worker=\"0\"} 0") {
        assert!(begun.elapsed() < PATIENCE, "never published");
        client.send_to(b"x", addr(&workers[0])).expect("sent");
        receive(&client);
    }
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let taken = UdpSocket::bind("127.0.0.1:0").expect("binds");
    let port = taken.local_addr().expect("bound").port();
    let settings = WorkerSettings {
        bind: Some([127, 0, 0, 1].into()),
        port,
        ..Default::default()
    };
    let (sender, _events) = unbounded_channel();
    let error = spawn_all(&settings, EchoCore::new, &sender).err().expect("refused");
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    assert!(error.to_string().contains(&format!("UDP 127.0.0.1:{port}")), "{error}");
}

const PANIC: &str = "TIANQIAO_TEST_WORKER_PANIC";

/// Runs itself as a process of its own, because a panic in a worker ends the process.
#[test]
fn a_panic_in_a_worker_ends_the_process() {
    if std::env::var_os(PANIC).is_none() {
        let this = std::env::current_exe().expect("a test binary");
        let output = Command::new(this)
            .args(["--exact", "worker::tests::a_panic_in_a_worker_ends_the_process"])
            .env(PANIC, "1")
            .output()
            .expect("runs");
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        assert_eq!(signal, Some(6), "aborted: {output:?}");
        return;
    }
    let (mut workers, mut events) = start(1);
    client().send_to(b"panic", addr(&workers[0])).expect("sent");
    assert_eq!(events.blocking_recv(), None, "the thread is unwinding");
    // Returns only if the thread has died and the process lives on.
    workers.remove(0).join();
}
