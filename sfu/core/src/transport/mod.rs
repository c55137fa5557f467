//! One client's way in and out, with no media meaning: demultiplexing, ICE-lite, DTLS, SRTP.

pub mod demux;
pub mod ice_lite;
pub mod srtp;
pub mod stun;
#[cfg(test)]
mod test_util;
pub mod ufrag;
