//! The UDP socket of a worker: `recvmmsg` with GRO in, `sendmmsg` with GSO out. Linux only, and the
//! only unsafe code of the project beside a prefetch: system calls that the standard library does not have.
//!
//! Beside it lies a second socket on the same port, into which the kernel sorts the feedback that can
//! wait for the next turn of the worker (see [`feedback`]).
//!
//! A socket that is bound to the wildcard notes which of the machine's addresses a datagram came to
//! (`IP_PKTINFO`) and answers from it: a peer knows an answer from elsewhere as no answer.

mod address;
mod feedback;
mod local_addrs;
mod receive;
mod send;

#[cfg(test)]
mod tests;

use std::io;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;

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
    /// Sort feedback that can wait into a socket of its own, where the kernel can.
    pub sort_feedback: bool,
}

impl Default for UdpSettings {
    fn default() -> Self {
        Self {
            // A quarter of a second at 128 Mbit/s.
            buffer_bytes: 4 << 20,
            offload: true,
            sort_feedback: true,
        }
    }
}

/// Non-blocking; received packets and packets to send share no state, so a handler may fill a
/// [`SendBatch`] while a batch is being received.
pub struct UdpSocket {
    inlet: Inlet,
    feedback: Option<Inlet>,
    local: SocketAddr,
    local_addrs: LocalAddrs,
    sender: send::Sender,
}

/// A socket and the buffers that it is read into.
struct Inlet {
    socket: Socket,
    receiver: receive::Receiver,
}

impl Inlet {
    fn bind(
        addr: SocketAddr,
        settings: UdpSettings,
        prepare: impl FnOnce(&Socket) -> io::Result<()>,
    ) -> io::Result<Self> {
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
        prepare(&socket)?;
        socket.bind(&addr.into())?;
        // Without it lost packets are only uncounted.
        let _ = set_option(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
        let gro = settings.offload && set_option(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        Ok(Self {
            receiver: receive::Receiver::new(gro),
            socket,
        })
    }
}

impl UdpSocket {
    /// Binds to `addr`. The IPv6 wildcard takes IPv4 too.
    pub fn bind(addr: SocketAddr, settings: UdpSettings) -> io::Result<Self> {
        let inlet = Inlet::bind(addr, settings, |_| Ok(()))?;
        let local = inlet
            .socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| io::Error::other("the socket has no internet address"))?;
        // 0 leaves segmentation to the control message of each send, and fails where it is unknown.
        let fd = inlet.socket.as_raw_fd();
        let gso = settings.offload && set_option(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok();
        let mut socket = Self {
            inlet,
            feedback: None,
            sender: send::Sender::new(addr.is_ipv6(), gso),
            local,
            local_addrs: LocalAddrs::default(),
        };
        if settings.sort_feedback {
            match feedback::bind_beside(&socket.inlet.socket, local, settings) {
                Ok(feedback) => socket.feedback = Some(feedback),
                Err(error) => {
                    tracing::info!(%error, "the kernel does not sort feedback: each packet of it wakes a worker")
                }
            }
        }
        Ok(socket)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Bytes that the kernel granted for receiving and for sending, in the measure of
    /// [`UdpSettings::buffer_bytes`].
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        // The kernel reserves as much again for its own structures and reports both.
        let socket = &self.inlet.socket;
        Ok((socket.recv_buffer_size()? / 2, socket.send_buffer_size()? / 2))
    }

    /// Segmentation offload is in use; a run-time refusal by kernel or network card ends it.
    pub fn is_offloading(&self) -> bool {
        self.sender.is_offloading()
    }

    /// `recvmmsg` of up to [`BATCH`] messages, each datagram given to `handle` with its path,
    /// to be changed in place. `WouldBlock` where there was none.
    pub fn recv_batch(&mut self, handle: impl FnMut(Path, &mut [u8])) -> io::Result<ReceiveReport> {
        let fd = self.inlet.socket.as_raw_fd();
        self.inlet.receiver.receive(fd, &mut self.local_addrs, handle)
    }

    /// As [`Self::recv_batch`], of the feedback that was sorted out. Where nothing sorts it, there is none.
    pub fn recv_feedback(&mut self, handle: impl FnMut(Path, &mut [u8])) -> io::Result<ReceiveReport> {
        let Some(feedback) = &mut self.feedback else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let fd = feedback.socket.as_raw_fd();
        feedback.receiver.receive(fd, &mut self.local_addrs, handle)
    }

    /// The socket that [`Self::recv_feedback`] reads, where feedback is sorted out.
    pub fn feedback_fd(&self) -> Option<RawFd> {
        Some(self.feedback.as_ref()?.socket.as_raw_fd())
    }

    /// Hands all UDP runs of `batch` to the kernel; other runs are skipped. Never blocks: what does
    /// not fit into the send buffer is dropped and counted in the report.
    pub fn send_batch(&mut self, batch: &SendBatch) -> SendReport {
        self.sender.send(self.as_raw_fd(), &self.local_addrs, batch)
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.inlet.socket.as_raw_fd()
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
    // SAFETY: an option of a c_int is plain bytes.
    unsafe { set_raw_option(fd, level, name, &value) }
}

/// # Safety
/// `T` is what the option takes, and pointers in it are to memory that the kernel may read meanwhile.
unsafe fn set_raw_option<T>(fd: RawFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let (value, len) = (ptr::from_ref(value).cast::<c_void>(), size_of::<T>() as libc::socklen_t);
    // SAFETY: the pointer and length are those of a live value, which the kernel only reads.
    let result = unsafe { libc::setsockopt(fd, level, name, value, len) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
