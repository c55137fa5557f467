//! A whole worker in virtual time, with subscribers behind weak links who answer with transport-wide feedback.

#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
mod publisher;
mod receiver;
mod world;

mod changes;
mod grades;
mod joins;
mod modes;
mod remb;
mod rfc8888;
mod uplink;
mod villages;
