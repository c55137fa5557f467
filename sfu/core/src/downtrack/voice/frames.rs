//! The last frames of a slot's voice, and which of them go with a packet.

use arrayvec::ArrayVec;

use super::AudioFormat;
use crate::pool::{Packet, PacketRef};

/// 341 ms of 20 ms are 17 frames, and the newest.
const CAPACITY: usize = 18;
/// Three frames in a packet and those of three earlier ones, but for the packet's own.
const MAX_BLOCKS: usize = 11;
/// RED's block length has ten bits, its timestamp offset fourteen (RFC 2198, section 3).
const MAX_BLOCK: usize = 1_023;
const MAX_OFFSET: u32 = 0x3fff;
/// Least that must be left of a path MTU of 1,200 bytes for IP, UDP, SRTP and the RTP header.
const MAX_PAYLOAD: usize = 1_100;

#[derive(Clone, Debug)]
pub struct Frame {
    pub packet: PacketRef,
    /// As it went out, or would have.
    pub timestamp: u32,
    /// The packet that carried it first.
    number: u32,
}

/// A ring.
#[derive(Debug, Default)]
pub struct Frames {
    ring: [Option<Frame>; CAPACITY],
    next: usize,
}

/// What a packet carries besides its own frame, the oldest first.
#[derive(Debug, Default)]
pub struct Blocks {
    /// Place in the ring and timestamp offset.
    blocks: ArrayVec<(usize, u16), MAX_BLOCKS>,
    /// Of the whole RED payload.
    pub payload_len: usize,
    /// Of all frames that the packet is the first to carry.
    pub marker: bool,
    /// The loudest of them.
    pub audio_level: Option<u8>,
}

impl Blocks {
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Frames {
    pub fn push(&mut self, packet: &PacketRef, timestamp: u32, number: u32) {
        self.ring[self.next] = Some(Frame {
            packet: packet.clone(),
            timestamp,
            number,
        });
        self.next = (self.next + 1) % CAPACITY;
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }

    pub fn newest(&self) -> Option<&Frame> {
        self.ring[(self.next + CAPACITY - 1) % CAPACITY].as_ref()
    }

    /// Timestamp of the first frame that packet `number` carries.
    pub fn first_of(&self, number: u32) -> Option<u32> {
        let first = self.oldest_first().find(|(_, frame)| frame.number == number)?;
        Some(first.1.timestamp)
    }

    fn oldest_first(&self) -> impl Iterator<Item = (usize, &Frame)> {
        let (newer, older) = self.ring.split_at(self.next);
        let older = (self.next..).zip(older);
        let all = older.chain((0..).zip(newer));
        all.filter_map(|(at, frame)| Some((at, frame.as_ref()?)))
    }

    /// The frames that go with `packet` as packet `number`: those that have waited for it, and those of the earlier
    /// packets that `format` says, as far back as RED reaches and a packet has room.
    pub fn choose(&self, packet: &Packet, timestamp: u32, number: u32, format: &AudioFormat) -> Blocks {
        let mut chosen = Blocks {
            payload_len: 1 + packet.payload().len(),
            marker: packet.marker,
            audio_level: packet.audio_level,
            ..Blocks::default()
        };
        let distance = u32::from(format.distance);
        for (at, frame) in self.oldest_first() {
            let age = number.wrapping_sub(frame.number);
            let is_wanted = age % distance == 0 && age / distance <= u32::from(format.redundancy);
            let offset = timestamp.wrapping_sub(frame.timestamp);
            let len = frame.packet.payload().len();
            if !is_wanted || !(1..=MAX_OFFSET).contains(&offset) || len > MAX_BLOCK {
                continue;
            }
            if age == 0 {
                chosen.marker |= frame.packet.marker;
                chosen.audio_level = louder(chosen.audio_level, frame.packet.audio_level);
            }
            if chosen.blocks.is_full() {
                self.drop_oldest(&mut chosen);
            }
            chosen.blocks.push((at, offset as u16));
            chosen.payload_len += 4 + len;
        }
        while chosen.payload_len > MAX_PAYLOAD && !chosen.is_empty() {
            self.drop_oldest(&mut chosen);
        }
        chosen
    }

    fn drop_oldest(&self, chosen: &mut Blocks) {
        let (at, _) = chosen.blocks.remove(0);
        let len = self.ring[at].as_ref().map_or(0, |frame| frame.packet.payload().len());
        chosen.payload_len -= 4 + len;
    }

    /// Payload and timestamp offset of each.
    pub fn blocks<'a>(&'a self, chosen: &'a Blocks) -> impl Iterator<Item = (&'a [u8], u16)> + Clone {
        chosen.blocks.iter().filter_map(|&(at, offset)| {
            let frame = self.ring[at].as_ref()?;
            Some((frame.packet.payload(), offset))
        })
    }
}

/// The louder of two RFC 6464 bytes, with voice where either has it.
fn louder(one: Option<u8>, other: Option<u8>) -> Option<u8> {
    let (Some(one), Some(other)) = (one, other) else {
        return one.or(other);
    };
    Some((one & 0x7f).min(other & 0x7f) | (one | other) & 0x80)
}
