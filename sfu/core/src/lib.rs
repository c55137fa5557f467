//! The sans-IO core of the SFU: protocol and routing logic that takes `now` and bytes and returns
//! bytes and events. No sockets, clocks, threads or tasks in here.

#![deny(unsafe_code)]

pub mod allocator;
pub mod bwe;
pub mod connection;
pub mod counters;
pub mod downtrack;
pub mod drop_reason;
pub mod mail;
pub mod negotiated;
pub mod ntp;
pub mod pacer;
pub mod packet;
pub mod path;
pub mod pool;
#[allow(unsafe_code)]
mod prefetch;
pub mod quality;
pub mod rate;
pub mod relay;
pub mod rooms;
pub mod router;
pub mod sdp;
pub mod send_batch;
pub mod speakers;
pub mod track;
pub mod transport;
pub mod twcc;
pub mod units;
pub mod uptrack;
pub mod worker_api;
pub mod worker_core;
