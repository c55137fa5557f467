//! ICE-TCP, passive side (RFC 6544): clients connect to the worker's port and send what they would
//! send as datagrams, framed by RFC 4571. Everything a stranger can make us hold is bounded.

mod framing;
mod places;
mod stream;
mod write_queue;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Interest, Registry};
use rustc_hash::FxHashMap;
use socket2::{Domain, Protocol, Socket, Type};
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::path::{Path, TcpStreamId};
use tianqiao_sfu_core::send_batch::SendBatch;

use crate::metrics::ShellCounters;
use crate::poller::{LISTENER, stream_token};
use crate::udp::normalise;
use places::Places;
use stream::{Progress, Stream};

pub use framing::MAX_FRAME;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// Streams accepted in one turn of the worker.
const ACCEPTS_PER_TURN: usize = 64;
/// How often streams are looked over.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two lines in the log about descriptors that ran out.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);
/// Accepts fail with these where the process or the system has no descriptor left.
const NO_DESCRIPTORS: [i32; 2] = [libc::EMFILE, libc::ENFILE];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Streams of one worker.
    pub max_streams: usize,
    /// Streams of one IPv4 address or one IPv6 /64 on one worker. Offices whose firewall forbids UDP
    /// share an address.
    pub max_streams_per_address: usize,
    /// Of them, those without a valid STUN check. An IPv6 /56 may have four times as many.
    pub max_unproven_per_address: usize,
    /// A stream over which no connection has had a valid STUN check by then is closed.
    pub grace: Duration,
    /// Bytes that wait for one stream; packets beyond are dropped.
    pub max_queued_bytes: usize,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            max_streams: 4_096,
            // A hall of people behind one carrier's address.
            max_streams_per_address: 1_024,
            // A client is without a check for a round trip.
            max_unproven_per_address: 64,
            grace: Duration::from_secs(10),
            // A second at 2 Mbit/s; what is older is of no use to a conversation.
            max_queued_bytes: 256 << 10,
        }
    }
}

/// What a stream brought.
#[derive(Debug, PartialEq, Eq)]
pub enum TcpInput<'a> {
    Packet(Path, &'a mut [u8]),
    /// A question: has a connection had a valid STUN check over the stream? Asked after packets of one that
    /// had none.
    IsProven(Path, &'a mut bool),
    /// The stream has ended, by the peer or by an error.
    Closed(Path),
}

/// The listener of one worker and its streams.
pub struct TcpStreams {
    listener: TcpListener,
    registry: Registry,
    settings: TcpSettings,
    streams: FxHashMap<TcpStreamId, Stream>,
    places: Places,
    /// Given up to accept, and so to refuse, where there is no other descriptor.
    spare: Option<File>,
    accept_again: Option<Instant>,
    warned_at: Option<Instant>,
    /// `None` once all ids are used up; then no stream is accepted.
    next_id: Option<u32>,
    listener_ready: bool,
    /// Streams that have more to read.
    readable: Vec<TcpStreamId>,
    /// Those of them whose turn it is; empty between turns.
    turn: Vec<TcpStreamId>,
    /// Streams that have something to write and are not known to be full.
    writable: Vec<TcpStreamId>,
    /// Ended by a failed write, not told of yet.
    failed: Vec<TcpStreamId>,
    next_check: Instant,
}

impl TcpStreams {
    /// Listens on `addr`. The IPv6 wildcard takes IPv4 too.
    pub fn listen(addr: SocketAddr, settings: TcpSettings, registry: &Registry, now: Instant) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        registry.register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self {
            listener,
            registry: registry.try_clone()?,
            settings,
            streams: FxHashMap::default(),
            places: Places::new(settings),
            spare: spare(),
            accept_again: None,
            warned_at: None,
            next_id: Some(0),
            listener_ready: true,
            readable: Vec::new(),
            turn: Vec::new(),
            writable: Vec::new(),
            failed: Vec::new(),
            next_check: now + CHECK_INTERVAL,
        })
    }

    pub fn len(&self) -> usize {
        self.streams.len()
    }

    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    pub fn on_listener_ready(&mut self) {
        self.listener_ready = true;
    }

    pub fn on_stream_ready(&mut self, id: TcpStreamId, readable: bool, writable: bool) {
        let Some(stream) = self.streams.get_mut(&id) else {
            return;
        };
        if readable && !stream.is_readable {
            stream.is_readable = true;
            self.readable.push(id);
        }
        if writable {
            stream.is_full = false;
            if stream.has_queued() && !stream.is_dirty {
                stream.is_dirty = true;
                self.writable.push(id);
            }
        }
    }

    /// There is something to do without waiting.
    pub fn is_ready(&self) -> bool {
        self.listener_ready || !self.readable.is_empty() || !self.failed.is_empty()
    }

    /// Accepts and reads, a bounded share for each stream; what is left stays ready.
    pub fn handle_ready(&mut self, now: Instant, counters: &mut ShellCounters, mut handle: impl FnMut(TcpInput<'_>)) {
        if self.listener_ready {
            self.accept(now, counters, &mut handle);
        }
        while let Some(id) = self.failed.pop() {
            self.close(id, &mut handle);
        }
        std::mem::swap(&mut self.readable, &mut self.turn);
        while let Some(id) = self.turn.pop() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            let path = stream.path;
            let progress = stream.read(counters, |path, packet| handle(TcpInput::Packet(path, packet)));
            if self.places.is_unproven(id) && stream.has_begun() {
                let mut is_proven = false;
                handle(TcpInput::IsProven(path, &mut is_proven));
                if is_proven {
                    self.places.prove(id, path.remote().ip());
                }
            }
            match progress {
                Progress::More => self.readable.push(id),
                Progress::Blocked => stream.is_readable = false,
                Progress::Ended => self.close(id, &mut handle),
            }
        }
    }

    /// Queues the TCP runs of `batch`; other runs are skipped. Follow with [`Self::flush`].
    pub fn send_batch(&mut self, batch: &SendBatch, counters: &mut ShellCounters) {
        for run in batch.runs() {
            let Path::Tcp { stream: id, .. } = run.path else {
                continue;
            };
            let Some(stream) = self.streams.get_mut(&id) else {
                counters.drop_packets(DropReason::SendFailed, run.segments);
                continue;
            };
            for packet in batch.bytes(run).chunks(run.segment) {
                if stream.queue(packet, self.settings.max_queued_bytes) {
                    counters.packets_out += 1;
                    counters.bytes_out += packet.len() as u64;
                } else {
                    counters.drop_packets(DropReason::SendBufferFull, 1);
                }
            }
            if !stream.is_full && !stream.is_dirty {
                stream.is_dirty = true;
                self.writable.push(id);
            }
        }
    }

    /// Writes what the streams take.
    pub fn flush(&mut self) {
        while let Some(id) = self.writable.pop() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            stream.is_dirty = false;
            match stream.write() {
                Progress::More => {}
                Progress::Blocked => stream.is_full = true,
                Progress::Ended => self.failed.push(id),
            }
        }
    }

    /// `None` while there are no streams, and none that could not be accepted.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let check = (!self.streams.is_empty()).then_some(self.next_check);
        check.into_iter().chain(self.accept_again).min()
    }

    /// Closes streams that are past their grace and that no connection uses (any more).
    pub fn handle_timeout(&mut self, now: Instant, is_closed: impl Fn(Path) -> bool) {
        if self.accept_again.is_some_and(|at| now >= at) {
            self.accept_again = None;
            self.listener_ready = true;
        }
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_INTERVAL;
        self.spare = self.spare.take().or_else(spare);
        let idle: Vec<_> = self
            .streams
            .values()
            .filter(|stream| now >= stream.accepted_at + self.settings.grace && is_closed(stream.path))
            .map(|stream| stream.id)
            .collect();
        for id in idle {
            self.close(id, &mut |_| ());
        }
    }

    fn accept(&mut self, now: Instant, counters: &mut ShellCounters, handle: &mut impl FnMut(TcpInput<'_>)) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((socket, remote)) => self.add(socket, normalise(remote), now, counters, handle),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.listener_ready = false;
                    return;
                }
                // The peer went away before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    counters.drop_packets(DropReason::TcpNoDescriptors, 1);
                    if self.warned_at.is_none_or(|at| now >= at + WARNING_INTERVAL) {
                        self.warned_at = Some(now);
                        tracing::warn!(%error, "cannot accept TCP streams; raise the limit of open files");
                    }
                    let is_full = error.raw_os_error().is_some_and(|code| NO_DESCRIPTORS.contains(&code));
                    if !(is_full && self.make_descriptor(handle)) {
                        self.listener_ready = false;
                        self.accept_again = Some(now + CHECK_INTERVAL);
                        return;
                    }
                }
            }
        }
    }

    /// Frees a descriptor for the stream that waits to be accepted: of the oldest stream that nobody has
    /// proven, else the spare one, only to close that stream, so that its client tries elsewhere. False
    /// where neither is possible.
    fn make_descriptor(&mut self, handle: &mut impl FnMut(TcpInput<'_>)) -> bool {
        if let Some(oldest) = self.places.oldest() {
            self.close(oldest, handle);
            return true;
        }
        if self.spare.take().is_none() {
            return false;
        }
        drop(self.listener.accept());
        self.spare = spare();
        true
    }

    fn add(
        &mut self,
        socket: mio::net::TcpStream,
        remote: SocketAddr,
        now: Instant,
        counters: &mut ShellCounters,
        handle: &mut impl FnMut(TcpInput<'_>),
    ) {
        let ip = remote.ip();
        let Some(number) = self.next_id else {
            counters.drop_packets(DropReason::TcpTooManyStreams, 1);
            return;
        };
        // Whoever has not shown a valid check gives way to who may.
        while let Some(reason) = self.places.is_full(ip) {
            let Some(oldest) = self.places.oldest_of(reason, ip) else {
                counters.drop_packets(DropReason::TcpTooManyStreams, 1);
                return;
            };
            counters.drop_packets(DropReason::TcpUnproven, 1);
            self.close(oldest, handle);
        }
        let id = TcpStreamId(number);
        let mut stream = Stream::new(id, socket, remote, now);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.registry.register(stream.socket(), stream_token(id), interest) {
            tracing::warn!(%error, "cannot wait for a TCP stream");
            return;
        }
        if self.streams.is_empty() {
            self.next_check = now + CHECK_INTERVAL;
        }
        self.places.add(id, ip);
        self.next_id = number.checked_add(1);
        self.streams.insert(id, stream);
    }

    fn close(&mut self, id: TcpStreamId, handle: &mut impl FnMut(TcpInput<'_>)) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        let _ = self.registry.deregister(stream.socket());
        self.places.remove(id, stream.path.remote().ip());
        handle(TcpInput::Closed(stream.path));
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}
