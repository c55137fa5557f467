//! Frame numbers of dependency descriptors that go on over switches of stream, and the fields that are written anew
//! in a descriptor (RTP Payload Format For AV1, appendix A.8).

use crate::packet::described_frame::DescribedFrame;
use crate::pool::MAX_DESCRIPTOR;

/// A mask put into a descriptor of three bytes brings five flags with it; at most 32 bits.
pub const MAX_GROWTH: usize = 5;

/// libwebrtc takes a key frame with an older number than the one before for a late one and leaves it out, and each
/// stream begins where it likes.
#[derive(Clone, Copy, Debug, Default)]
pub struct FrameNumbers {
    offset: u16,
    last: Option<u16>,
}

impl FrameNumbers {
    /// Another stream begins with this frame.
    pub fn switch(&mut self, number: u16) {
        self.offset = self.last.map_or(0, |last| last.wrapping_add(1).wrapping_sub(number));
    }

    pub fn offset(&self) -> u16 {
        self.offset
    }

    pub fn on_sent(&mut self, number: u16) {
        let out = number.wrapping_add(self.offset);
        if self.last.is_none_or(|last| (out.wrapping_sub(last) as i16) > 0) {
            self.last = Some(out);
        }
    }
}

/// In what an outgoing descriptor differs from the publisher's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DescriptorEdit {
    pub number_offset: u16,
    /// The active decode targets, where they are fewer.
    pub mask: Option<u32>,
}

impl DescriptorEdit {
    /// Copies `descriptor` as edited into `out`; its new length. Frame differences and chains are left as they are:
    /// they count frames that were left out too, and numbers keep their distances.
    pub fn apply(
        &self,
        descriptor: &[u8],
        frame: &DescribedFrame,
        out: &mut [u8; MAX_DESCRIPTOR + MAX_GROWTH],
    ) -> usize {
        let Some(head) = descriptor.first_chunk::<3>() else {
            return 0;
        };
        let number = u16::from_be_bytes([head[1], head[2]]).wrapping_add(self.number_offset);
        let len = match self.mask {
            // Once a frame is enough: who has not seen the first packet cannot decode the rest.
            Some(mask) if head[0] & 0x80 != 0 => with_mask(descriptor, frame, mask, out),
            _ => {
                out[..descriptor.len()].copy_from_slice(descriptor);
                descriptor.len()
            }
        };
        out[1..3].copy_from_slice(&number.to_be_bytes());
        len
    }
}

/// `active_decode_targets_present_flag`, the second of the flags behind the mandatory fields.
const HAS_MASK: u8 = 0x40;

fn with_mask(
    descriptor: &[u8],
    frame: &DescribedFrame,
    mask: u32,
    out: &mut [u8; MAX_DESCRIPTOR + MAX_GROWTH],
) -> usize {
    let (at, count) = (usize::from(frame.mask_at), usize::from(frame.target_count));
    let mut writer = BitCopier { out, at: 0 };
    if descriptor.len() == 3 {
        writer.copy(descriptor, 0, 24);
        writer.put(u32::from(HAS_MASK) >> 3, 5);
        writer.put(mask, count);
    } else {
        writer.copy(descriptor, 0, at);
        writer.put(mask, count);
        let behind = at + if frame.has_mask { count } else { 0 };
        writer.copy(descriptor, behind, (descriptor.len() * 8).saturating_sub(behind));
        writer.out[3] |= HAS_MASK;
    }
    writer.at.div_ceil(8)
}

struct BitCopier<'a> {
    out: &'a mut [u8; MAX_DESCRIPTOR + MAX_GROWTH],
    /// In bits.
    at: usize,
}

impl BitCopier<'_> {
    fn put(&mut self, value: u32, count: usize) {
        for bit in (0..count).rev() {
            self.bit(value >> bit & 1 == 1);
        }
    }

    fn copy(&mut self, from: &[u8], start: usize, count: usize) {
        for at in start..start + count {
            let byte = from.get(at / 8).copied().unwrap_or(0);
            self.bit(byte >> (7 - at % 8) & 1 == 1);
        }
    }

    fn bit(&mut self, set: bool) {
        if let Some(byte) = self.out.get_mut(self.at / 8) {
            if self.at.is_multiple_of(8) {
                *byte = 0;
            }
            *byte |= u8::from(set) << (7 - self.at % 8);
        }
        self.at += 1;
    }
}
