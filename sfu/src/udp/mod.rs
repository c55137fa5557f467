//! The UDP socket of a worker: `recvmmsg` with GRO in, `sendmmsg` with GSO out. Linux only, and the
//! only unsafe code of the project: system calls that the standard library does not have.
//!
//! A socket that is bound to the wildcard notes which of the machine's addresses a datagram came to
//! (`IP_PKTINFO`) and answers from it: a peer knows an answer from elsewhere as no answer.

mod address;
mod local_addrs;
mod receive;
mod send;

#[cfg(test)]
mod tests;

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use libc::{c_int, c_void};
use socket2::{Domain, Protocol, Socket, Type};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::SendBatch;

use local_addrs::LocalAddrs;

pub use address::normalise;
pub use receive::ReceiveReport;
pub use send::SendReport;

/// Messages that one system call takes or gives.
pub const BATCH: usize = 64;

#[derive(Clone, Copy, Debug)]
pub struct UdpSettings {
    /// Bytes asked of the kernel for each of the socket's two buffers. Without CAP_NET_ADMIN it grants
    /// at most `net.core.rmem_max` and `wmem_max`.
    pub buffer_bytes: usize,
    /// Use `UDP_SEGMENT` and `UDP_GRO` where the kernel has them.
    pub offload: bool,
}

impl Default for UdpSettings {
    fn default() -> Self {
        Self {
            // A quarter of a second at 128 Mbit/s.
            buffer_bytes: 4 << 20,
            offload: true,
        }
    }
}

/// Non-blocking; received packets and packets to send share no state, so a handler may fill a
/// [`SendBatch`] while a batch is being received.
pub struct UdpSocket {
    socket: Socket,
    local: SocketAddr,
    local_addrs: LocalAddrs,
    receiver: receive::Receiver,
    sender: send::Sender,
}

impl UdpSocket {
    /// Binds to `addr`. The IPv6 wildcard takes IPv4 too.
    pub fn bind(addr: SocketAddr, settings: UdpSettings) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.set_nonblocking(true)?;
        let fd = socket.as_raw_fd();
        set_buffer_size(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, settings.buffer_bytes)?;
        set_buffer_size(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, settings.buffer_bytes)?;
        if addr.ip().is_unspecified() {
            match addr {
                SocketAddr::V4(_) => set_option(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?,
                SocketAddr::V6(_) => set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?,
            }
        }
        socket.bind(&addr.into())?;
        let local = socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket has no internet address"))?;
        // Without it lost packets are only uncounted.
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        let gro = settings.offload && set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        // 0 leaves segmentation to the control message of each send, and fails where it is unknown.
        let gso = settings.offload && set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        Ok(Self {
            receiver: receive::Receiver::new(gro),
            sender: send::Sender::new(addr.is_ipv6(), gso),
            socket,
            local,
            local_addrs: LocalAddrs::default(),
        })
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes that the kernel granted for receiving and for sending, in the measure of
    /// [`UdpSettings::buffer_bytes`].
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        // The kernel reserves as much again for its own structures and reports both.
        Ok((self.socket.recv_buffer_size()? / 2, self.socket.send_buffer_size()? / 2))
    }

    /// Segmentation offload is in use; a run-time refusal by kernel or network card ends it.
    pub fn is_offloading(&self) -> bool {
        self.sender.is_offloading()
    }

    /// One `recvmmsg` of up to [`BATCH`] messages, each datagram given to `handle` with its path,
    /// to be changed in place. `WouldBlock` where there was none.
    pub fn recv_batch(&mut self, handle: impl FnMut(Path, &mut [u8])) -> io::Result<ReceiveReport> {
        let fd = self.socket.as_raw_fd();
        self.receiver.receive(fd, &mut self.local_addrs, handle)
    }

    /// Hands all UDP runs of `batch` to the kernel; other runs are skipped. Never blocks: what does
    /// not fit into the send buffer is dropped and counted in the report.
    pub fn send_batch(&mut self, batch: &SendBatch) -> SendReport {
        self.sender.send(self.socket.as_raw_fd(), &self.local_addrs, batch)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The wildcard that takes both IP versions, or IPv4's on a host without IPv6.
pub fn wildcard() -> IpAddr {
    let dual = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP)).and_then(|socket| {
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
    });
    match dual {
        Ok(()) => Ipv6Addr::UNSPECIFIED.into(),
        Err(_) => Ipv4Addr::UNSPECIFIED.into(),
    }
}

/// With the privilege to pass the system's limit, or within it.
fn set_buffer_size(fd: RawFd, forced: c_int, limited: c_int, bytes: usize) -> io::Result<()> {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX / 2);
    set_option(fd, libc::SOL_SOCKET, forced, bytes).or_else(|_| set_option(fd, libc::SOL_SOCKET, limited, bytes))
}

fn set_option(fd: RawFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    // SAFETY: the pointer and length are those of a live c_int, and the kernel only reads it.
    let result = unsafe {
        libc::setsockopt(
            fd,
            level,
            name,
            (&raw const value).cast::<c_void>(),
            size_of::<c_int>() as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
