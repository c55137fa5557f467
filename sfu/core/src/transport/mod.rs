//! One client's way in and out, with no media meaning: demultiplexing, ICE-lite, DTLS, SRTP.

pub mod srtp;
