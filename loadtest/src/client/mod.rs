//! A participant of a meeting without a browser: signaling over the real REST and WebSocket, media
//! over real ICE, DTLS and SRTP.

pub mod driver;
mod keyframe_requests;
pub mod participant;
pub mod peer;
pub mod rtc_peer;
pub mod sdp;
pub mod signaling;
pub(crate) mod tls;

pub use driver::{Direction, Impairment, MediaSession, MediaSink, MediaState, NoSink};
pub use participant::{JoinConfig, JoinCost, Participant};
pub use peer::{Peer, PeerConfig, ReceivedRtp, SrtpProfile};
pub use rtc_peer::RtcPeer;
pub use signaling::{Refused, Server, WebSocket};
