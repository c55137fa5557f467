//! `sendmmsg` of the runs of a [`SendBatch`], each as one message that the kernel or the network card
//! segments (`UDP_SEGMENT`), or datagram by datagram where that is refused.

use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::RawFd;

use libc::{c_void, cmsghdr, iovec, mmsghdr};
use tianqiao_sfu_core::path::Path;
use tianqiao_sfu_core::send_batch::{Run, SendBatch};

use super::BATCH;
use super::address::RawAddr;

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
    controls: Box<[SegmentControl]>,
    planned: Box<[Planned]>,
}

// SAFETY: the raw pointers in `headers` and `iovecs` are only used inside `send`, which first sets
// them to blocks that the same structure owns or to the batch; nothing is tied to a thread.
unsafe impl Send for Sender {}

impl Sender {
    pub(super) fn new(ipv6: bool, gso: bool) -> Self {
        // SAFETY: all three are plain C structures of integers and pointers, for which zero is a value.
        let (header, iov, mut control): (mmsghdr, iovec, SegmentControl) = unsafe { (zeroed(), zeroed(), zeroed()) };
        control.header.cmsg_len = CONTROL_LEN as _;
        control.header.cmsg_level = libc::SOL_UDP;
        control.header.cmsg_type = libc::UDP_SEGMENT;
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

    pub(super) fn send(&mut self, fd: RawFd, batch: &SendBatch) -> SendReport {
        self.send_with(batch, |headers| send_messages(fd, headers))
    }

    /// `submit` takes messages and says how many of them, from the first on, the kernel took, or
    /// why not even the first.
    fn send_with(
        &mut self,
        batch: &SendBatch,
        mut submit: impl FnMut(&mut [mmsghdr]) -> io::Result<usize>,
    ) -> SendReport {
        let mut report = SendReport::default();
        let mut cursor = Cursor::default();
        loop {
            let (count, after) = self.plan(batch, cursor, &mut report);
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
    fn plan(&mut self, batch: &SendBatch, mut cursor: Cursor, report: &mut SendReport) -> (usize, Cursor) {
        let mut count = 0;
        while count < BATCH {
            let Some(run) = batch.runs().get(cursor.run) else {
                break;
            };
            let Path::Udp(remote) = run.path else {
                cursor = cursor.next_run();
                continue;
            };
            let Some((name, name_len)) = RawAddr::new(remote, self.ipv6) else {
                report.failed += run.segments();
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
            self.controls[count].size = run.segment as u16;
            let header = &mut self.headers[count].msg_hdr;
            header.msg_name = (&raw mut self.names[count]).cast::<c_void>();
            header.msg_namelen = name_len;
            header.msg_iov = &raw mut self.iovecs[count];
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut self.controls[count]).cast::<c_void>();
            header.msg_controllen = if planned.segments > 1 { CONTROL_SPACE as _ } else { 0 };
            self.planned[count] = planned;
            cursor = next;
            count += 1;
        }
        (count, cursor)
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
            segments: run.segments(),
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
        .filter(|run| matches!(run.path, Path::Udp(_)))
        .map(Run::segments)
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
