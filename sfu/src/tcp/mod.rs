//! ICE-TCP, passive side (RFC 6544): clients connect to the worker's port and send what they would
//! send as datagrams, framed by RFC 4571. Everything a stranger can make us hold is bounded.

mod framing;
mod stream;
mod write_queue;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
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
use stream::{Progress, Stream};

pub use framing::MAX_FRAME;

/// Connections that the kernel keeps for us until they are accepted.
const BACKLOG: i32 = 1024;
/// Streams accepted in one turn of the worker.
const ACCEPTS_PER_TURN: usize = 64;
/// How often streams are looked over.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
pub struct TcpSettings {
    /// Streams of one worker.
    pub max_streams: usize,
    /// Streams of one IPv4 address or one IPv6 /64 on one worker. Offices whose firewall forbids UDP
    /// share an address.
    pub max_streams_per_ip: usize,
    /// A stream over which no connection has had a valid STUN check by then is closed.
    pub grace: Duration,
    /// Bytes that wait for one stream; packets beyond are dropped.
    pub max_queued_bytes: usize,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self {
            max_streams: 4_096,
            max_streams_per_ip: 256,
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
    /// The stream has ended, by the peer or by an error.
    Closed(Path),
}

/// The listener of one worker and its streams.
pub struct TcpStreams {
    listener: TcpListener,
    registry: Registry,
    settings: TcpSettings,
    streams: FxHashMap<TcpStreamId, Stream>,
    per_ip: FxHashMap<IpAddr, usize>,
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
            per_ip: FxHashMap::default(),
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
            self.accept(now, counters);
        }
        while let Some(id) = self.failed.pop() {
            self.close(id, &mut handle);
        }
        std::mem::swap(&mut self.readable, &mut self.turn);
        while let Some(id) = self.turn.pop() {
            let Some(stream) = self.streams.get_mut(&id) else {
                continue;
            };
            match stream.read(counters, |path, packet| handle(TcpInput::Packet(path, packet))) {
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

    /// `None` while there are no streams.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.streams.is_empty()).then_some(self.next_check)
    }

    /// Closes streams that are past their grace and that no connection uses (any more).
    pub fn handle_timeout(&mut self, now: Instant, is_closed: impl Fn(Path) -> bool) {
        if now < self.next_check {
            return;
        }
        self.next_check = now + CHECK_INTERVAL;
        // Descriptors may have run out when the listener was last heard of.
        self.listener_ready = true;
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

    fn accept(&mut self, now: Instant, counters: &mut ShellCounters) {
        for _ in 0..ACCEPTS_PER_TURN {
            match self.listener.accept() {
                Ok((socket, remote)) => self.add(socket, normalise(remote), now, counters),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.listener_ready = false;
                    return;
                }
                // The peer went away before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a TCP stream");
                    self.listener_ready = false;
                    return;
                }
            }
        }
    }

    fn add(&mut self, socket: mio::net::TcpStream, remote: SocketAddr, now: Instant, counters: &mut ShellCounters) {
        let (Some(number), true) = (self.next_id, self.streams.len() < self.settings.max_streams) else {
            counters.drop_packets(DropReason::TcpTooManyStreams, 1);
            return;
        };
        let network = network(remote.ip());
        if self.per_ip.get(&network).copied().unwrap_or(0) >= self.settings.max_streams_per_ip {
            counters.drop_packets(DropReason::TcpTooManyStreams, 1);
            return;
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
        *self.per_ip.entry(network).or_insert(0) += 1;
        self.next_id = number.checked_add(1);
        self.streams.insert(id, stream);
    }

    fn close(&mut self, id: TcpStreamId, handle: &mut impl FnMut(TcpInput<'_>)) {
        let Some(mut stream) = self.streams.remove(&id) else {
            return;
        };
        let _ = self.registry.deregister(stream.socket());
        let network = network(stream.path.remote().ip());
        if let Some(of_ip) = self.per_ip.get_mut(&network) {
            *of_ip -= 1;
            if *of_ip == 0 {
                self.per_ip.remove(&network);
            }
        }
        handle(TcpInput::Closed(stream.path));
    }
}

/// What counts as one address: an IPv6 host has a whole /64 to itself.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
    }
}
