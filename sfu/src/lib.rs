//! The media plane's shell: threads and sockets around the sans-IO core, and the node that takes
//! requests from the control bus.

#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod udp;
