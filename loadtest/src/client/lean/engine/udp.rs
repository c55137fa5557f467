//! `recvmmsg` and `sendmmsg` with buffers that all sockets of a thread share. No offloads: browsers
//! have none either, and the kernel's part of the server's work shall be what it is with them.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, RawFd};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrayvec::ArrayVec;
use nix::errno::Errno;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6, SockaddrStorage, recvmmsg, sendmmsg,
    setsockopt,
};
use nix::sys::time::TimeSpec;

/// Messages of one system call: several frames' packets.
const BATCH: usize = 64;
/// Larger than any packet on a path for media; what is longer is cut off, and fails to authenticate.
const MAX_DATAGRAM: usize = 2048;

/// Lets the kernel say when each datagram arrived.
pub(super) fn enable_timestamps(socket: &impl AsFd) -> Result<(), Errno> {
    setsockopt(socket, ReceiveTimestampns, &true)
}

pub(super) struct Receiver {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<u8>,
}

impl Receiver {
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, Some(nix::cmsg_space!(TimeSpec))),
            buffers: vec![0; BATCH * MAX_DATAGRAM],
        }
    }

    /// Gives what waits in the socket to `handle`, datagram by datagram, with when it arrived and from where;
    /// whether there may be more.
    pub fn receive(
        &mut self,
        fd: RawFd,
        mut handle: impl FnMut(Instant, SocketAddr, &mut [u8]),
    ) -> Result<bool, Errno> {
        let mut received: ArrayVec<(Instant, Option<SocketAddr>, usize), BATCH> = ArrayVec::new();
        let clocks = Clocks::now();
        {
            let mut buffers = self.buffers.chunks_exact_mut(MAX_DATAGRAM);
            let mut slices: [[IoSliceMut<'_>; 1]; BATCH] =
                std::array::from_fn(|_| [IoSliceMut::new(buffers.next().unwrap_or_default())]);
            let flags = MsgFlags::MSG_DONTWAIT;
            let messages = recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None)?;
            received.extend(messages.map(|message| {
                let at = message
                    .cmsgs()
                    .ok()
                    .and_then(|mut messages| messages.find_map(timestamp));
                let at = at.map_or(clocks.instant, |at| clocks.instant_of(at));
                (at, message.address.as_ref().and_then(to_std), message.bytes)
            }));
        }
        for ((at, from, len), buffer) in received.iter().zip(self.buffers.chunks_exact_mut(MAX_DATAGRAM)) {
            if let Some(from) = from {
                handle(*at, *from, &mut buffer[..*len]);
            }
        }
        Ok(received.is_full())
    }
}

fn timestamp(message: ControlMessageOwned) -> Option<Duration> {
    match message {
        ControlMessageOwned::ScmTimestampns(at) => Some(at.into()),
        _ => None,
    }
}

/// One moment by both clocks: the kernel's timestamps are of the one, ours of the other.
struct Clocks {
    instant: Instant,
    since_epoch: Duration,
}

impl Clocks {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            since_epoch: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
        }
    }

    /// Of a moment that has passed, in time since the Unix epoch; where the clock was set meanwhile, now.
    fn instant_of(&self, at: Duration) -> Instant {
        let ago = self.since_epoch.saturating_sub(at);
        self.instant.checked_sub(ago).unwrap_or(self.instant)
    }
}

/// Datagrams of one socket that go out with one system call.
pub(super) struct Sender {
    headers: MultiHeaders<SockaddrStorage>,
    buffers: Vec<u8>,
    lens: ArrayVec<usize, BATCH>,
    addrs: ArrayVec<Option<SockaddrStorage>, BATCH>,
}

impl Sender {
    pub fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, None),
            buffers: vec![0; BATCH * MAX_DATAGRAM],
            lens: ArrayVec::new(),
            addrs: ArrayVec::new(),
        }
    }

    /// Adds a datagram, and sends what there is once there is room for no more.
    pub fn push(&mut self, fd: RawFd, to: SocketAddr, data: &[u8]) {
        let start = self.lens.len() * MAX_DATAGRAM;
        let Some(buffer) = self.buffers[start..start + MAX_DATAGRAM].get_mut(..data.len()) else {
            return;
        };
        buffer.copy_from_slice(data);
        self.lens.push(data.len());
        self.addrs.push(Some(SockaddrStorage::from(to)));
        if self.lens.is_full() {
            self.flush(fd);
        }
    }

    pub fn flush(&mut self, fd: RawFd) {
        let mut first = 0;
        while first < self.lens.len() {
            match self.send(fd, first) {
                Ok(sent) => first += sent.max(1),
                Err(Errno::EINTR) => {}
                // Without room, or towards nobody: lost, as it might be on its way.
                Err(error) => {
                    tracing::debug!(%error, "a datagram was not sent");
                    first += 1;
                }
            }
        }
        self.lens.clear();
        self.addrs.clear();
    }

    fn send(&mut self, fd: RawFd, first: usize) -> Result<usize, Errno> {
        let slices: ArrayVec<[IoSlice<'_>; 1], BATCH> = self
            .buffers
            .chunks_exact(MAX_DATAGRAM)
            .zip(&self.lens)
            .skip(first)
            .map(|(buffer, len)| [IoSlice::new(&buffer[..*len])])
            .collect();
        let (addrs, flags) = (&self.addrs[first..], MsgFlags::MSG_DONTWAIT);
        Ok(sendmmsg(fd, &mut self.headers, slices.iter(), addrs, [], flags)?.count())
    }
}

fn to_std(addr: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = addr
        .as_sockaddr_in()
        .map(|addr: &SockaddrIn| SocketAddrV4::from(*addr).into());
    let v6 = || {
        let addr: &SockaddrIn6 = addr.as_sockaddr_in6()?;
        let ip: Ipv6Addr = addr.ip();
        Some(SocketAddrV6::new(ip, addr.port(), addr.flowinfo(), addr.scope_id()).into())
    };
    v4.or_else(v6)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn datagrams_go_and_come_in_batches() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(from) = UdpSocket::bind(local) else {
                // A host without IPv6.
                assert_eq!(local, "[::1]:0");
                continue;
            };
            let to = UdpSocket::bind(local).unwrap();
            enable_timestamps(&to).unwrap();
            let sent = Instant::now();
            let (mut sender, mut receiver) = (Sender::new(), Receiver::new());
            for number in 0..70u8 {
                sender.push(
                    from.as_raw_fd(),
                    to.local_addr().unwrap(),
                    &[number; 1200][..1000 + usize::from(number)],
                );
            }
            sender.flush(from.as_raw_fd());
            let mut next = 0;
            while next < 70 {
                let more = receiver.receive(to.as_raw_fd(), |at, source, data| {
                    assert!(at + Duration::from_millis(100) > sent && at <= Instant::now());
                    assert_eq!(source, from.local_addr().unwrap());
                    assert_eq!((data.len(), data[0]), (1000 + usize::from(next), next));
                    next += 1;
                });
                assert_eq!(more.unwrap(), next == 64);
            }
            assert_eq!(receiver.receive(to.as_raw_fd(), |_, _, _| {}), Err(Errno::EAGAIN));
        }
    }
}
