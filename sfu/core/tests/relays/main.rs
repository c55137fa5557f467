//! One meeting over several nodes in virtual time: rooms, workers and links as a fleet has them, and clients with
//! connections of their own.

#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
mod peer;
#[path = "../adaptation/publisher.rs"]
#[allow(dead_code)]
mod publisher;
#[path = "../adaptation/receiver.rs"]
#[allow(dead_code)]
mod receiver;
mod world;

mod chaos;
mod demand;
mod layers;
mod moves;
mod speakers;
mod troubles;
