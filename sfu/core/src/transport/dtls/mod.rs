//! DTLS 1.2 and 1.3 of one connection: the handshake that yields SRTP keys (RFC 5764), and its end.

mod certificate;
mod client_hello;
mod final_flight;
mod retransmission;
mod srtp_profile;

use std::time::{Duration, Instant};

use dimpl::{Dtls, Output, ProtocolVersion, SrtpProfile};

pub use self::certificate::{Certificate, CertificateError, HANDSHAKE_TIMEOUT};

use self::certificate::compute_fingerprint;
use self::client_hello::Reassembly;
use self::final_flight::FinalFlight;
use self::retransmission::Retransmission;
use super::srtp::{ExportedKeys, Profile};
use crate::drop_reason::DropReason;
use crate::negotiated::{DtlsRole, Fingerprint};

const RECORD_HEADER_LEN: usize = 13;
const HANDSHAKE_RECORD: u8 = 22;
const SERVER_HELLO: u8 = 2;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// Holds any datagram of ours and most certificates; grown for larger ones.
const BUFFER_LEN: usize = 2048;
const MAX_BUFFER_LEN: usize = 1 << 16;

pub enum DtlsOutput {
    Transmit(Vec<u8>),
    /// The handshake is done and the peer is who its SDP says.
    Keys(ExportedKeys),
    /// The handshake failed or ran out of time, or the peer's certificate is not the one of its SDP.
    Failed,
    /// The peer sent close_notify.
    Closed,
}

/// One side of a DTLS association. Drain [`Self::poll_output`] after each call of anything else.
pub struct Endpoint {
    state: State,
    role: DtlsRole,
    remote_fingerprint: Fingerprint,
    is_peer_verified: bool,
    is_connected: bool,
    has_keys: bool,
    client_hello: Reassembly,
    final_flight: FinalFlight,
    buffer: Vec<u8>,
    /// Of the last call.
    now: Option<Instant>,
}

enum State {
    New(Certificate),
    Open { dtls: Dtls, timer: Retransmission },
    Failing,
    Ended,
}

impl Endpoint {
    /// An association that does nothing before [`Self::start`]. `remote_fingerprint` is that of the peer's SDP.
    pub fn new(certificate: Certificate, role: DtlsRole, remote_fingerprint: Fingerprint) -> Self {
        Self {
            state: State::New(certificate),
            role,
            remote_fingerprint,
            is_peer_verified: false,
            is_connected: false,
            has_keys: false,
            client_hello: Reassembly::default(),
            final_flight: FinalFlight::default(),
            buffer: Vec::new(),
            now: None,
        }
    }

    /// Sends the ClientHello, or awaits one; once there is a path. Does nothing the second time.
    pub fn start(&mut self, now: Instant) {
        let State::New(certificate) = &self.state else {
            return;
        };
        let mut dtls = Dtls::new_auto(certificate.config(), certificate.dtls_certificate(), now);
        dtls.set_active(self.role == DtlsRole::Active);
        let timer = Retransmission::default();
        self.state = State::Open { dtls, timer };
        self.now = Some(now);
    }

    /// The path's round trip, by which flights are sent again.
    pub fn set_round_trip(&mut self, round_trip: Duration) {
        if let State::Open { timer, .. } = &mut self.state {
            timer.set_round_trip(round_trip);
        }
    }

    /// Handles a datagram.
    ///
    /// # Errors
    /// Why it was dropped. What breaks the association is no error, but [`DtlsOutput::Failed`].
    pub fn handle_packet(&mut self, now: Instant, packet: &[u8]) -> Result<(), DropReason> {
        let State::Open { dtls, timer } = &mut self.state else {
            return Err(DropReason::DtlsUnexpected);
        };
        self.now = Some(now);
        // 001xxxxx begins DTLS 1.3's short header, everything else the long one.
        if packet.first().is_none_or(|first| first & 0xe0 != 0x20) && packet.len() < RECORD_HEADER_LEN {
            return Err(DropReason::DtlsMalformed);
        }
        // A client that does not know its version yet gives up at anything but an answer to its hello.
        let is_answer = || {
            packet[0] == HANDSHAKE_RECORD
                && matches!(
                    packet.get(RECORD_HEADER_LEN),
                    Some(&(SERVER_HELLO | HELLO_VERIFY_REQUEST))
                )
        };
        if self.role == DtlsRole::Active && dtls.protocol_version().is_none() && !is_answer() {
            return Err(DropReason::DtlsUnexpected);
        }
        let joined;
        let packet = if self.role == DtlsRole::Passive && !self.is_connected {
            let Some(whole) = self.client_hello.join(packet) else {
                return Ok(());
            };
            joined = whole;
            srtp_profile::hide_other_profiles(&joined)
        } else {
            packet.into()
        };
        timer.on_received();
        self.final_flight.on_received();
        if dtls
            .handle_timeout(timer.clock(now))
            .and_then(|()| dtls.handle_packet(&packet))
            .is_err()
        {
            self.state = State::Failing;
        }
        Ok(())
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        let State::Open { dtls, timer } = &mut self.state else {
            return;
        };
        self.final_flight.handle_timeout(now, timer);
        if dtls.handle_timeout(timer.handle_timeout(now)).is_err() {
            self.state = State::Failing;
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Open { timer, .. } => {
                let timeouts = [timer.poll_timeout(), self.final_flight.poll_timeout()];
                timeouts.into_iter().flatten().min()
            }
            _ => None,
        }
    }

    /// The peer has shown that it has keys.
    pub fn on_media(&mut self) {
        self.final_flight.end();
    }

    /// Sends close_notify, if there is an association to close, and handles nothing any more.
    pub fn close(&mut self) {
        if let State::Open { dtls, .. } = &mut self.state
            && dtls.close().is_err()
        {
            self.state = State::Ended;
        }
    }

    /// Neither sends nor takes anything from now on.
    pub(super) fn end(&mut self) {
        self.state = State::Ended;
    }

    pub fn poll_output(&mut self) -> Option<DtlsOutput> {
        if let Some(datagram) = self.final_flight.poll_transmit() {
            return Some(DtlsOutput::Transmit(datagram));
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let output = self.poll_into(&mut buffer);
        // After the handshake next to nothing is said, for as long as the session lives.
        if output.is_some() || !self.has_keys {
            self.buffer = buffer;
        }
        if matches!(output, Some(DtlsOutput::Failed | DtlsOutput::Closed)) {
            self.state = State::Ended;
            self.buffer = Vec::new();
        }
        output
    }

    fn poll_into(&mut self, buffer: &mut Vec<u8>) -> Option<DtlsOutput> {
        loop {
            let (dtls, timer) = match &mut self.state {
                State::Open { dtls, timer } => (dtls, timer),
                State::Failing => return Some(DtlsOutput::Failed),
                State::New(_) | State::Ended => return None,
            };
            if buffer.is_empty() {
                buffer.resize(BUFFER_LEN, 0);
            }
            match dtls.poll_output(buffer) {
                Output::Packet(packet) => {
                    if let Some(now) = self.now {
                        timer.on_sent(now);
                    }
                    self.final_flight.on_sent(packet);
                    return Some(DtlsOutput::Transmit(packet.to_vec()));
                }
                Output::BufferTooSmall { needed } if needed <= MAX_BUFFER_LEN => buffer.resize(needed, 0),
                Output::BufferTooSmall { .. } => return Some(DtlsOutput::Failed),
                Output::PeerCert(certificate) => {
                    let expected = &self.remote_fingerprint;
                    if compute_fingerprint(certificate, expected.algorithm) != *expected {
                        return Some(DtlsOutput::Failed);
                    }
                    self.is_peer_verified = true;
                }
                Output::Connected => {
                    self.is_connected = true;
                    self.client_hello = Reassembly::default();
                }
                Output::KeyingMaterial(material, profile) => {
                    let keys = known_profile(profile).and_then(|profile| ExportedKeys::parse(profile, &material));
                    let Some(keys) = keys.filter(|_| self.is_peer_verified) else {
                        return Some(DtlsOutput::Failed);
                    };
                    self.has_keys = true;
                    return Some(DtlsOutput::Keys(keys));
                }
                Output::CloseNotify => return Some(DtlsOutput::Closed),
                Output::Timeout(at) => {
                    if let Some(now) = self.now {
                        timer.on_awaited(now, at);
                        // A DTLS 1.3 client needs nothing more once it has sent its last flight.
                        let is_last =
                            self.role == DtlsRole::Passive && dtls.protocol_version() == Some(ProtocolVersion::DTLS1_2);
                        match self.has_keys {
                            true if is_last => self.final_flight.begin(now, timer),
                            true => self.final_flight.end(),
                            false => {}
                        }
                    }
                    // A peer without use_srtp has nothing to talk with.
                    if self.is_connected && !self.has_keys {
                        return Some(DtlsOutput::Failed);
                    }
                    return None;
                }
                // Application data would be SCTP, which we do not offer.
                _ => {}
            }
        }
    }
}

fn known_profile(profile: SrtpProfile) -> Option<Profile> {
    match profile {
        SrtpProfile::AES128_CM_SHA1_80 => Some(Profile::Aes128CmSha1_80),
        SrtpProfile::AEAD_AES_128_GCM => Some(Profile::AeadAes128Gcm),
        SrtpProfile::AEAD_AES_256_GCM => Some(Profile::AeadAes256Gcm),
        _ => None,
    }
}
