//! Real clients against the real server, each over UDP, ICE, DTLS and SRTP on loopback.

mod exchange;
mod goodbye;
mod load_target;
mod loss;
mod memory;
mod restart;
mod slots;
mod support;
mod webrtc_crate;
mod whip;
