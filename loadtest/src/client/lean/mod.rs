//! A client over the server's own transport core, cheap enough that hundreds of them fit on a core:
//! packets are decrypted where they were read, and nothing is allocated for one.

pub mod engine;
mod ice;
mod negotiation;
mod receiver;
mod rtcp;
mod sdp;
mod send_queue;
mod sender;
mod stream;
mod transport;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, bail};
use tianqiao_sfu_core::transport::SRTP_MAX_OVERHEAD;
use tianqiao_sfu_core::transport::demux::{PacketKind, classify};

pub use self::negotiation::OPUS;

use self::negotiation::Negotiation;
use self::receiver::Receiver;
use self::rtcp::Reports;
use self::send_queue::SendQueue;
use self::sender::{HEADER_ROOM, Sender, Written};
use self::transport::{Transport, TransportEvent};
use super::peer::{MediaSink, OutgoingRtp, Peer, PeerConfig, PeerEvent, SendStream, Transmit};

/// Room for a packet that is sent again.
const MAX_PACKET: usize = 1500;

pub struct LeanPeer {
    negotiation: Negotiation,
    transport: Transport,
    senders: Vec<Sender>,
    receiver: Receiver,
    reports: Reports,
    repair: bool,
    out: SendQueue,
    events: VecDeque<PeerEvent>,
}

impl LeanPeer {
    pub fn new(config: &PeerConfig) -> Result<Self> {
        Ok(Self {
            negotiation: Negotiation::new(config)?,
            transport: Transport::new(),
            senders: Vec::new(),
            receiver: Receiver::new(config.repair),
            reports: Reports::new(),
            repair: config.repair,
            out: SendQueue::default(),
            events: VecDeque::new(),
        })
    }

    fn on_transport_event(&mut self, now: Instant, event: Option<TransportEvent>) {
        match event {
            Some(TransportEvent::Connected) => {
                self.reports.begin(now);
                self.events.push_back(PeerEvent::Connected);
            }
            Some(TransportEvent::Closed) => self.events.push_back(PeerEvent::Closed),
            None => {}
        }
    }

    fn handle_rtp(&mut self, now: Instant, data: &mut [u8], sink: &mut dyn MediaSink) {
        // What is dropped here is the server's fault or an attacker's; nothing follows from it.
        if let Some(srtp) = self.transport.srtp()
            && let Ok(len) = srtp.inbound.unprotect_rtp(data)
        {
            let _ = self.receiver.on_rtp(now, &data[..len], sink);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, data: &mut [u8]) {
        if let Some(srtp) = self.transport.srtp()
            && let Ok(len) = srtp.inbound.unprotect_rtcp(data)
        {
            self.on_rtcp(now, &data[..len]);
        }
    }

    /// Protects what `write` puts into a buffer of `room` bytes beside the tag.
    fn send_packet(&mut self, room: usize, write: impl FnOnce(&mut Sender, &mut [u8]) -> Option<Written>, ssrc: u32) {
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.stream().ssrc == ssrc) else {
            return;
        };
        let (Some(to), Some(srtp)) = (self.transport.ice.remote_addr(), self.transport.srtp()) else {
            return;
        };
        self.out.write(to, room + SRTP_MAX_OVERHEAD, |buffer| {
            let Written { len, header_len, seq } = write(sender, &mut buffer[..room])?;
            srtp.outbound.protect_rtp(buffer, len, header_len, seq)
        });
    }
}

impl Peer for LeanPeer {
    fn offer(&mut self, _now: Instant) -> Result<String> {
        self.negotiation.offer(&mut self.transport.ice)
    }

    fn set_answer(&mut self, now: Instant, answer: &str) -> Result<()> {
        let agreed = self.negotiation.set_answer(answer)?;
        self.apply(now, agreed)
    }

    fn accept_offer(&mut self, now: Instant, offer: &str) -> Result<String> {
        let (agreed, answer) = self.negotiation.accept_offer(self.transport.ice.local(), offer)?;
        self.apply(now, agreed)?;
        Ok(answer)
    }

    fn set_local_addr(&mut self, _addr: SocketAddr) -> Result<()> {
        let Some(now) = self.negotiation.agreed_at() else {
            bail!("there is nobody to reach before the answer");
        };
        self.transport.ice.begin(now);
        Ok(())
    }

    fn add_video_slots(&mut self, count: usize) -> Result<()> {
        self.negotiation.add_video_slots(count);
        Ok(())
    }

    fn restart_ice(&mut self) {
        self.negotiation.restart_ice();
    }

    fn send_streams(&mut self) -> Vec<SendStream> {
        self.senders.iter().map(Sender::stream).collect()
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, data: &mut [u8], sink: &mut dyn MediaSink) {
        let event = match classify(data) {
            Ok(PacketKind::Rtp) => return self.handle_rtp(now, data, sink),
            Ok(PacketKind::Rtcp) => return self.handle_rtcp(now, data),
            Ok(PacketKind::Stun) => self.transport.handle_stun(now, from, data, &mut self.out),
            Ok(PacketKind::Dtls) => self.transport.handle_dtls(now, data, &mut self.out),
            Err(_) => None,
        };
        self.on_transport_event(now, event);
    }

    fn handle_timeout(&mut self, now: Instant) {
        if self.transport.poll_timeout().is_some_and(|due| due <= now) {
            let event = self.transport.handle_timeout(now, &mut self.out);
            self.on_transport_event(now, event);
        }
        self.send_due_rtcp(now);
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        if self.transport.has_ended() {
            return None;
        }
        let others = [self.reports.poll_timeout(), self.receiver.poll_timeout()];
        let others = others.into_iter().flatten();
        others.chain(self.transport.poll_timeout()).min()
    }

    fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        self.out.pop()
    }

    fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    fn send_rtp(&mut self, now: Instant, packet: OutgoingRtp<'_>) -> Result<()> {
        let room = packet.payload.len() + HEADER_ROOM;
        self.send_packet(
            room,
            |sender, buffer| sender.write(now, &packet, buffer),
            packet.stream.ssrc,
        );
        Ok(())
    }

    fn request_keyframe(&mut self, _now: Instant, ssrc: u32) -> Result<()> {
        self.send_pli(ssrc);
        Ok(())
    }

    fn request_packets(&mut self, _now: Instant, ssrc: u32, sequence_numbers: &[u16]) -> Result<()> {
        self.send_nack(ssrc, sequence_numbers);
        Ok(())
    }

    fn close(&mut self) {
        self.transport.close(&mut self.out);
    }
}
