//! Borrowing views of packets and writers into caller-owned buffers. None panics on any input.

mod bytes;
pub mod extensions;
pub mod rtcp;
pub mod rtp;
