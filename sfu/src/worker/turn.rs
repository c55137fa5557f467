//! The loop of a worker's thread.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::send_batch::SendBatch;
use tianqiao_sfu_core::units::WorkerIndex;
use tianqiao_sfu_core::worker_api::WorkerEvent;
use tokio::sync::mpsc::UnboundedSender;

use super::core_api::{Core, PacketSink};
use super::feedback::FeedbackSchedule;
use crate::mailbox::{Commands, Exchange, Wake};
use crate::metrics::{ShellCounters, WorkerStats};
use crate::poller::{Poller, Ready};
use crate::tcp::{TcpInput, TcpStreams};
use crate::udp::{ReceiveReport, UdpSocket};

/// Batches of datagrams received in one turn, so that commands and timers wait for at most
/// [`crate::udp::BATCH`] times as many messages.
const BATCHES_PER_TURN: usize = 8;
/// How often counters are published by a worker that is busy.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(250);
/// Longest wait, after which counters are published by a worker that is idle.
const MAX_WAIT: Duration = Duration::from_secs(1);

pub struct Sockets {
    pub poller: Poller,
    pub udp: UdpSocket,
    pub tcp: TcpStreams,
}

pub struct Mailboxes<M> {
    pub wake: Arc<Wake>,
    pub commands: Arc<Commands>,
    pub exchange: Exchange<M>,
    pub events: UnboundedSender<(WorkerIndex, WorkerEvent)>,
}

pub struct Worker<C: Core> {
    index: WorkerIndex,
    core: C,
    sockets: Sockets,
    mailboxes: Mailboxes<C::Mail>,
    counters: ShellCounters,
    stats: Arc<WorkerStats>,
    /// Datagrams may be waiting.
    udp_ready: bool,
    feedback: FeedbackSchedule,
    published_at: Instant,
    published_busy_ns: u64,
}

impl<C: Core> Worker<C> {
    pub fn new(
        index: WorkerIndex,
        core: C,
        sockets: Sockets,
        mailboxes: Mailboxes<C::Mail>,
        stats: Arc<WorkerStats>,
    ) -> Self {
        Self {
            index,
            core,
            sockets,
            mailboxes,
            counters: ShellCounters::default(),
            stats,
            udp_ready: true,
            feedback: FeedbackSchedule::new(Instant::now()),
            published_at: Instant::now(),
            published_busy_ns: 0,
        }
    }

    /// Runs until it is told to stop.
    pub fn run(mut self) {
        let mut now = Instant::now();
        while !self.mailboxes.commands.is_stopped() {
            self.wait(now);
            let begun = Instant::now();
            self.turn(begun);
            now = Instant::now();
            self.counters.busy_ns += nanos(now - begun);
            if now >= self.published_at + PUBLISH_INTERVAL {
                self.publish(now);
            }
        }
        self.close(now);
    }

    fn turn(&mut self, now: Instant) {
        self.mailboxes.wake.acknowledge();
        while let Some(command) = self.mailboxes.commands.poll() {
            self.core.handle_command(now, command);
        }
        let core = &mut self.core;
        self.mailboxes
            .exchange
            .receive(|from, mail| core.handle_mail(now, from, mail));
        self.handle_datagrams(now);
        let now = Instant::now();
        self.handle_feedback(now);
        self.handle_streams(now);
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        self.flush(now);
    }

    fn wait(&mut self, now: Instant) {
        let timeout = if self.udp_ready || self.sockets.tcp.is_ready() {
            Duration::ZERO
        } else {
            let feedback = self.sockets.udp.feedback_fd().and(self.feedback.poll_timeout());
            let timers = [self.core.poll_timeout(), self.sockets.tcp.poll_timeout(), feedback];
            let next = timers.into_iter().flatten().min();
            next.map_or(MAX_WAIT, |at| at.saturating_duration_since(now).min(MAX_WAIT))
        };
        let (tcp, udp_ready, feedback) = (&mut self.sockets.tcp, &mut self.udp_ready, &mut self.feedback);
        self.sockets
            .poller
            .wait(timeout, |ready| match ready {
                Ready::Udp => *udp_ready = true,
                Ready::Feedback => feedback.on_ready(),
                Ready::Listener => tcp.on_listener_ready(),
                Ready::Stream {
                    stream,
                    readable,
                    writable,
                } => tcp.on_stream_ready(stream, readable, writable),
            })
            .expect("epoll waits on a descriptor of ours with memory of ours");
    }

    /// Receives datagrams batch by batch and sends what comes of each before the next is received.
    fn handle_datagrams(&mut self, mut now: Instant) {
        for _ in 0..BATCHES_PER_TURN {
            if !self.udp_ready || !self.recv_batch(now) {
                return;
            }
            self.flush(now);
            now = Instant::now();
        }
    }

    /// False where there was nothing to receive.
    fn recv_batch(&mut self, now: Instant) -> bool {
        let core = &mut self.core;
        let received = self.sockets.udp.recv_batch(|path, packet| {
            core.handle_packet(now, path, packet);
        });
        match received {
            Ok(report) => {
                // Fewer than asked for: the next one will be announced.
                self.udp_ready = report.is_full;
                self.count_received(report);
                true
            }
            Err(error) => {
                // Other errors are those that ICMP brought for something we sent; reading one
                // clears it, and there may be datagrams behind it.
                self.udp_ready = error.kind() != io::ErrorKind::WouldBlock;
                self.udp_ready
            }
        }
    }

    fn count_received(&mut self, report: ReceiveReport) {
        self.counters.packets_in += report.datagrams as u64;
        self.counters.bytes_in += report.bytes as u64;
        self.counters.receive_overflows += u64::from(report.overflowed);
        self.counters.drop_packets(DropReason::TooLarge, report.too_large);
    }

    /// Reads the feedback that the kernel sorted out; what comes of it is sent at the end of the turn.
    fn handle_feedback(&mut self, now: Instant) {
        let Some(fd) = self.sockets.udp.feedback_fd() else {
            return;
        };
        if !self.feedback.is_due(now) {
            return;
        }
        let mut more = true;
        for _ in 0..BATCHES_PER_TURN {
            let core = &mut self.core;
            let received = self.sockets.udp.recv_feedback(|path, packet| {
                core.handle_packet(now, path, packet);
            });
            match received {
                Ok(report) => {
                    more = report.is_full;
                    self.count_received(report);
                }
                Err(error) => more = error.kind() != io::ErrorKind::WouldBlock,
            }
            if !more {
                break;
            }
        }
        if let Some(awaited) = self.feedback.on_looked(now, more, self.counters.packets_out) {
            let poller = &self.sockets.poller;
            let changed = match awaited {
                true => poller.add_feedback(fd),
                false => poller.remove_feedback(fd),
            };
            match changed {
                Ok(()) => self.feedback.set_awaited(awaited),
                // As before then: by the clock, or woken for each.
                Err(error) => tracing::debug!(%error, "epoll and the feedback socket"),
            }
        }
    }

    fn handle_streams(&mut self, now: Instant) {
        let core = &mut self.core;
        let tcp = &mut self.sockets.tcp;
        tcp.handle_ready(now, &mut self.counters, |input| match input {
            TcpInput::Packet(path, packet) => core.handle_packet(now, path, packet),
            TcpInput::IsProven(path, is_proven) => *is_proven = !core.is_closed_path(path),
            TcpInput::Closed(path) => core.handle_path_closed(now, path),
        });
        tcp.handle_timeout(now, |path| core.is_closed_path(path));
    }

    /// Sends what came of the inputs since the last flush; `received_at` is when they were fetched.
    fn flush(&mut self, received_at: Instant) {
        // Other workers send their share meanwhile.
        self.core.write_mail();
        self.post_mail();
        let sent = self.counters.packets_out;
        let mut outlet = Outlet {
            sockets: &mut self.sockets,
            counters: &mut self.counters,
        };
        self.core.flush(received_at, &mut outlet);
        self.sockets.tcp.flush();
        let sent = self.counters.packets_out - sent;
        if sent > 0 {
            self.counters.latency.record(received_at.elapsed(), sent);
        }
        self.post_mail();
        while let Some(event) = self.core.poll_event() {
            // The control side is gone only while the process ends.
            let _ = self.mailboxes.events.send((self.index, event));
        }
    }

    fn post_mail(&mut self) {
        while let Some((to, mail)) = self.core.poll_mail() {
            if self.mailboxes.exchange.send(to, mail).is_err() {
                self.core.on_mailbox_full(to);
            }
        }
        self.mailboxes.exchange.wake_recipients();
    }

    fn publish(&mut self, now: Instant) {
        let busy = self.counters.busy_ns - self.published_busy_ns;
        let wall = nanos(now - self.published_at).max(1);
        self.counters.busy_permille = (busy * 1000 / wall).min(1000);
        self.counters.tcp_streams = self.sockets.tcp.len() as u64;
        self.stats.publish(self.core.counters(), &self.counters);
        self.published_at = now;
        self.published_busy_ns = self.counters.busy_ns;
    }

    fn close(mut self, now: Instant) {
        // Sent before the stop was.
        while let Some(command) = self.mailboxes.commands.poll() {
            self.core.handle_command(now, command);
        }
        self.core.close_all(now);
        self.flush(now);
        self.publish(now);
        tracing::info!(worker = self.index.0, "worker stopped");
    }
}

/// Hands a core's packets to the sockets.
struct Outlet<'a> {
    sockets: &'a mut Sockets,
    counters: &'a mut ShellCounters,
}

impl PacketSink for Outlet<'_> {
    fn send(&mut self, batch: &SendBatch) {
        let report = self.sockets.udp.send_batch(batch);
        self.counters.packets_out += report.datagrams as u64;
        self.counters.bytes_out += report.bytes as u64;
        self.counters
            .drop_packets(DropReason::SendBufferFull, report.buffer_full);
        self.counters.drop_packets(DropReason::SendFailed, report.failed);
        self.sockets.tcp.send_batch(batch, self.counters);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
