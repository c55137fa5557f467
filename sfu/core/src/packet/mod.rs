//! Borrowing views of packets and writers into caller-owned buffers. None panics on any input.

pub mod av1;
mod bits;
mod bytes;
pub mod dependency_descriptor;
pub mod described_frame;
pub mod extensions;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod h264;
pub mod opus;
pub mod payload;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod rtx;
pub mod vp8;
pub mod vp9;
