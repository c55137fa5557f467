//! The media plane's shell: threads and sockets around the sans-IO core, and the node that takes
//! requests from the control bus.

#![deny(unsafe_code)]

pub mod config;
pub mod mailbox;
pub mod metrics;
pub mod node;
pub mod poller;
pub mod tcp;
#[allow(unsafe_code)]
pub mod udp;
pub mod worker;
