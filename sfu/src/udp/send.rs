//! `sendmmsg` of the runs of a [`SendBatch`], each as one message that the kernel or the network card
//! segments (`UDP_SEGMENT`), or datagram by datagram where that is refused.

use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::IpAddr;
use std::os::fd::RawFd;

use libc::{c_void, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::{Run, SendBatch};

use super::BATCH;
use super::address::RawAddr;
use super::local_addrs::LocalAddrs;

/// Refusals in a row, with no accepted run between them, after which segmentation is given up. One
/// alone may be due to the small MTU of one path.
const MAX_REFUSALS: u32 = 32;

/// A control message of level `SOL_UDP` that carries the segment size.
#[repr(C)]
#[derive(Clone, Copy)]
struct SegmentControl {
    header: cmsghdr,
    size: u16,
}

/// A control message with the IPv4 address to send from.
#[repr(C)]
#[derive(Clone, Copy)]
struct SourceControl4 {
    header: cmsghdr,
    info: in_pktinfo,
}

/// The same of IPv6 sockets; IPv4 addresses are mapped.
#[repr(C)]
#[derive(Clone, Copy)]
struct SourceControl6 {
    header: cmsghdr,
    info: in6_pktinfo,
}

#[repr(C)]
#[derive(Clone, Copy)]
union SourceControl {
    v4: SourceControl4,
    v6: SourceControl6,
}

/// The control messages of one message, one behind the other: either may be left out.
#[repr(C)]
#[derive(Clone, Copy)]
struct Control {
    segment: SegmentControl,
    source: SourceControl,
}

const _: () = assert!(offset_of!(Control, source) == CONTROL_SPACE);
// SAFETY: all four are arithmetic on their argument.
const _: () = unsafe {
    assert!(size_of::<SourceControl4>() == libc::CMSG_SPACE(size_of::<in_pktinfo>() as u32) as usize);
    assert!(size_of::<SourceControl6>() == libc::CMSG_SPACE(size_of::<in6_pktinfo>() as u32) as usize);
};

// SAFETY: both are arithmetic on their argument.
const CONTROL_SPACE: usize = unsafe { libc::CMSG_SPACE(size_of::<u16>() as u32) } as usize;
// SAFETY: as above.
const CONTROL_LEN: usize = unsafe { libc::CMSG_LEN(size_of::<u16>() as u32) } as usize;
const _: () = assert!(size_of::<SegmentControl>() == CONTROL_SPACE);
const _: () = assert!(offset_of!(SegmentControl, size) + size_of::<u16>() == CONTROL_LEN);

/// What became of the datagrams of one [`super::UdpSocket::send_batch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams that the kernel took.
    pub datagrams: usize,
    pub bytes: usize,
    /// Dropped because the socket's send buffer was full.
    pub buffer_full: usize,
    /// Dropped because the kernel refused them: no route, a firewall's rule, too large.
    pub failed: usize,
}

/// One message of a system call: a part of a run that begins at a segment's start.
#[derive(Clone, Copy, Default)]
struct Planned {
    run: usize,
    offset: usize,
    len: usize,
    segments: usize,
}

/// Where in the batch the next message begins.
#[derive(Clone, Copy, Default)]
struct Cursor {
    run: usize,
    /// Bytes into the run. Other than 0 only within a run that goes datagram by datagram.
    offset: usize,
    /// Send the run at the cursor datagram by datagram.
    single: bool,
}

impl Cursor {
    fn next_run(self) -> Self {
        Self {
            run: self.run + 1,
            ..Default::default()
        }
    }
}

pub(super) struct Sender {
    ipv6: bool,
    gso: bool,
    refusals: u32,
    headers: Box<[mmsghdr]>,
    iovecs: Box<[iovec]>,
    names: Box<[RawAddr]>,
    controls: Box<[Control]>,
    planned: Box<[Planned]>,
}

// SAFETY: the raw pointers in `headers` and `iovecs` are only used inside `send`, which first sets
// them to blocks that the same structure owns or to the batch; nothing is tied to a thread.
unsafe impl Send for Sender {}

impl Sender {
    pub(super) fn new(ipv6: bool, gso: bool) -> Self {
        // SAFETY: all three are plain C structures of integers and pointers, for which zero is a value.
        let (header, iov, mut control): (mmsghdr, iovec, Control) = unsafe { (zeroed(), zeroed(), zeroed()) };
        control.segment.header.cmsg_len = CONTROL_LEN as _;
        control.segment.header.cmsg_level = libc::SOL_UDP;
        control.segment.header.cmsg_type = libc::UDP_SEGMENT;
        Self {
            ipv6,
            gso,
            refusals: 0,
            headers: vec![header; BATCH].into(),
            iovecs: vec![iov; BATCH].into(),
            names: vec![RawAddr::unspecified(); BATCH].into(),
            controls: vec![control; BATCH].into(),
            planned: vec![Planned::default(); BATCH].into(),
        }
    }

    pub(super) fn is_offloading(&self) -> bool {
        self.gso
    }

    pub(super) fn send(&mut self, fd: RawFd, locals: &LocalAddrs, batch: &SendBatch) -> SendReport {
        self.send_with(locals, batch, |headers| send_messages(fd, headers))
    }

    /// `submit` takes messages and says how many of them, from the first on, the kernel took, or
    /// why not even the first.
    fn send_with(
        &mut self,
        locals: &LocalAddrs,
        batch: &SendBatch,
        mut submit: impl FnMut(&mut [mmsghdr]) -> io::Result<usize>,
    ) -> SendReport {
        let mut report = SendReport::default();
        let mut cursor = Cursor::default();
        loop {
            let (count, after) = self.plan(locals, batch, cursor, &mut report);
            cursor = after;
            let mut done = 0;
            while done < count {
                match submit(&mut self.headers[done..count]) {
                    Ok(sent) => {
                        self.on_sent(done, sent, &mut report);
                        done += sent;
                    }
                    Err(error) => match self.judge(&error, self.planned[done]) {
                        Verdict::Again => {}
                        Verdict::Full => {
                            report.buffer_full += remaining_datagrams(batch, self.planned[done]);
                            return report;
                        }
                        Verdict::Split => {
                            cursor = Cursor {
                                run: self.planned[done].run,
                                offset: 0,
                                single: true,
                            };
                            break;
                        }
                        Verdict::Drop => {
                            report.failed += self.planned[done].segments;
                            done += 1;
                        }
                    },
                }
            }
            if count == 0 {
                return report;
            }
        }
    }

    /// Lays out the messages from `cursor` on, as many as fit into one system call.
    fn plan(
        &mut self,
        locals: &LocalAddrs,
        batch: &SendBatch,
        mut cursor: Cursor,
        report: &mut SendReport,
    ) -> (usize, Cursor) {
        let mut count = 0;
        while count < BATCH {
            let Some(run) = batch.runs().get(cursor.run) else {
                break;
            };
            let Path::Udp { remote, local } = run.path else {
                cursor = cursor.next_run();
                continue;
            };
            let Some((name, name_len)) = RawAddr::new(remote, self.ipv6) else {
                report.failed += run.segments;
                cursor = cursor.next_run();
                continue;
            };
            let (planned, next) = step(run, cursor, self.gso);
            let bytes = &batch.bytes(run)[planned.offset..planned.offset + planned.len];
            self.names[count] = name;
            self.iovecs[count] = iovec {
                // The kernel only reads what it sends.
                iov_base: bytes.as_ptr().cast_mut().cast::<c_void>(),
                iov_len: bytes.len(),
            };
            let source_len = self.write_source(count, locals.addr(local));
            let control = &mut self.controls[count];
            control.segment.size = run.segment as u16;
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = (&raw mut self.names[count]).cast::<c_void>();
            header.msg_namelen = name_len;
            header.msg_iov = &raw mut self.iovecs[count];
            header.msg_iovlen = 1;
            (header.msg_control, header.msg_controllen) = if planned.segments > 1 {
                ((&raw mut *control).cast::<c_void>(), (CONTROL_SPACE + source_len) as _)
            } else {
                ((&raw mut control.source).cast::<c_void>(), source_len as _)
            };
            self.planned[count] = planned;
            cursor = next;
            count += 1;
        }
        (count, cursor)
    }

    /// Writes the control message that names the address to send from; its length, 0 where the routes choose.
    fn write_source(&mut self, index: usize, source: Option<IpAddr>) -> usize {
        // SAFETY: both are plain C structures of integers, for which zero is a value.
        let (mut v4, mut v6): (SourceControl4, SourceControl6) = unsafe { (zeroed(), zeroed()) };
        let addr = match (source, self.ipv6) {
            (None, _) | (Some(IpAddr::V6(_)), false) => return 0,
            (Some(IpAddr::V4(addr)), false) => {
                // SAFETY: CMSG_LEN is arithmetic on its argument.
                v4.header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<in_pktinfo>() as u32) } as _;
                v4.header.cmsg_level = libc::IPPROTO_IP;
                v4.header.cmsg_type = libc::IP_PKTINFO;
                v4.info.ipi_spec_dst.s_addr = u32::from_ne_bytes(addr.octets());
                self.controls[index].source = SourceControl { v4 };
                return size_of::<SourceControl4>();
            }
            (Some(IpAddr::V4(addr)), true) => addr.to_ipv6_mapped(),
            (Some(IpAddr::V6(addr)), true) => addr,
        };
        // SAFETY: as above.
        v6.header.cmsg_len = unsafe { libc::CMSG_LEN(size_of::<in6_pktinfo>() as u32) } as _;
        v6.header.cmsg_level = libc::IPPROTO_IPV6;
        v6.header.cmsg_type = libc::IPV6_PKTINFO;
        v6.info.ipi6_addr.s6_addr = addr.octets();
        self.controls[index].source = SourceControl { v6 };
        size_of::<SourceControl6>()
    }

    fn on_sent(&mut self, done: usize, sent: usize, report: &mut SendReport) {
        for planned in &self.planned[done..done + sent] {
            report.datagrams += planned.segments;
            report.bytes += planned.len;
            if planned.segments > 1 {
                self.refusals = 0;
            }
        }
    }

    fn judge(&mut self, error: &io::Error, planned: Planned) -> Verdict {
        let code = error.raw_os_error().unwrap_or(0);
        match code {
            libc::EINTR => return Verdict::Again,
            libc::EAGAIN | libc::ENOBUFS | libc::ENOMEM => return Verdict::Full,
            _ => {}
        }
        if planned.segments == 1 {
            return Verdict::Drop;
        }
        match code {
            // No segmentation in the kernel, or no checksum offload in the network card.
            libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT => self.disable_offload(error),
            // Also where the segment is larger than the path's MTU; then IP fragments it.
            libc::EINVAL | libc::EMSGSIZE => {
                self.refusals += 1;
                if self.refusals >= MAX_REFUSALS {
                    self.disable_offload(error);
                }
            }
            _ => return Verdict::Drop,
        }
        Verdict::Split
    }

    fn disable_offload(&mut self, error: &io::Error) {
        if self.gso {
            tracing::warn!(%error, "UDP segmentation offload refused, sending datagrams one by one");
            self.gso = false;
        }
    }
}

enum Verdict {
    Again,
    /// Nothing more fits.
    Full,
    /// Send the run again, datagram by datagram.
    Split,
    Drop,
}

/// The next message from a run and where the one after it begins.
fn step(run: &Run, cursor: Cursor, gso: bool) -> (Planned, Cursor) {
    if gso && !cursor.single {
        let planned = Planned {
            run: cursor.run,
            offset: 0,
            len: run.len,
            segments: run.segments,
        };
        return (planned, cursor.next_run());
    }
    let len = run.segment.min(run.len - cursor.offset);
    let planned = Planned {
        run: cursor.run,
        offset: cursor.offset,
        len,
        segments: 1,
    };
    let next = if cursor.offset + len == run.len {
        cursor.next_run()
    } else {
        Cursor {
            offset: cursor.offset + len,
            single: true,
            ..cursor
        }
    };
    (planned, next)
}

/// UDP datagrams from `first` to the end of the batch.
fn remaining_datagrams(batch: &SendBatch, first: Planned) -> usize {
    let runs = &batch.runs()[first.run..];
    let all: usize = runs
        .iter()
        .filter(|run| matches!(run.path, Path::Udp { .. }))
        .map(|run| run.segments)
        .sum();
    all - first.offset.div_ceil(runs[0].segment)
}

fn send_messages(fd: RawFd, headers: &mut [mmsghdr]) -> io::Result<usize> {
    // SAFETY: `plan` has pointed every header to live memory of the lengths it states: the sender's
    // own blocks and the batch, which `send` borrows for longer than this call.
    let sent = unsafe { libc::sendmmsg(fd, headers.as_mut_ptr(), headers.len() as u32, libc::MSG_DONTWAIT as _) };
    match sent {
        // Never seen of Linux; without it the caller would ask forever.
        0 => Err(io::Error::from_raw_os_error(libc::EAGAIN)),
        1.. => Ok(sent as usize),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
#[path = "send_tests.rs"]
mod tests;
