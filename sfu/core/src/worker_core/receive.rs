//! A datagram's way in: which client, what kind, decrypted, and queued with its track.

use std::time::Instant;

use super::WorkerCore;
use crate::drop_reason::DropReason;
use crate::negotiated::MediaKind;
use crate::path::Path;
use crate::relay;
use crate::track::Track;
use crate::transport::demux::{PacketKind, classify};
use crate::transport::stun::Class;
use crate::transport::{ice_lite, stun, ufrag};

/// Level taken for a speaker whose client sends none, in −dBov: audible, but no shout.
const ASSUMED_LEVEL: u8 = 50;

/// In −dBov.
const SILENCE: u8 = 127;
/// Opus' packets of discontinuous transmission and digital silence have one to three bytes, comfort noise up to
/// ten; speech has fifteen and more from 6 kbit/s on (RFC 6716, section 2.1.1), whatever level its sender claims.
const MAX_SILENCE: usize = 10;

impl WorkerCore {
    /// One UDP datagram or one RFC 4571 frame; it is decrypted in place.
    pub fn handle_packet(&mut self, now: Instant, path: Path, packet: &mut [u8]) {
        if let Err(reason) = self.demux(now, path, packet) {
            self.counters.drops.count(reason);
        }
    }

    fn demux(&mut self, now: Instant, path: Path, packet: &mut [u8]) -> Result<(), DropReason> {
        if packet.first() == Some(&relay::FIRST_BYTE) {
            return self.handle_link(now, path, packet);
        }
        match classify(packet)? {
            PacketKind::Rtp => {
                let index = self.connection_at(path)?;
                self.handle_rtp(now, index, packet)
            }
            PacketKind::Rtcp => {
                let index = self.connection_at(path)?;
                self.handle_rtcp(now, index, packet)
            }
            PacketKind::Stun => self.handle_stun(now, path, packet),
            PacketKind::Dtls => {
                let index = self.connection_at(path)?;
                let result = self.connections[index].transport.handle_dtls(now, path, packet);
                self.drain_transport(now, index);
                result
            }
        }
    }

    fn connection_at(&mut self, path: Path) -> Result<usize, DropReason> {
        if let Some((last, index)) = self.last_path
            && last == path
        {
            return Ok(index);
        }
        let index = *self.paths.get(&path).ok_or(DropReason::UnknownAddress)?;
        self.last_path = Some((path, index));
        Ok(index)
    }

    fn handle_stun(&mut self, now: Instant, path: Path, packet: &[u8]) -> Result<(), DropReason> {
        let index = self.stun_addressee(packet)?;
        let owner = self.paths.get(&path).copied().filter(|&owner| owner != index);
        if owner.is_some_and(|owner| self.connections[owner].transport.holds_path(path)) {
            // Or a client that forges its source address could draw another's media to itself.
            return Err(DropReason::PathInUse);
        }
        let transport = &mut self.connections[index].transport;
        let result = transport.handle_stun(now, path, packet);
        let forgotten = transport.take_forgotten_path();
        if let Some(forgotten) = forgotten {
            self.forget_path(forgotten, index);
        }
        if result.is_ok() && self.paths.get(&path) != Some(&index) {
            self.paths.insert(path, index);
            self.last_path = None;
        }
        self.drain_transport(now, index);
        result
    }

    /// The connection that a check of a client names, or whose check is answered.
    fn stun_addressee(&self, packet: &[u8]) -> Result<usize, DropReason> {
        let (class, transaction) = stun::peek_class(packet)?;
        if class == Class::Success {
            let asker = self.ids.get(&ice_lite::asking_connection(transaction));
            return asker.copied().ok_or(DropReason::StunUnexpected);
        }
        let (_, connection) = ufrag::parse(stun::peek_local_ufrag(packet)?).ok_or(DropReason::StunUnknownUser)?;
        self.ids.get(&connection).copied().ok_or(DropReason::StunUnknownUser)
    }

    /// The path is no longer this connection's; it may be another's.
    pub(super) fn forget_path(&mut self, path: Path, index: usize) {
        if self.paths.get(&path) == Some(&index) {
            self.paths.remove(&path);
            self.last_path = None;
        }
    }

    fn handle_rtp(&mut self, now: Instant, index: usize, packet: &mut [u8]) -> Result<(), DropReason> {
        self.counters.rtp_packets_in += 1;
        self.counters.rtp_bytes_in += packet.len() as u64;
        let ticks = self.ticks(now);
        let received = self.connections[index].unprotect(now, ticks, &self.ceilings, packet);
        // What is above a track's ceiling leaves a key frame to be asked for.
        self.has_news |= matches!(received, Ok(_) | Err(DropReason::OverTrackRate));
        let received = received?;
        if received.info.recovered {
            self.counters.rtx_packets_in += 1;
        }
        let route = received.route;
        let track = self.router.published(route, index).ok_or(DropReason::RtpUnknownSsrc)?;
        if track.kind == MediaKind::Audio && hear(now, track, received.info.audio_level, received.payload.len()) {
            self.heard.push(route);
        }
        if track.muted {
            return Err(DropReason::TrackMuted);
        }
        let descriptor = &packet[received.descriptor.clone()];
        let filled = self
            .pool
            .fill(received.info, &packet[received.payload.clone()], descriptor);
        if !received.red.is_empty() {
            self.recover_frames(index, &received, packet);
        }
        self.router.route(route, filled.ok_or(DropReason::TooLarge)?);
        Ok(())
    }
}

/// Notes the loudest level since the last report; true if it is the first. `len`: bytes of payload.
pub(super) fn hear(now: Instant, track: &mut Track, level: Option<u8>, len: usize) -> bool {
    let (level, voice) = match level {
        _ if len <= MAX_SILENCE => (SILENCE, false),
        Some(byte) => (byte & 0x7f, byte & 0x80 != 0),
        None => (ASSUMED_LEVEL, true),
    };
    if voice {
        track.spoke = Some(now);
    }
    match &mut track.heard {
        Some((loudest, spoken)) => {
            *loudest = (*loudest).min(level);
            *spoken |= voice;
            false
        }
        None => {
            track.heard = Some((level, voice));
            true
        }
    }
}
