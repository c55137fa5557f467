//! A whole worker (or two) in virtual time: real ICE, DTLS and SRTP with clients, no sockets.

mod bounds;
#[path = "../transport_handshake/client.rs"]
#[allow(dead_code)]
mod client;
mod resumes;
mod source;
mod world;

mod forwards_and_rewrites;
mod keeps_lip_sync;
mod keeps_to_budgets;
mod keeps_to_ceilings;
mod leaves_nothing_behind;
mod repairs_losses;
mod survives_bad_input;
mod switches;
mod tells_of_codecs;
mod voices;
