//! `recvmmsg` into buffers that live as long as the socket, and the splitting of what GRO joined.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::AddAssign;
use std::os::fd::RawFd;
use std::ptr;

use libc::{c_int, c_void, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr};

use tianqiao_sfu_core::path::Path;

use super::BATCH;
use super::address::{RAW_ADDR_LEN, RawAddr};
use super::local_addrs::LocalAddrs;

/// What GRO joins is at most one IP datagram.
const GRO_BUFFER: usize = 65_536;
/// Larger than any path's MTU that a browser uses; what is longer is cut off and refused.
const PLAIN_BUFFER: usize = 2_048;
/// Messages asked for first: mostly one or a video frame's, and the headers of [`BATCH`] messages are 12 kB
/// that have left the cache since.
const FEW: usize = 16;
/// Added to each buffer's size so that their first lines, of which nearly all packets consist, do
/// not all fall into the same sets of the cache.
const SKEW: usize = 2_048;

/// Room for two control messages of four bytes, the segment size and the count of overflows, and for
/// the address that the datagram came to.
const CONTROL_BYTES: usize = {
    // SAFETY: CMSG_SPACE is arithmetic on its argument.
    let one = unsafe { libc::CMSG_SPACE(size_of::<c_int>() as u32) };
    // SAFETY: as above; of the two forms of address this is the larger.
    let info = unsafe { libc::CMSG_SPACE(size_of::<in6_pktinfo>() as u32) };
    2 * one as usize + info as usize
};

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_BYTES]);

/// What one [`super::UdpSocket::recv_batch`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceiveReport {
    /// Messages of the kernel; each is one datagram or several of one sender that GRO joined.
    pub messages: usize,
    /// As many messages as were asked for: others may be waiting.
    pub is_full: bool,
    pub datagrams: usize,
    pub bytes: usize,
    /// Datagrams refused because they are larger than any packet that we take.
    pub too_large: usize,
    /// Datagrams that the kernel dropped since the last report because the receive buffer was full.
    pub overflowed: u32,
}

impl AddAssign for ReceiveReport {
    /// Goes on with `rest`.
    fn add_assign(&mut self, rest: Self) {
        self.messages += rest.messages;
        self.is_full = rest.is_full;
        self.datagrams += rest.datagrams;
        self.bytes += rest.bytes;
        self.too_large += rest.too_large;
        self.overflowed += rest.overflowed;
    }
}

pub(super) struct Receiver {
    headers: Box<[mmsghdr]>,
    iovecs: Box<[iovec]>,
    names: Box<[RawAddr]>,
    controls: Box<[Control]>,
    buffers: Box<[u8]>,
    buffer_len: usize,
    /// The kernel's counter of overflows as last seen.
    overflows: u32,
}

// SAFETY: the raw pointers in `headers` and `iovecs` are only used inside `receive`, which first
// sets them to the blocks that the same structure owns; nothing is tied to a thread.
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new(gro: bool) -> Self {
        let buffer_len = if gro { GRO_BUFFER } else { PLAIN_BUFFER };
        // SAFETY: both are plain C structures of integers and pointers, for which zero is a value.
        let (header, iov): (mmsghdr, iovec) = unsafe { (zeroed(), zeroed()) };
        Self {
            headers: vec![header; BATCH].into(),
            iovecs: vec![iov; BATCH].into(),
            names: vec![RawAddr::unspecified(); BATCH].into(),
            controls: vec![Control([0; CONTROL_BYTES]); BATCH].into(),
            // Zeroed pages: only what packets were written to takes memory.
            buffers: vec![0; BATCH * (buffer_len + SKEW)].into(),
            buffer_len,
            overflows: 0,
        }
    }

    pub(super) fn receive(
        &mut self,
        fd: RawFd,
        locals: &mut LocalAddrs,
        mut handle: impl FnMut(Path, &mut [u8]),
    ) -> io::Result<ReceiveReport> {
        let mut report = self.receive_up_to(FEW, fd, locals, &mut handle)?;
        if report.is_full {
            match self.receive_up_to(BATCH - FEW, fd, locals, &mut handle) {
                Ok(rest) => report += rest,
                // Any other error is that of the next call.
                Err(error) => report.is_full = error.kind() != io::ErrorKind::WouldBlock,
            }
        }
        Ok(report)
    }

    fn receive_up_to(
        &mut self,
        wanted: usize,
        fd: RawFd,
        locals: &mut LocalAddrs,
        mut handle: impl FnMut(Path, &mut [u8]),
    ) -> io::Result<ReceiveReport> {
        let messages = self.fill(fd, wanted)?;
        let mut report = ReceiveReport {
            messages,
            is_full: messages == wanted,
            ..Default::default()
        };
        for (index, buffer) in self
            .buffers
            .chunks_exact_mut(self.buffer_len + SKEW)
            .take(messages)
            .enumerate()
        {
            let header = &self.headers[index];
            let len = (header.msg_len as usize).min(self.buffer_len);
            let ancillary = read_control(&header.msg_hdr);
            if let Some(total) = ancillary.overflows {
                report.overflowed += total.wrapping_sub(self.overflows);
                self.overflows = total;
            }
            let Some(remote) = self.names[index].read() else {
                continue;
            };
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                report.too_large += 1;
                continue;
            }
            report.bytes += len;
            let local = ancillary.local.map(|addr| locals.number(addr)).unwrap_or_default();
            let path = Path::Udp { remote, local };
            report.datagrams += split(&mut buffer[..len], ancillary.segment, |datagram| {
                handle(path, datagram);
            });
        }
        Ok(report)
    }

    /// The number of messages that were received, at most `wanted`; their lengths are in `headers`.
    fn fill(&mut self, fd: RawFd, wanted: usize) -> io::Result<usize> {
        let stride = self.buffer_len + SKEW;
        let buffers = self.buffers.chunks_exact_mut(stride).take(wanted);
        let asked = buffers.len();
        for (index, buffer) in buffers.enumerate() {
            self.iovecs[index] = iovec {
                iov_base: buffer.as_mut_ptr().cast::<c_void>(),
                iov_len: self.buffer_len,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut self.names[index]).cast::<c_void>();
            header.msg_namelen = RAW_ADDR_LEN;
            header.msg_iov = &raw mut self.iovecs[index];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[index]).cast::<c_void>();
            header.msg_controllen = CONTROL_BYTES as _;
            header.msg_flags = 0;
        }
        loop {
            // SAFETY: each of the first `asked` headers points to memory of the lengths it states, owned
            // by `self` and exclusively borrowed for the call.
            let received = unsafe {
                libc::recvmmsg(
                    fd,
                    self.headers.as_mut_ptr(),
                    asked as u32,
                    libc::MSG_DONTWAIT as _,
                    ptr::null_mut(),
                )
            };
            if received >= 0 {
                return Ok(received as usize);
            }
            let error = io::Error::last_os_error();
            if error.kind() != io::ErrorKind::Interrupted {
                return Err(error);
            }
        }
    }
}

/// Gives `handle` the datagrams that GRO joined and returns their number; an empty datagram is one too.
fn split(joined: &mut [u8], segment: Option<usize>, mut handle: impl FnMut(&mut [u8])) -> usize {
    match segment {
        Some(segment) if segment > 0 && segment < joined.len() => {
            let mut datagrams = 0;
            for datagram in joined.chunks_mut(segment) {
                handle(datagram);
                datagrams += 1;
            }
            datagrams
        }
        _ => {
            handle(joined);
            1
        }
    }
}

#[derive(Default)]
struct Ancillary {
    /// Size of each datagram but the last, where GRO joined several.
    segment: Option<usize>,
    overflows: Option<u32>,
    /// The address that the datagram came to.
    local: Option<IpAddr>,
}

fn read_control(header: &msghdr) -> Ancillary {
    let mut ancillary = Ancillary::default();
    // SAFETY: `msg_control` and `msg_controllen` describe a live, aligned buffer that the kernel has
    // filled; CMSG_FIRSTHDR is null where it holds no whole message.
    let mut message: *const cmsghdr = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !message.is_null() {
        // SAFETY: not null, so it points to a whole `cmsghdr` inside the control buffer.
        let (level, kind) = unsafe { ((*message).cmsg_level, (*message).cmsg_type) };
        match (level, kind) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                // SAFETY: the kernel's UDP_GRO message carries a c_int.
                let segment = unsafe { read_int(message) };
                ancillary.segment = usize::try_from(segment).ok();
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => {
                // SAFETY: the kernel's SO_RXQ_OVFL message carries 32 bits.
                ancillary.overflows = Some(unsafe { read_int(message) } as u32);
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                // SAFETY: the kernel's IP_PKTINFO message carries an in_pktinfo; the read needs no alignment.
                let info = unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<in_pktinfo>()) };
                let addr = Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes());
                ancillary.local = Some(addr.into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                // SAFETY: the kernel's IPV6_PKTINFO message carries an in6_pktinfo; the read needs no alignment.
                let info = unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<in6_pktinfo>()) };
                ancillary.local = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).to_canonical());
            }
            _ => {}
        }
        // SAFETY: `message` lies in the control buffer of `header`.
        message = unsafe { libc::CMSG_NXTHDR(header, message) };
    }
    ancillary
}

/// # Safety
/// `message` points to a control message that carries at least four bytes.
unsafe fn read_int(message: *const cmsghdr) -> c_int {
    // SAFETY: by the caller's promise; the read needs no alignment.
    unsafe { ptr::read_unaligned(libc::CMSG_DATA(message).cast::<c_int>()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joined_datagrams_are_split_at_the_segment_size() {
        for (len, segment, expected) in [
            (0, None, &[0][..]),
            (100, None, &[100]),
            (100, Some(0), &[100]),
            (100, Some(100), &[100]),
            (100, Some(500), &[100]),
            (250, Some(100), &[100, 100, 50]),
            (200, Some(100), &[100, 100]),
        ] {
            let mut lengths = Vec::new();
            let count = split(&mut vec![0; len], segment, |datagram| lengths.push(datagram.len()));
            assert_eq!((count, &lengths[..]), (expected.len(), expected), "{len} {segment:?}");
        }
    }
}
