//! One accepted TCP stream.

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Instant;

use mio::net::TcpStream;
use socket2::SockRef;
use tianqiao_sfu_core::drop_reason::DropReason;
use tianqiao_sfu_core::path::{Path, TcpStreamId};

use super::framing::FrameReader;
use super::write_queue::WriteQueue;
use crate::metrics::ShellCounters;

/// Reads of one stream in one turn of the worker, so that one fast sender does not hold up the rest.
const READS_PER_TURN: usize = 4;
/// Bytes that the kernel holds beyond what the network has taken, so that the queue that is waited
/// in is ours, with its limit.
const KERNEL_UNSENT: u32 = 16 << 10;

pub enum Progress {
    /// Goes on without waiting.
    More,
    Blocked,
    Ended,
}

pub struct Stream {
    pub id: TcpStreamId,
    pub path: Path,
    pub accepted_at: Instant,
    /// In the list of streams to read.
    pub is_readable: bool,
    /// In the list of streams to write.
    pub is_dirty: bool,
    /// The kernel took no more; it tells when it does.
    pub is_full: bool,
    socket: TcpStream,
    reader: FrameReader,
    queue: WriteQueue,
    /// The first packet was a STUN request, as ICE begins.
    has_begun: bool,
}

impl Stream {
    pub fn new(id: TcpStreamId, socket: TcpStream, remote: SocketAddr, now: Instant) -> Self {
        // Without either option packets are later, not lost.
        let _ = socket.set_nodelay(true);
        let _ = SockRef::from(&socket).set_tcp_notsent_lowat(KERNEL_UNSENT);
        Self {
            id,
            path: Path::Tcp { stream: id, remote },
            accepted_at: now,
            is_readable: false,
            is_dirty: false,
            is_full: false,
            socket,
            reader: FrameReader::new(),
            queue: WriteQueue::default(),
            has_begun: false,
        }
    }

    /// A STUN request came, as the first packet.
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    pub fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    pub fn has_queued(&self) -> bool {
        !self.queue.is_empty()
    }

    /// False: dropped, too much waits already.
    pub fn queue(&mut self, packet: &[u8], limit: usize) -> bool {
        self.queue.push(packet, limit)
    }

    pub fn write(&mut self) -> Progress {
        match self.queue.write_to(&mut self.socket) {
            Ok(true) => Progress::More,
            Ok(false) => Progress::Blocked,
            Err(_) => Progress::Ended,
        }
    }

    pub fn read(&mut self, counters: &mut ShellCounters, mut handle: impl FnMut(Path, &mut [u8])) -> Progress {
        for _ in 0..READS_PER_TURN {
            match self.socket.read(self.reader.space()) {
                Ok(0) => return Progress::Ended,
                Ok(len) => self.reader.filled(len),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Progress::Ended,
            }
            loop {
                let packet = match self.reader.next_frame() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => break,
                    Err(_) => {
                        counters.drop_packets(DropReason::TcpFraming, 1);
                        return Progress::Ended;
                    }
                };
                if !self.has_begun && !is_binding_request(packet) {
                    counters.drop_packets(DropReason::TcpFraming, 1);
                    return Progress::Ended;
                }
                self.has_begun = true;
                counters.packets_in += 1;
                counters.bytes_in += packet.len() as u64;
                handle(self.path, packet);
            }
        }
        Progress::More
    }
}

/// By type and magic cookie (RFC 8489, section 5); the core checks the rest.
fn is_binding_request(packet: &[u8]) -> bool {
    packet.len() >= 20 && packet[..2] == [0x00, 0x01] && packet[4..8] == [0x21, 0x12, 0xa4, 0x42]
}
