//! RTP congestion control feedback (RFC 8888): by stream, which packets came and when.

use crate::packet::bytes::{u16_at, u32_at};
use crate::units::Ssrc;

/// Section 3.1: of one stream, in one message.
const MAX_REPORTS: u16 = 16_384;
/// Arrival time offsets count in these parts of a second.
pub const OFFSETS_PER_SECOND: i64 = 1_024;
/// Offsets from here on are none: the packet came too long before the report, or when is not known.
const TOO_LONG_AGO: u16 = 0x1ffe;

/// A message whose streams are known to be complete.
#[derive(Clone, Copy, Debug)]
pub struct CongestionFeedback<'a> {
    pub sender: Ssrc,
    /// When it was made: the middle 32 bits of an NTP time by the receiver's clock.
    pub timestamp: u32,
    streams: &'a [u8],
}

impl<'a> CongestionFeedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let end = body.len().checked_sub(4)?;
        let streams = body.get(4..end)?;
        let mut rest = Streams(streams);
        while !rest.0.is_empty() {
            rest.read()?;
        }
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            timestamp: u32_at(body, end)?,
            streams,
        })
    }

    pub fn streams(&self) -> Streams<'a> {
        Streams(self.streams)
    }
}

/// Iterates [`CongestionFeedback::streams`].
#[derive(Clone, Copy, Debug)]
pub struct Streams<'a>(&'a [u8]);

impl<'a> Streams<'a> {
    fn read(&mut self) -> Option<StreamReport<'a>> {
        let reports = u16_at(self.0, 6)?;
        if reports > MAX_REPORTS {
            return None;
        }
        let len = 2 * usize::from(reports);
        let stream = StreamReport {
            ssrc: Ssrc(u32_at(self.0, 0)?),
            begin_seq: u16_at(self.0, 4)?,
            metrics: self.0.get(8..8 + len)?,
        };
        // An odd number of reports is padded.
        self.0 = self.0.get(8 + len.next_multiple_of(4)..)?;
        Some(stream)
    }
}

impl<'a> Iterator for Streams<'a> {
    type Item = StreamReport<'a>;

    fn next(&mut self) -> Option<StreamReport<'a>> {
        self.read()
    }
}

/// What is told of consecutive packets of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamReport<'a> {
    pub ssrc: Ssrc,
    /// Sequence number of the first.
    pub begin_seq: u16,
    metrics: &'a [u8],
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketFate {
    /// It has not come so far.
    Missing,
    /// It came so many 1/1,024 s before the message's timestamp.
    Came(u16),
    /// It came, at a time that is not told.
    CameSometime,
}

impl<'a> StreamReport<'a> {
    /// Each packet by its sequence number. What was marked on the way (ECN) is not told.
    pub fn packets(&self) -> impl Iterator<Item = (u16, PacketFate)> + use<'a> {
        let begin = self.begin_seq;
        let metrics = self.metrics.chunks_exact(2).zip(0..);
        metrics.map(move |(metric, index)| {
            let metric = u16::from_be_bytes([metric[0], metric[1]]);
            let offset = metric & 0x1fff;
            let fate = match metric & 0x8000 != 0 {
                false => PacketFate::Missing,
                true if offset < TOO_LONG_AGO => PacketFate::Came(offset),
                true => PacketFate::CameSometime,
            };
            (begin.wrapping_add(index), fate)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::rtcp::{RtcpPacket, RtcpPackets, write};

    fn parsed(datagram: &[u8]) -> Option<CongestionFeedback<'_>> {
        match RtcpPackets::new(datagram).next()? {
            Ok(RtcpPacket::CongestionFeedback(feedback)) => Some(feedback),
            _ => None,
        }
    }

    #[test]
    fn each_packet_of_each_stream_is_told_across_the_wrap() {
        let first = [0x8000, 0, 0xe3ff, 0x9ffd, 0x9ffe];
        let second = [0x9fff];
        let mut buffer = [0; 100];
        let streams = [
            (Ssrc(7), 65_534, &first[..]),
            (Ssrc(8), 5, &[][..]),
            (Ssrc(9), 6, &second[..]),
        ];
        let len = write::congestion_feedback(Ssrc(1), &streams, 0x1234_5678, &mut buffer).unwrap();
        // A head of 8, three streams of 8 each with padded reports of 12 and 4, and the timestamp.
        assert_eq!(len, 8 + 3 * 8 + 12 + 4 + 4);
        let feedback = parsed(&buffer[..len]).unwrap();
        assert_eq!((feedback.sender, feedback.timestamp), (Ssrc(1), 0x1234_5678));
        let told: Vec<_> = feedback
            .streams()
            .flat_map(|stream| stream.packets().map(move |(seq, fate)| (stream.ssrc.0, seq, fate)))
            .collect();
        assert_eq!(
            told,
            [
                (7, 65_534, PacketFate::Came(0)),
                (7, 65_535, PacketFate::Missing),
                // With both ECN bits.
                (7, 0, PacketFate::Came(0x3ff)),
                (7, 1, PacketFate::Came(0x1ffd)),
                (7, 2, PacketFate::CameSometime),
                (9, 6, PacketFate::CameSometime),
            ]
        );
    }

    #[test]
    fn what_is_cut_or_claims_too_much_is_malformed() {
        let mut buffer = [0; 100];
        let streams = [(Ssrc(7), 0, &[0x8000; 3][..])];
        let len = write::congestion_feedback(Ssrc(1), &streams, 0, &mut buffer).unwrap();
        assert!(parsed(&buffer[..len]).is_some());
        for (claimed, is_whole) in [(4_u16, true), (5, false), (16_385, false)] {
            buffer[14..16].copy_from_slice(&claimed.to_be_bytes());
            assert_eq!(parsed(&buffer[..len]).is_some(), is_whole, "{claimed}");
        }
        // Neither timestamp nor sender.
        assert!(parsed(&[0x8b, 205, 0, 0]).is_none());
        assert!(parsed(&[0x8b, 205, 0, 1, 0, 0, 0, 1]).is_none());
        assert!(parsed(&[0x8b, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]).is_some());
    }
}
