//! One sent stream: its packets' headers, and the packets themselves for retransmission.

use std::time::Instant;

use tianqiao_protocol::MediaKind;
use tianqiao_sfu_core::packet::extensions::ExtensionWriter;
use tianqiao_sfu_core::packet::rtcp::SenderInfo;
use tianqiao_sfu_core::packet::rtp::{FIXED_HEADER_LEN, set_extension_bit};
use tianqiao_sfu_core::packet::rtx;
use tianqiao_sfu_core::units::{ExtendedSeq, Mid, Rid};

use super::sdp::clock_rate;
use crate::client::peer::{OutgoingRtp, SendStream};

/// Room for a header with its extensions beside the payload.
pub(super) const HEADER_ROOM: usize = 96;
/// Packets kept for retransmission: more than a second of 2.5 Mbit/s.
const KEPT: usize = 512;

/// What was negotiated for a stream.
#[derive(Clone, Debug)]
pub(super) struct SendFormat {
    pub stream: SendStream,
    /// SSRC and payload type of its RTX stream.
    pub rtx: Option<(u32, u8)>,
    pub mid: Mid,
    pub rid: Option<Rid>,
    pub mid_id: Option<u8>,
    pub rid_id: Option<u8>,
    pub repaired_rid_id: Option<u8>,
    pub audio_level_id: Option<u8>,
}

pub(super) struct Sender {
    format: SendFormat,
    highest: Option<ExtendedSeq>,
    rtx_seq: ExtendedSeq,
    /// A report block shows that the server knows the stream, so mid and rid need not be repeated.
    acknowledged: bool,
    packets: u32,
    octets: u32,
    last: Option<(u32, Instant)>,
    /// By sequence number modulo its length; empty without repair.
    kept: Vec<Kept>,
}

#[derive(Clone, Default)]
struct Kept {
    seq: Option<ExtendedSeq>,
    header_len: usize,
    packet: Vec<u8>,
}

/// A packet in the caller's buffer, not yet protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Written {
    pub len: usize,
    pub header_len: usize,
    pub seq: ExtendedSeq,
}

impl Sender {
    pub fn new(format: SendFormat, keeps: bool) -> Self {
        let keeps = keeps && format.stream.kind == MediaKind::Video;
        Self {
            format,
            highest: None,
            rtx_seq: ExtendedSeq(rand::random::<u16>().into()),
            acknowledged: false,
            packets: 0,
            octets: 0,
            last: None,
            kept: vec![Kept::default(); if keeps { KEPT } else { 0 }],
        }
    }

    /// What a further answer says of a running stream.
    pub fn set_format(&mut self, format: SendFormat) {
        self.format = format;
    }

    pub fn stream(&self) -> SendStream {
        self.format.stream
    }

    pub fn on_acknowledged(&mut self) {
        self.acknowledged = true;
    }

    /// `None` where `buffer` has no room.
    pub fn write(&mut self, now: Instant, packet: &OutgoingRtp<'_>, buffer: &mut [u8]) -> Option<Written> {
        let seq = match self.highest {
            Some(highest) => highest.nearest(packet.sequence_number),
            None => ExtendedSeq(packet.sequence_number.into()),
        };
        let second = u8::from(packet.marker) << 7 | self.format.stream.payload_type;
        let rid = self.format.rid_id.zip(self.format.rid);
        let header_len = self.write_header(
            second,
            (packet.sequence_number, packet.timestamp, self.format.stream.ssrc),
            rid,
            packet.audio_level,
            buffer,
        )?;
        let len = header_len + packet.payload.len();
        buffer.get_mut(header_len..len)?.copy_from_slice(packet.payload);
        self.highest = self.highest.max(Some(seq));
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.payload.len() as u32);
        self.last = Some((packet.timestamp, now));
        self.keep(seq, header_len, &buffer[..len]);
        Some(Written { len, header_len, seq })
    }

    /// The packet that a NACK asks for, over RTX where that was negotiated. `None` where it is not
    /// kept any more.
    pub fn write_again(&mut self, seq: u16, buffer: &mut [u8]) -> Option<Written> {
        let seq = self.highest?.nearest(seq);
        let index = seq.0 as usize % self.kept.len().max(1);
        let kept = std::mem::take(self.kept.get_mut(index)?);
        let written = (kept.seq == Some(seq)).then(|| self.write_kept(&kept, seq, buffer));
        self.kept[index] = kept;
        written.flatten()
    }

    fn write_kept(&mut self, kept: &Kept, seq: ExtendedSeq, buffer: &mut [u8]) -> Option<Written> {
        let (header, payload) = kept.packet.split_at_checked(kept.header_len)?;
        let Some((ssrc, payload_type)) = self.format.rtx else {
            let len = kept.packet.len();
            buffer.get_mut(..len)?.copy_from_slice(&kept.packet);
            let header_len = kept.header_len;
            return Some(Written { len, header_len, seq });
        };
        self.rtx_seq.0 += 1;
        let seq_on_wire = self.rtx_seq.truncate();
        let timestamp = u32::from_be_bytes(*header.get(4..)?.first_chunk()?);
        let second = header.get(1)? & 0x80 | payload_type;
        let rid = self.format.repaired_rid_id.zip(self.format.rid);
        let header_len = self.write_header(second, (seq_on_wire, timestamp, ssrc), rid, None, buffer)?;
        let len = header_len + rtx::write_payload(seq.truncate(), payload, &mut buffer[header_len..])?;
        Some(Written {
            len,
            header_len,
            seq: self.rtx_seq,
        })
    }

    /// `second`: marker and payload type. `numbers`: sequence number, timestamp and SSRC.
    fn write_header(
        &self,
        second: u8,
        (seq, timestamp, ssrc): (u16, u32, u32),
        rid: Option<(u8, Rid)>,
        audio_level: Option<u8>,
        buffer: &mut [u8],
    ) -> Option<usize> {
        let (header, rest) = buffer.split_first_chunk_mut::<FIXED_HEADER_LEN>()?;
        header[0] = 0x80;
        header[1] = second;
        header[2..4].copy_from_slice(&seq.to_be_bytes());
        header[4..8].copy_from_slice(&timestamp.to_be_bytes());
        header[8..].copy_from_slice(&ssrc.to_be_bytes());
        let mut extensions = ExtensionWriter::new(rest);
        if let (Some(id), Some(level)) = (self.format.audio_level_id, audio_level) {
            extensions.push(id, &[0x80 | level]);
        }
        if !self.acknowledged {
            if let Some(id) = self.format.mid_id {
                extensions.push(id, self.format.mid.as_bytes());
            }
            if let Some((id, rid)) = rid {
                extensions.push(id, rid.as_bytes());
            }
        }
        let len = extensions.finish();
        if len > 0 {
            set_extension_bit(buffer);
        }
        Some(FIXED_HEADER_LEN + len)
    }

    fn keep(&mut self, seq: ExtendedSeq, header_len: usize, packet: &[u8]) {
        let index = seq.0 as usize % self.kept.len().max(1);
        if let Some(kept) = self.kept.get_mut(index) {
            kept.seq = Some(seq);
            kept.header_len = header_len;
            kept.packet.clear();
            kept.packet.extend_from_slice(packet);
        }
    }

    /// For a sender report (RFC 3550, section 6.4.1); `None` before the first packet.
    pub fn info(&self, now: Instant, ntp: u64) -> Option<SenderInfo> {
        let (timestamp, at) = self.last?;
        let elapsed = now.saturating_duration_since(at).as_micros() as u64;
        let ticks = elapsed * u64::from(clock_rate(self.format.stream.kind)) / 1_000_000;
        Some(SenderInfo {
            ntp,
            rtp: timestamp.wrapping_add(ticks as u32),
            packets: self.packets,
            octets: self.octets,
        })
    }
}

#[cfg(test)]
mod tests {
    use tianqiao_sfu_core::negotiated::ExtensionIds;
    use tianqiao_sfu_core::packet::extensions::ExtensionValues;
    use tianqiao_sfu_core::packet::rtp::RtpHeader;

    use super::*;

    fn sender(rtx: Option<(u32, u8)>) -> Sender {
        let format = SendFormat {
            stream: SendStream {
                kind: MediaKind::Video,
                ssrc: 7,
                payload_type: 96,
            },
            rtx,
            mid: Mid::from("v").unwrap(),
            rid: Some(Rid::from("h").unwrap()),
            mid_id: Some(4),
            rid_id: Some(10),
            repaired_rid_id: Some(11),
            audio_level_id: None,
        };
        Sender::new(format, true)
    }

    fn packet(stream: SendStream, sequence_number: u16) -> OutgoingRtp<'static> {
        OutgoingRtp {
            stream,
            sequence_number,
            timestamp: 9000,
            marker: true,
            audio_level: None,
            payload: &[1, 2, 3],
        }
    }

    fn extensions(packet: &[u8]) -> (RtpHeader, ExtensionValues<'_>) {
        let ids = ExtensionIds {
            mid: Some(4),
            rid: Some(10),
            repaired_rid: Some(11),
            ..Default::default()
        };
        let header = RtpHeader::parse(packet).unwrap();
        let values = ExtensionValues::parse(&ids, &header, packet);
        (header, values)
    }

    #[test]
    fn mid_and_rid_are_said_until_the_server_knows_the_stream() {
        let mut sender = sender(None);
        let mut buffer = [0; 200];
        let packet = packet(sender.stream(), 65_535);
        let written = sender.write(Instant::now(), &packet, &mut buffer).unwrap();
        let (header, values) = extensions(&buffer[..written.len]);
        assert_eq!((values.mid, values.rid), (Some("v"), Some("h")));
        assert_eq!((header.seq, header.marker, header.ssrc.0), (65_535, true, 7));
        assert_eq!(&buffer[written.header_len..written.len], &[1, 2, 3]);
        sender.on_acknowledged();
        let next = OutgoingRtp {
            sequence_number: 0,
            ..packet
        };
        let written = sender.write(Instant::now(), &next, &mut buffer).unwrap();
        assert_eq!((written.header_len, written.seq.0), (12, 65_536));
    }

    #[test]
    fn a_packet_comes_again_over_rtx_or_as_it_was() {
        for rtx in [Some((8, 97)), None] {
            let mut sender = sender(rtx);
            let stream = sender.stream();
            let mut sent = Vec::new();
            for seq in 0..600u16 {
                let mut buffer = [0; 200];
                let written = sender.write(Instant::now(), &packet(stream, seq), &mut buffer).unwrap();
                sent.push(buffer[..written.len].to_vec());
            }
            let mut buffer = [0; 200];
            let written = sender.write_again(300, &mut buffer).unwrap();
            let (header, values) = extensions(&buffer[..written.len]);
            if rtx.is_some() {
                assert_eq!((header.ssrc.0, header.payload_type, header.timestamp), (8, 97, 9000));
                assert_eq!(values.repaired_rid, Some("h"));
                assert_eq!(&buffer[written.header_len..written.len], &[1, 44, 1, 2, 3]);
                let again = sender.write_again(300, &mut buffer).unwrap();
                assert_eq!(again.seq.0, written.seq.0 + 1, "no RTX packet index is used twice");
            } else {
                assert_eq!((&buffer[..written.len], written.seq.0), (&sent[300][..], 300));
            }
            assert_eq!(sender.write_again(50, &mut buffer), None, "forgotten");
            assert_eq!(sender.write_again(700, &mut buffer), None, "not yet sent");
        }
    }
}
