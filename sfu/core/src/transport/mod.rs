//! One client's way in and out, with no media meaning: demultiplexing, ICE-lite, DTLS, SRTP.

pub mod demux;
pub mod dtls;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod ice_lite;
pub mod srtp;
pub mod stun;
#[cfg(test)]
mod test_util;
pub mod ufrag;

use std::collections::VecDeque;
use std::time::Instant;

pub use self::dtls::{Certificate, CertificateError};
pub use self::srtp::SRTP_MAX_OVERHEAD;

use self::dtls::{DtlsOutput, Endpoint, HANDSHAKE_TIMEOUT};
use self::ice_lite::IceLite;
use self::srtp::{ExportedKeys, Inbound, Outbound};
use crate::drop_reason::DropReason;
use crate::negotiated::{DtlsRole, Fingerprint, IceCredentials};
use crate::path::Path;
use crate::units::ExtendedSeq;
use crate::worker_api::CloseReason;

/// Packets that wait to be polled; further ones are dropped, as the network might. Polled after every
/// input, as it should be, the queue holds one flight of a handshake at most.
const MAX_OUTPUTS: usize = 64;

pub struct TransportConfig {
    pub local: IceCredentials,
    /// Not needed: a lite agent sends no checks, and those it gets are authenticated by `local`.
    pub remote: IceCredentials,
    pub remote_fingerprint: Fingerprint,
    pub role: DtlsRole,
    pub certificate: Certificate,
}

#[derive(Debug, PartialEq, Eq)]
pub enum TransportOutput {
    /// A STUN response or a DTLS datagram.
    Transmit {
        path: Path,
        data: Vec<u8>,
    },
    Event(TransportEvent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// There is a path and there are keys: media may flow. Once.
    Connected,
    /// The first path, and every time that the client moved to another one.
    PathChanged(Path),
    /// The transport is of no use any more. Once, and nothing follows.
    Failed(CloseReason),
    /// The peer sent close_notify. Once, and nothing follows.
    PeerClosed,
}

/// The transport of one client. Poll [`Self::poll_output`] until `None` after each input.
pub struct Transport {
    /// Once the handshake is done.
    srtp: Option<Box<Srtp>>,
    ice: IceLite,
    has_ended: bool,
    /// No media packet touches what is boxed.
    dtls: Box<Endpoint>,
    role: DtlsRole,
    /// Until when the handshake has to be done; from the first valid check on, until it is done.
    handshake_deadline: Option<Instant>,
    outputs: VecDeque<TransportOutput>,
}

struct Srtp {
    outbound: Outbound,
    inbound: Inbound,
}

impl Transport {
    pub fn new(config: TransportConfig, now: Instant) -> Self {
        Self {
            ice: IceLite::new(config.local, now),
            dtls: Box::new(Endpoint::new(
                config.certificate,
                config.role,
                config.remote_fingerprint,
            )),
            role: config.role,
            handshake_deadline: None,
            srtp: None,
            has_ended: false,
            outputs: VecDeque::new(),
        }
    }

    /// Handles a STUN packet; after `Ok`, `path` is this client's.
    ///
    /// # Errors
    /// Why it was no valid check. Only what is authentic, as a check in the wrong role, is answered still.
    pub fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<(), DropReason> {
        if self.has_ended {
            return Err(DropReason::StunUnexpected);
        }
        let was_checked = self.ice.is_checked();
        let answer = self.ice.handle_stun(now, path, packet)?;
        self.transmit(path, answer.response);
        self.on_selected(answer.selected);
        if !was_checked && self.ice.is_checked() {
            self.handshake_deadline = Some(now + HANDSHAKE_TIMEOUT);
            self.dtls.start(now);
            self.drain_dtls();
        }
        if answer.is_valid {
            Ok(())
        } else {
            Err(DropReason::StunUnexpected)
        }
    }

    /// Handles a DTLS datagram; only on paths that a valid STUN check proved.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn handle_dtls(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<(), DropReason> {
        if self.has_ended {
            return Err(DropReason::DtlsUnexpected);
        }
        if !self.ice.is_valid(path) {
            return Err(DropReason::UnknownAddress);
        }
        let selected = self.ice.on_dtls(path);
        self.on_selected(selected);
        let result = self.dtls.handle_packet(now, packet);
        self.drain_dtls();
        result
    }

    /// A TCP stream ended.
    pub fn handle_path_closed(&mut self, path: Path) {
        let selected = self.ice.on_path_closed(path);
        if !self.has_ended {
            self.on_selected(selected);
        }
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        if now >= self.ice.deadline() {
            self.fail(CloseReason::IceTimeout);
        } else if self.handshake_deadline.is_some_and(|deadline| now >= deadline) {
            self.fail(CloseReason::DtlsFailed);
        } else {
            self.dtls.handle_timeout(now);
            self.drain_dtls();
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` once the transport has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let others = [self.handshake_deadline, self.dtls.poll_timeout()];
        Some(others.into_iter().flatten().fold(self.ice.deadline(), Instant::min))
    }

    pub fn poll_output(&mut self) -> Option<TransportOutput> {
        self.outputs.pop_front()
    }

    /// Where to send: the nominated path, before that one with a valid check. `None` before the
    /// first check, and after the only TCP stream ended until the next check.
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Where media may be sent now; `None` before the handshake is done and after the end.
    pub fn media_path(&self) -> Option<Path> {
        if self.is_connected() { self.path() } else { None }
    }

    /// A valid STUN check came on `path`, so what comes on it is this client's.
    pub fn is_valid_path(&self, path: Path) -> bool {
        self.ice.is_valid(path)
    }

    /// Fetches what [`Self::protect_rtp`] needs.
    pub fn prefetch(&self) {
        if let Some(srtp) = &self.srtp {
            srtp.outbound.prefetch();
        }
    }

    pub fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.has_ended
    }

    /// Takes new credentials (RFC 8445, section 9). The old ones stay valid until the first check with
    /// the new ones, the path until one is nominated; DTLS and SRTP go on as they are. A lite agent
    /// has no use for `_remote`, see [`TransportConfig::remote`].
    pub fn restart_ice(&mut self, local: IceCredentials, _remote: IceCredentials, now: Instant) {
        self.ice.restart(local, now);
    }

    /// Sends DTLS close_notify. No event follows.
    pub fn close(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        self.dtls.handle_timeout(now);
        self.dtls.close();
        self.drain_dtls();
        self.has_ended = true;
        self.outputs
            .retain(|output| matches!(output, TransportOutput::Transmit { .. }));
    }

    /// Authenticates and decrypts in place; the length of the plain packet.
    ///
    /// # Errors
    /// See [`Inbound::unprotect_rtp`]; [`DropReason::SrtpNoKeys`] before the handshake is done.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        srtp.inbound.unprotect_rtp(packet)
    }

    /// Authenticates and decrypts in place; the length of the plain packet.
    ///
    /// # Errors
    /// See [`Inbound::unprotect_rtcp`]; [`DropReason::SrtpNoKeys`] before the handshake is done.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        srtp.inbound.unprotect_rtcp(packet)
    }

    /// See [`Outbound::protect_rtp`]. `None` before the handshake is done, too.
    pub fn protect_rtp(&mut self, packet: &mut [u8], len: usize, header_len: usize, seq: ExtendedSeq) -> Option<usize> {
        self.srtp.as_mut()?.outbound.protect_rtp(packet, len, header_len, seq)
    }

    /// See [`Outbound::protect_rtcp`]. `None` before the handshake is done, too.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        self.srtp.as_mut()?.outbound.protect_rtcp(packet, len)
    }

    fn drain_dtls(&mut self) {
        while let Some(output) = self.dtls.poll_output() {
            match output {
                DtlsOutput::Transmit(data) => {
                    if let Some(path) = self.ice.selected() {
                        self.transmit(path, data);
                    }
                }
                DtlsOutput::Keys(keys) => self.on_keys(keys),
                DtlsOutput::Failed => return self.fail(CloseReason::DtlsFailed),
                DtlsOutput::Closed => return self.end(TransportEvent::PeerClosed),
            }
        }
    }

    fn on_keys(&mut self, keys: ExportedKeys) {
        let (local, remote) = match self.role {
            DtlsRole::Active => (keys.client, keys.server),
            DtlsRole::Passive => (keys.server, keys.client),
        };
        self.srtp = Some(Box::new(Srtp {
            inbound: Inbound::new(&remote),
            outbound: Outbound::new(&local),
        }));
        self.handshake_deadline = None;
        self.push_event(TransportEvent::Connected);
    }

    fn on_selected(&mut self, selected: Option<Path>) {
        if let Some(path) = selected {
            // Only the latest counts for one who has not polled the last.
            self.outputs
                .retain(|output| !matches!(output, TransportOutput::Event(TransportEvent::PathChanged(_))));
            self.push_event(TransportEvent::PathChanged(path));
        }
    }

    fn fail(&mut self, reason: CloseReason) {
        self.end(TransportEvent::Failed(reason));
    }

    fn end(&mut self, event: TransportEvent) {
        if !self.has_ended {
            self.has_ended = true;
            self.push_event(event);
        }
    }

    fn transmit(&mut self, path: Path, data: Vec<u8>) {
        if self.outputs.len() < MAX_OUTPUTS {
            self.outputs.push_back(TransportOutput::Transmit { path, data });
        }
    }

    fn push_event(&mut self, event: TransportEvent) {
        self.outputs.push_back(TransportOutput::Event(event));
    }
}
