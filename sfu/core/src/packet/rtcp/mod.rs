//! RTCP (RFC 3550, section 6; RFC 4585; RFC 5104): reading compound and reduced-size (RFC 5506)
//! packets, and writing the ones we send.

pub mod congestion_feedback;
pub mod feedback;
pub mod report;
pub mod transport_feedback;
pub mod write;

pub use congestion_feedback::CongestionFeedback;
pub use feedback::{Fir, FirEntries, Nack, NackSeqs, Pli, Remb};
pub use report::{Bye, ReceiverReport, ReportBlock, ReportBlocks, Sdes, SenderInfo, SenderReport, Ssrcs};
pub use transport_feedback::TransportFeedback;

use super::bytes::{u16_at, u32_at};
use crate::drop_reason::DropReason;

/// Packet types (IANA "RTCP Control Packet Types").
pub(crate) mod packet_type {
    pub const SR: u8 = 200;
    pub const RR: u8 = 201;
    pub const SDES: u8 = 202;
    pub const BYE: u8 = 203;
    /// Transport layer feedback.
    pub const RTPFB: u8 = 205;
    /// Payload-specific feedback.
    pub const PSFB: u8 = 206;
}

/// Feedback message types of RTPFB and PSFB.
pub(crate) mod format {
    pub const NACK: u8 = 1;
    /// RFC 8888.
    pub const CCFB: u8 = 11;
    pub const TRANSPORT_CC: u8 = 15;
    pub const PLI: u8 = 1;
    pub const FIR: u8 = 4;
    /// Application layer feedback; REMB is one.
    pub const AFB: u8 = 15;
}

/// One packet of a compound, as far as it is understood.
#[derive(Clone, Copy, Debug)]
pub enum RtcpPacket<'a> {
    SenderReport(SenderReport<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Sdes(Sdes<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    Pli(Pli),
    Fir(Fir<'a>),
    Remb(Remb<'a>),
    TransportFeedback(TransportFeedback<'a>),
    CongestionFeedback(CongestionFeedback<'a>),
    /// A type we do not use; `format` is the header's five-bit count.
    Unknown {
        packet_type: u8,
        format: u8,
    },
}

/// The packets of a decrypted datagram. Ends behind the first error.
#[derive(Clone, Copy, Debug)]
pub struct RtcpPackets<'a> {
    rest: &'a [u8],
}

impl<'a> RtcpPackets<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn read(&mut self) -> Option<RtcpPacket<'a>> {
        let [first, packet_type] = *self.rest.first_chunk()?;
        if first >> 6 != 2 {
            return None;
        }
        let len = 4 * (usize::from(u16_at(self.rest, 2)?) + 1);
        let (packet, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        let padding = match first & 0x20 {
            0 => 0,
            _ => usize::from(*packet.last()?),
        };
        let body = packet.get(4..len.checked_sub(padding)?)?;
        parse_body(packet_type, first & 0x1f, body)
    }
}

impl<'a> Iterator for RtcpPackets<'a> {
    type Item = Result<RtcpPacket<'a>, DropReason>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let packet = self.read().ok_or(DropReason::RtcpMalformed);
        if packet.is_err() {
            self.rest = &[];
        }
        Some(packet)
    }
}

/// `body` is what follows the four bytes of type and length.
fn parse_body(packet_type: u8, count: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    Some(match (packet_type, count) {
        (packet_type::SR, _) => RtcpPacket::SenderReport(SenderReport::parse(count, body)?),
        (packet_type::RR, _) => RtcpPacket::ReceiverReport(ReceiverReport::parse(count, body)?),
        (packet_type::SDES, _) => RtcpPacket::Sdes(Sdes::parse(count, body)?),
        (packet_type::BYE, _) => RtcpPacket::Bye(Bye::parse(count, body)?),
        (packet_type::RTPFB, format::NACK) => RtcpPacket::Nack(Nack::parse(body)?),
        (packet_type::RTPFB, format::TRANSPORT_CC) => RtcpPacket::TransportFeedback(TransportFeedback::parse(body)?),
        (packet_type::RTPFB, format::CCFB) => RtcpPacket::CongestionFeedback(CongestionFeedback::parse(body)?),
        (packet_type::PSFB, format::PLI) => RtcpPacket::Pli(Pli::parse(body)?),
        (packet_type::PSFB, format::FIR) => RtcpPacket::Fir(Fir::parse(body)?),
        (packet_type::PSFB, format::AFB) if body.get(8..12) == Some(b"REMB") => RtcpPacket::Remb(Remb::parse(body)?),
        _ => RtcpPacket::Unknown {
            packet_type,
            format: count,
        },
    })
}

/// The SSRC of whom the first packet comes from: SRTCP and every packet type begin with it.
pub fn sender_ssrc(datagram: &[u8]) -> Option<crate::units::Ssrc> {
    u32_at(datagram, 4).map(crate::units::Ssrc)
}

#[cfg(test)]
mod tests;
