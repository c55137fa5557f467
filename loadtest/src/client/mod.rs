//! A participant of a meeting without a browser: signaling over the real REST and WebSocket, media
//! over real ICE, DTLS and SRTP.

mod clients;
mod connection;
mod driver;
mod keyframe_requests;
pub mod lean;
pub mod participant;
pub mod peer;
pub mod rtc_peer;
pub mod sdp;
mod session;
pub mod signaling;
pub(crate) mod tls;

pub use clients::{ClientKind, Clients};
pub use lean::LeanPeer;
pub use lean::engine::Engine;
pub use participant::{JoinConfig, JoinCost, Participant};
pub use peer::{MediaSink, NoSink, Peer, PeerConfig, ReceivedRtp, SrtpProfile};
pub use rtc_peer::RtcPeer;
pub use session::{Direction, Impairment, MediaSession, MediaState};
pub use signaling::{Refused, Server, WebSocket};
