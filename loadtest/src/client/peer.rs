//! One participant's media as a state machine without sockets or clock: what a participant needs of
//! a WebRTC implementation. [`super::rtc_peer::RtcPeer`] is the one over the `rtc` crate.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Result;
use tianqiao_protocol::MediaKind;

/// What a peer sends and how many slots it offers. The media sections of the offer come in this
/// order: microphone, its low layer, camera, audio slots, video slots.
#[derive(Clone, Debug, Default)]
pub struct PeerConfig {
    pub microphone: bool,
    /// The microphone a second time, in a few bits; lean clients only.
    pub low_voice: bool,
    pub camera: bool,
    pub audio_slots: usize,
    pub video_slots: usize,
    /// Answers NACKs, asks for lost packets and sends reports, as a browser does. Without it a lost
    /// packet stays lost and the client costs less.
    pub repair: bool,
    /// Tells the server when which packet came (transport-wide congestion control), as a browser does;
    /// lean clients only.
    pub arrival_feedback: bool,
    pub srtp: SrtpProfile,
    /// Simulcast layers of the camera, the smallest first; lean clients only.
    pub rids: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SrtpProfile {
    #[default]
    AeadAes128Gcm,
    Aes128CmHmacSha1_80,
}

/// A media section on which the peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendStream {
    pub kind: MediaKind,
    pub ssrc: u32,
    pub payload_type: u8,
}

/// An RTP packet to send.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingRtp<'a> {
    pub stream: SendStream,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub marker: bool,
    /// RFC 6464 level in −dBov with voice activity; sent where the extension was negotiated.
    pub audio_level: Option<u8>,
    pub payload: &'a [u8],
}

/// An RTP packet that came in; a retransmission looks like the packet that it repairs.
#[derive(Clone, Copy, Debug)]
pub struct ReceivedRtp<'a> {
    /// When its datagram was read from the socket.
    pub at: Instant,
    pub ssrc: u32,
    /// The track that the server says it shows.
    pub csrc: Option<u32>,
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: &'a [u8],
}

/// Takes what a peer receives, on the thread of its connection.
pub trait MediaSink: Send {
    fn on_rtp(&mut self, packet: ReceivedRtp<'_>);
    fn on_keyframe_request(&mut self, _ssrc: u32) {}
}

/// Takes nothing.
pub struct NoSink;

impl MediaSink for NoSink {
    fn on_rtp(&mut self, _packet: ReceivedRtp<'_>) {}
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerEvent {
    /// ICE and DTLS are up.
    Connected,
    /// The connection is over: closed by the server, or failed.
    Closed,
    /// PLI or FIR for one of the peer's own streams.
    KeyframeRequested { ssrc: u32 },
}

#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    pub to: SocketAddr,
    pub data: &'a [u8],
}

/// Every input is followed by draining `poll_transmit` and `poll_event`.
pub trait Peer: Send {
    /// A new SDP offer, also for a running connection.
    fn offer(&mut self, now: Instant) -> Result<String>;
    fn set_answer(&mut self, now: Instant, answer: &str) -> Result<()>;
    /// Takes a remote offer and returns the answer; ICE begins as after `set_answer`. For servers that
    /// offer what a subscriber receives.
    fn accept_offer(&mut self, now: Instant, offer: &str) -> Result<String>;
    /// The address of the socket that packets are sent from; ICE begins with it.
    fn set_local_addr(&mut self, addr: SocketAddr) -> Result<()>;
    /// Further video slots for the next offer.
    fn add_video_slots(&mut self, count: usize) -> Result<()>;
    /// The next offer restarts ICE.
    fn restart_ice(&mut self);
    /// The streams that the answer accepted, microphone first.
    fn send_streams(&mut self) -> Vec<SendStream>;

    /// `data` is decrypted in place; `sink` takes the RTP packet in it.
    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &mut [u8], sink: &mut dyn MediaSink);
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&mut self) -> Option<Instant>;
    fn poll_transmit(&mut self) -> Option<Transmit<'_>>;
    fn poll_event(&mut self) -> Option<PeerEvent>;

    fn send_rtp(&mut self, now: Instant, packet: OutgoingRtp<'_>) -> Result<()>;
    /// Sends a PLI (RFC 4585, section 6.3.1) for a received stream.
    fn request_keyframe(&mut self, now: Instant, ssrc: u32) -> Result<()>;
    /// Sends a generic NACK (RFC 4585, section 6.2.1) for packets of a received stream.
    fn request_packets(&mut self, now: Instant, ssrc: u32, sequence_numbers: &[u16]) -> Result<()>;
    /// Says good-bye on DTLS; the last packets are in `poll_transmit`.
    fn close(&mut self);
}
