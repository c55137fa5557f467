//! Publishers' packets.

#[path = "../rtp_support/mod.rs"]
mod rtp_support;

use tianqiao_sfu_core::units::ExtendedSeq;

use rtp_support::{extend, header};

use crate::world::{OPUS, RED, VP8};

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
        let mut packet = header(VP8, last, self.seq.truncate(), self.timestamp, self.ssrc);
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
    let mut packet = header(OPUS, false, seq as u16, seq as u32 * 960, ssrc);
    extend(&mut packet, &[(3, &[0x80 | level])]);
    let header_len = packet.len();
    packet.resize(header_len + len, seq as u8);
    (packet, header_len, ExtendedSeq(seq))
}

/// One frame of Opus of 20 ms that tells its number.
pub fn frame(number: u64) -> Vec<u8> {
    let mut frame = vec![0x48, 0];
    frame.extend(number.to_be_bytes());
    frame.resize(40, 0);
    frame
}

/// A packet of such a frame, in RED with the frames before that are named (RFC 2198).
pub fn red(ssrc: u32, seq: u64, earlier: &[u64]) -> Outgoing {
    let mut packet = header(RED, false, seq as u16, seq as u32 * 960, ssrc);
    extend(&mut packet, &[(3, &[0x80 | 20])]);
    let header_len = packet.len();
    for &before in earlier {
        let fields = 0x8000_0000 | u32::from(OPUS) << 24 | ((seq - before) as u32 * 960) << 10 | 40;
        packet.extend(fields.to_be_bytes());
    }
    packet.push(OPUS);
    for &number in earlier.iter().chain([&seq]) {
        packet.extend(frame(number));
    }
    (packet, header_len, ExtendedSeq(seq))
}

/// A packet of such a frame alone.
pub fn speech(ssrc: u32, seq: u64) -> Outgoing {
    let (mut packet, header_len, seq) = sound(ssrc, seq, 20, 0);
    packet.extend(frame(seq.0));
    (packet, header_len, seq)
}

/// A packet of a low voice: 60 ms, three times 20 of the full one.
pub fn low_speech(ssrc: u32, seq: u64) -> Outgoing {
    let (mut packet, header_len, extended) = sound(ssrc, seq, 20, 0);
    packet[4..8].copy_from_slice(&(seq as u32 * 2_880).to_be_bytes());
    packet.push(0x18);
    packet.extend(frame(seq));
    (packet, header_len, extended)
}
