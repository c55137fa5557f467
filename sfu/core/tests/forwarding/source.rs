//! Publishers' packets.

use tianqiao_sfu_core::units::ExtendedSeq;

use crate::world::{OPUS, VP8};

/// A VP8 stream that numbers its own packets.
pub struct Video {
    pub ssrc: u32,
    pub seq: ExtendedSeq,
    pub timestamp: u32,
    pub picture_id: u16,
    pub size: (u16, u16),
    /// mid and rid, as extensions of every packet.
    pub names: Option<(&'static str, &'static str)>,
}

pub type Outgoing = (Vec<u8>, usize, ExtendedSeq);

impl Video {
    pub fn new(ssrc: u32, height: u16) -> Self {
        Self {
            ssrc,
            seq: ExtendedSeq(65_500),
            timestamp: ssrc.wrapping_mul(7919),
            picture_id: 0x7ff0,
            size: (height * 16 / 9, height),
            names: None,
        }
    }

    /// The packets of one frame, 33 ms after the last.
    pub fn frame(&mut self, keyframe: bool, packets: usize) -> Vec<Outgoing> {
        self.timestamp = self.timestamp.wrapping_add(2970);
        self.picture_id = (self.picture_id + 1) & 0x7fff;
        (0..packets)
            .map(|index| self.packet(keyframe, index == 0, index + 1 == packets))
            .collect()
    }

    fn packet(&mut self, keyframe: bool, first: bool, last: bool) -> Outgoing {
        self.seq.0 += 1;
        let mut packet = header(VP8, last, self.seq, self.timestamp, self.ssrc);
        if let Some((mid, rid)) = self.names {
            extend(&mut packet, &[(1, mid.as_bytes()), (2, rid.as_bytes())]);
        }
        let header_len = packet.len();
        let [high, low] = self.picture_id.to_be_bytes();
        packet.extend([
            0x80 | u8::from(first) << 4,
            0xe0,
            0x80 | high,
            low,
            self.picture_id as u8,
            0x20,
        ]);
        if first && keyframe {
            let ([wl, wh], [hl, hh]) = (self.size.0.to_le_bytes(), self.size.1.to_le_bytes());
            packet.extend([0x10, 0, 0, 0x9d, 0x01, 0x2a, wl, wh, hl, hh]);
        } else {
            packet.push(0x11);
        }
        // Sizes of one frame differ by a byte, as libwebrtc's do.
        packet.resize(
            header_len + 1000 + usize::from(self.seq.0.is_multiple_of(2)),
            self.seq.0 as u8,
        );
        (packet, header_len, self.seq)
    }
}

/// An Opus packet with an RFC 6464 level.
pub fn audio(ssrc: u32, seq: u64, level: u8) -> Outgoing {
    sound(ssrc, seq, level, 40)
}

/// The same with `len` bytes of payload.
pub fn sound(ssrc: u32, seq: u64, level: u8, len: usize) -> Outgoing {
    let mut packet = header(OPUS, false, ExtendedSeq(seq), seq as u32 * 960, ssrc);
    extend(&mut packet, &[(3, &[0x80 | level])]);
    let header_len = packet.len();
    packet.resize(header_len + len, seq as u8);
    (packet, header_len, ExtendedSeq(seq))
}

fn header(payload_type: u8, marker: bool, seq: ExtendedSeq, timestamp: u32, ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type | u8::from(marker) << 7];
    packet.extend(seq.truncate().to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn extend(packet: &mut Vec<u8>, elements: &[(u8, &[u8])]) {
    packet[0] |= 0x10;
    let start = packet.len();
    packet.extend([0xbe, 0xde, 0, 0]);
    for (id, data) in elements {
        packet.push(id << 4 | (data.len() as u8 - 1));
        packet.extend(*data);
    }
    while !packet.len().is_multiple_of(4) {
        packet.push(0);
    }
    packet[start + 3] = ((packet.len() - start) / 4 - 1) as u8;
}
