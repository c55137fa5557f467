//! The socket of feedback that can wait.
//!
//! In a meeting with few publishers and many subscribers most packets that come in are receiver reports
//! and bandwidth feedback, each alone. To wake a worker for one costs as much as to forward dozens of
//! packets of media, and none of them is needed before the next media. So a program in the kernel
//! (`SO_ATTACH_REUSEPORT_CBPF`) sorts them into a socket of their own, which is read when the worker is
//! awake anyway. What the sender waits for goes the prompt way: NACK, PLI, FIR, STUN, DTLS, media.
//!
//! The first packet of a compound decides, for the others are encrypted. With reduced-size RTCP (RFC 5506),
//! which all browsers negotiate, NACK and PLI come alone.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use libc::{sock_filter, sock_fprog};
use socket2::Socket;

use super::{Inlet, UdpSettings, set_raw_option};

/// Numbers of the sockets of a port, in the order in which they were bound.
const PROMPT: u32 = 0;
const FEEDBACK: u32 = 1;

/// RTCP packet types (RFC 3550, section 12.1, and RFC 4585, section 6.1).
const RECEIVER_REPORT: u32 = 201;
const TRANSPORT_FEEDBACK: u32 = 205;
const PAYLOAD_FEEDBACK: u32 = 206;
/// Format of transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01, section 3.1) and
/// of application layer feedback, which REMB is (RFC 4585, section 6.1).
const BANDWIDTH: u32 = 15;
/// Format of congestion control feedback (RFC 8888, section 3.1).
const CONGESTION: u32 = 11;

const LOAD_BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const JUMP_IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn op(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on `yes` or `no` instructions behind the next.
const fn if_equal(k: u32, yes: u8, no: u8) -> sock_filter {
    let (jt, jf) = (yes, no);
    sock_filter {
        code: JUMP_IF_EQUAL,
        jt,
        jf,
        k,
    }
}

/// Sees the payload of a datagram; a load beyond its end returns 0, which is [`PROMPT`].
static PROGRAM: [sock_filter; 13] = [
    op(LOAD_BYTE, 0),
    op(AND, 0b1100_0000),
    // Version 2.
    if_equal(0b1000_0000, 0, 8),
    op(LOAD_BYTE, 1),
    if_equal(RECEIVER_REPORT, 7, 0),
    if_equal(TRANSPORT_FEEDBACK, 1, 0),
    if_equal(PAYLOAD_FEEDBACK, 0, 4),
    op(LOAD_BYTE, 0),
    op(AND, 0b0001_1111),
    if_equal(BANDWIDTH, 2, 0),
    // Nobody has given the number to payload-specific feedback.
    if_equal(CONGESTION, 1, 0),
    op(RETURN, PROMPT),
    op(RETURN, FEEDBACK),
];

/// A second socket on `addr`, to which `first` is bound alone.
///
/// # Errors
/// Where the kernel cannot do it; `first` is then as it was.
pub(super) fn bind_beside(first: &Socket, addr: SocketAddr, settings: UdpSettings) -> io::Result<Inlet> {
    // Only now: had `first` been bound with it, a second server on the port would not have been refused.
    first.set_reuse_port(true)?;
    let settings = UdpSettings {
        offload: false,
        ..settings
    };
    let attached = Inlet::bind(addr, settings, |socket| socket.set_reuse_port(true)).and_then(|second| {
        let program = sock_fprog {
            len: PROGRAM.len() as u16,
            // The kernel copies it.
            filter: PROGRAM.as_ptr().cast_mut(),
        };
        let fd = second.socket.as_raw_fd();
        // SAFETY: the option takes a sock_fprog, and its pointer and length are those of a static.
        unsafe { set_raw_option(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)? };
        Ok(second)
    });
    if attached.is_err() {
        first.set_reuse_port(false)?;
    }
    attached
}
