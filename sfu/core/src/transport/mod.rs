//! One client's way in and out, with no media meaning: demultiplexing, ICE-lite, DTLS, SRTP.

pub mod demux;
pub mod dtls;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod ice_lite;
mod sped;
pub mod srtp;
pub mod stun;
#[cfg(test)]
mod test_util;
pub mod ufrag;

use std::collections::VecDeque;
use std::time::Instant;

pub use self::dtls::{Certificate, CertificateError};
pub use self::srtp::SRTP_MAX_OVERHEAD;

use self::demux::{PacketKind, classify};
use self::dtls::{DtlsOutput, Endpoint, HANDSHAKE_TIMEOUT};
use self::ice_lite::{IceLite, Received};
use self::sped::Sped;
use self::srtp::{ExportedKeys, Inbound, MasterKey, Outbound};
use crate::drop_reason::DropReason;
use crate::negotiated::{DtlsRole, Fingerprint, IceCredentials};
use crate::path::Path;
use crate::units::ExtendedSeq;
use crate::worker_api::CloseReason;

/// Packets that wait to be polled; further ones are dropped, as the network might. Polled after every
/// input, as it should be, the queue holds one flight of a handshake at most.
const MAX_OUTPUTS: usize = 64;
/// Datagrams of the handshake that wait until the peer's address may get so much.
const MAX_HELD: usize = 8;

pub struct TransportConfig {
    pub local: IceCredentials,
    /// For checks of ours, which an address has to answer before media goes there.
    pub remote: IceCredentials,
    pub remote_fingerprint: Fingerprint,
    pub role: DtlsRole,
    pub certificate: Certificate,
}

#[derive(Debug, PartialEq, Eq)]
pub enum TransportOutput {
    /// A STUN message or a DTLS datagram.
    Transmit {
        path: Path,
        data: Vec<u8>,
    },
    Event(TransportEvent),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// There is a proven path and there are keys: media may flow. Once.
    Connected,
    /// The first path, and every time that the client moved to another one.
    PathChanged(Path),
    /// Media may flow again after consent was lost (RFC 7675) or the only TCP stream ended, or goes elsewhere after an ICE
    /// restart: the client has missed what was sent before.
    Resumed,
    /// The transport is of no use any more. Once, and nothing follows.
    Failed(CloseReason),
    /// The peer sent close_notify. Once, and nothing follows.
    PeerClosed,
}

/// The transport of one client. Poll [`Self::poll_output`] until `None` after each input.
pub struct Transport {
    /// Once the handshake is done.
    srtp: Option<Box<Srtp>>,
    /// Where media goes: while there are keys and a proven path.
    media: Option<Path>,
    is_connected: bool,
    has_ended: bool,
    /// The client has not shown by media that it has keys.
    awaits_media: bool,
    /// ICE was restarted, and media goes where it went before.
    is_restarted: bool,
    /// No media packet touches what is boxed.
    ice: Box<IceLite>,
    dtls: Box<Endpoint>,
    flights: Flights,
    held: VecDeque<Vec<u8>>,
    /// What is held may ride on an answer that comes at once.
    is_corked: bool,
    sped: Box<Sped>,
    role: DtlsRole,
    /// Until when the handshake has to be done; from the first valid check on, until it is done.
    handshake_deadline: Option<Instant>,
    outputs: VecDeque<TransportOutput>,
}

/// Where the datagrams of our handshake went.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flights {
    Nowhere,
    To(Path),
    /// Whoever finished the handshake may have read them elsewhere than where it says it is.
    ToSeveral,
}

struct Srtp {
    outbound: Outbound,
    inbound: Inbound,
}

impl Transport {
    pub fn new(config: TransportConfig, now: Instant) -> Self {
        Self {
            media: None,
            is_connected: false,
            awaits_media: true,
            is_restarted: false,
            ice: Box::new(IceLite::new(config.local, config.remote, now)),
            flights: Flights::Nowhere,
            held: VecDeque::new(),
            is_corked: false,
            sped: Box::new(Sped::new()),
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
    /// Why it was neither a valid check nor the answer to one of ours. Only what is authentic, as a check
    /// in the wrong role, is answered still.
    pub fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<(), DropReason> {
        if self.has_ended {
            return Err(DropReason::StunUnexpected);
        }
        let (was_checked, selected) = (self.ice.is_checked(), self.ice.selected());
        let (received, embedded) = self.ice.receive(now, path, packet)?;
        if received == Received::Refused {
            self.drain_ice(selected);
            return Err(DropReason::StunUnexpected);
        }
        if let Some(round_trip) = self.ice.round_trip() {
            self.dtls.set_round_trip(round_trip);
        }
        self.is_corked = true;
        if !was_checked && self.ice.is_checked() {
            self.handshake_deadline = Some(now + HANDSHAKE_TIMEOUT);
            self.dtls.start(now);
            self.drain_dtls(now);
        }
        let had_keys = self.srtp.is_some();
        self.sped.on_message(now, &embedded);
        if let Some(datagram) = embedded.dtls
            && self.sped.acks().is_some()
            && classify(datagram) == Ok(PacketKind::Dtls)
        {
            // Counted with the check already.
            self.ice.on_dtls(now, path, 0);
            // What is not taken is not acknowledged, so the client repeats it.
            if self.dtls.handle_packet(now, datagram).is_ok() {
                self.sped.on_datagram(datagram);
            }
            self.drain_dtls(now);
        }
        self.ice.set_acks(self.sped.acks());
        self.answer_check(now, path);
        self.prove_by_handshake(now, path, had_keys);
        self.drain_ice(selected);
        Ok(())
    }

    /// Answers the check, if it was one, with what is due of the handshake.
    fn answer_check(&mut self, now: Instant, path: Path) {
        self.is_corked = false;
        let due = self.sped.due(now, self.ice.round_trip());
        if self.ice.answer(now, due)
            && let Some(datagram) = due.map(<[u8]>::to_vec)
        {
            self.held.retain(|held| *held != datagram);
            self.sped.on_said(now, &datagram);
            self.on_flight_sent(path);
        }
    }

    /// Whoever finished the handshake has read what we sent, if all of it went to `path`.
    fn prove_by_handshake(&mut self, now: Instant, path: Path, had_keys: bool) {
        if !had_keys && self.srtp.is_some() && self.flights == Flights::To(path) {
            self.ice.on_handshake(now, path);
        }
    }

    /// Handles a DTLS datagram; only on paths that a valid STUN check came on.
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
        let (had_keys, selected) = (self.srtp.is_some(), self.ice.selected());
        self.ice.on_dtls(now, path, packet.len());
        self.drain_ice(selected);
        let result = self.dtls.handle_packet(now, packet);
        if result.is_ok() {
            self.sped.on_datagram(packet);
            self.ice.set_acks(self.sped.acks());
        }
        self.drain_dtls(now);
        if !had_keys && self.srtp.is_some() {
            let selected = self.ice.selected();
            self.prove_by_handshake(now, path, had_keys);
            self.drain_ice(selected);
        }
        result
    }

    /// A TCP stream ended.
    pub fn handle_path_closed(&mut self, now: Instant, path: Path) {
        let selected = self.ice.selected();
        self.ice.on_path_closed(now, path);
        self.drain_ice(selected);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        if now >= self.ice.deadline() {
            self.fail(CloseReason::IceTimeout);
        } else if self.handshake_deadline.is_some_and(|deadline| now >= deadline) {
            // With keys it is the address that has not proven itself.
            self.fail(match self.srtp {
                Some(_) => CloseReason::IceTimeout,
                None => CloseReason::DtlsFailed,
            });
        } else {
            let selected = self.ice.selected();
            self.ice.handle_timeout(now);
            self.drain_ice(selected);
            if self.dtls.poll_timeout().is_some_and(|due| due <= now) {
                // The flight comes again.
                self.held.clear();
            }
            self.dtls.handle_timeout(now);
            self.drain_dtls(now);
        }
    }

    /// When [`Self::handle_timeout`] is due; `None` once the transport has ended.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.has_ended {
            return None;
        }
        let others = [
            self.handshake_deadline,
            self.dtls.poll_timeout(),
            self.ice.poll_timeout(),
        ];
        Some(others.into_iter().flatten().fold(self.ice.deadline(), Instant::min))
    }

    pub fn poll_output(&mut self) -> Option<TransportOutput> {
        self.outputs.pop_front()
    }

    /// Where the handshake is sent: the nominated path, before that one with a valid check. `None` before
    /// the first check, and after the only TCP stream ended until the next check.
    pub fn path(&self) -> Option<Path> {
        self.ice.selected()
    }

    /// Where media may be sent now: somebody there has shown that it reads it. `None` before the handshake
    /// is done, while consent is lost (RFC 7675), and after the end.
    pub fn media_path(&self) -> Option<Path> {
        self.media
    }

    /// A valid STUN check came on `path`, so what comes on it is this client's.
    pub fn is_valid_path(&self, path: Path) -> bool {
        self.ice.is_valid(path)
    }

    /// The client has shown that it reads what is sent to `path`, which is in use.
    pub fn holds_path(&self, path: Path) -> bool {
        self.ice.proven() == Some(path)
    }

    /// Paths that [`Self::is_valid_path`] holds for.
    pub fn paths(&self) -> impl Iterator<Item = Path> + '_ {
        self.ice.paths()
    }

    /// A path that made room for a new one since the last call; ask after each STUN packet.
    pub fn take_forgotten_path(&mut self) -> Option<Path> {
        self.ice.take_forgotten()
    }

    /// Fetches what [`Self::protect_rtp`] needs.
    pub fn prefetch(&self) {
        if let Some(srtp) = &self.srtp {
            srtp.outbound.prefetch();
        }
    }

    pub fn is_connected(&self) -> bool {
        self.is_connected && !self.has_ended
    }

    /// Takes new credentials (RFC 8445, section 9). The old ones stay valid until the first check with
    /// the new ones, the path until one is nominated; DTLS and SRTP go on as they are.
    pub fn restart_ice(&mut self, local: IceCredentials, remote: IceCredentials, now: Instant) {
        self.is_restarted = true;
        self.ice.restart(local, remote, now);
    }

    /// Sends DTLS close_notify. No event follows.
    pub fn close(&mut self, now: Instant) {
        if self.has_ended {
            return;
        }
        self.dtls.handle_timeout(now);
        self.dtls.close();
        self.drain_dtls(now);
        self.has_ended = true;
        self.media = None;
        self.outputs
            .retain(|output| matches!(output, TransportOutput::Transmit { .. }));
    }

    /// Authenticates and decrypts in place; the length of the plain packet.
    ///
    /// # Errors
    /// See [`Inbound::unprotect_rtp`]; [`DropReason::SrtpNoKeys`] before the handshake is done.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        let plain = srtp.inbound.unprotect_rtp(packet);
        if self.awaits_media && plain.is_ok() {
            self.on_media();
        }
        plain
    }

    /// Authenticates and decrypts in place; the length of the plain packet.
    ///
    /// # Errors
    /// See [`Inbound::unprotect_rtcp`]; [`DropReason::SrtpNoKeys`] before the handshake is done.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let srtp = self.srtp.as_mut().ok_or(DropReason::SrtpNoKeys)?;
        let plain = srtp.inbound.unprotect_rtcp(packet);
        if self.awaits_media && plain.is_ok() {
            self.on_media();
        }
        plain
    }

    fn on_media(&mut self) {
        self.awaits_media = false;
        self.dtls.on_media();
        self.sped.end();
        self.ice.set_acks(None);
    }

    /// See [`Outbound::protect_rtp`]. `None` before the handshake is done, too.
    pub fn protect_rtp(&mut self, packet: &mut [u8], len: usize, header_len: usize, seq: ExtendedSeq) -> Option<usize> {
        self.srtp.as_mut()?.outbound.protect_rtp(packet, len, header_len, seq)
    }

    /// See [`Outbound::protect_rtcp`]. `None` before the handshake is done, too.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        self.srtp.as_mut()?.outbound.protect_rtcp(packet, len)
    }

    /// After every input of ICE: sends what it leaves, and follows it to another path.
    fn drain_ice(&mut self, before: Option<Path>) {
        while let Some((path, data)) = self.ice.poll_transmit() {
            self.transmit(path, data);
        }
        if self.has_ended {
            return;
        }
        if let Some(path) = self.ice.selected()
            && before != Some(path)
        {
            // Only the latest counts for one who has not polled the last.
            self.outputs
                .retain(|output| !matches!(output, TransportOutput::Event(TransportEvent::PathChanged(_))));
            self.push_event(TransportEvent::PathChanged(path));
        }
        let old = self.media;
        self.media = self.ice.proven().filter(|_| self.srtp.is_some());
        if self.is_connected && self.media.is_some() && self.media != old {
            let is_missed = old.is_none() || self.is_restarted;
            self.is_restarted = false;
            if is_missed {
                self.push_event(TransportEvent::Resumed);
            }
        }
        if self.media.is_some() && !self.is_connected {
            self.is_connected = true;
            self.handshake_deadline = None;
            self.push_event(TransportEvent::Connected);
        }
        self.send_held();
    }

    fn drain_dtls(&mut self, now: Instant) {
        let mut is_first = true;
        while let Some(output) = self.dtls.poll_output() {
            match output {
                DtlsOutput::Transmit(data) => {
                    if std::mem::take(&mut is_first) {
                        self.sped.begin_flight();
                    }
                    self.sped.push(&data);
                    if !self.is_corked {
                        self.sped.on_said(now, &data);
                    }
                    if self.held.len() < MAX_HELD {
                        self.held.push_back(data);
                    }
                    self.send_held();
                }
                DtlsOutput::Keys(keys) => {
                    self.sped.on_keys(now);
                    self.on_keys(keys);
                }
                DtlsOutput::Failed => return self.fail(CloseReason::DtlsFailed),
                DtlsOutput::Closed => return self.end(TransportEvent::PeerClosed),
            }
        }
        // What is connected has a path that takes everything.
        if self.is_connected {
            self.held = VecDeque::new();
        }
    }

    /// Sends of the handshake as much as the address may get.
    fn send_held(&mut self) {
        while !self.is_corked
            && let Some(path) = self.ice.selected()
            && let Some(data) = self.held.front()
            && self.ice.take_allowance(path, data.len())
            && let Some(data) = self.held.pop_front()
        {
            self.on_flight_sent(path);
            self.transmit(path, data);
        }
    }

    fn on_flight_sent(&mut self, path: Path) {
        self.flights = match self.flights {
            Flights::Nowhere => Flights::To(path),
            Flights::To(same) if same == path => self.flights,
            _ => Flights::ToSeveral,
        };
    }

    fn on_keys(&mut self, keys: ExportedKeys) {
        let (local, remote) = match self.role {
            DtlsRole::Active => (keys.client, keys.server),
            DtlsRole::Passive => (keys.server, keys.client),
        };
        self.set_keys(&local, &remote);
    }

    /// As after a handshake, for tests that have no time for one.
    #[doc(hidden)]
    pub fn assume_handshake(&mut self, local: &MasterKey, remote: &MasterKey) {
        self.dtls.end();
        self.set_keys(local, remote);
    }

    fn set_keys(&mut self, local: &MasterKey, remote: &MasterKey) {
        self.srtp = Some(Box::new(Srtp {
            inbound: Inbound::new(remote),
            outbound: Outbound::new(local),
        }));
    }

    fn fail(&mut self, reason: CloseReason) {
        self.end(TransportEvent::Failed(reason));
    }

    fn end(&mut self, event: TransportEvent) {
        if !self.has_ended {
            self.has_ended = true;
            self.media = None;
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
