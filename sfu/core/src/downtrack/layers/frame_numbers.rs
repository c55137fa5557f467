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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::described_frame::DescriptorReader;

    fn hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2);
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex");
        digits.map(byte).collect()
    }

    /// Chromium's AV1 with L3T3_KEY: a key frame with structure and mask, frames with custom chains, one of three bytes.
    const CHROMIUM: [&str; 4] = [
        "c00001c0081485214eaaaaa8000600004000100002aa80a8000600004000100002a000a800060000400016d549241b5524906d5492\
         3157e001974ca864330e222396eca8655304224390eca87753013f00b3027f016704ff02cf1f80",
        "c300031a20100800",
        "c200051a60201800",
        "8a000d",
    ];

    #[test]
    fn descriptors_of_chromium_with_another_number_and_mask_say_else_the_same() {
        let mut reader = DescriptorReader::default();
        let mut rewritten = DescriptorReader::default();
        for (text, mask, len) in [
            (CHROMIUM[0], None, 92),
            (CHROMIUM[0], Some(0b111), 92),
            (CHROMIUM[1], Some(0b111), 10),
            (CHROMIUM[2], Some(0b1_1000_0001), 10),
            (CHROMIUM[2], None, 8),
            (CHROMIUM[3], Some(0b111), 5),
        ] {
            let descriptor = hex(text);
            let before = reader.read(&descriptor).expect("readable");
            let edit = DescriptorEdit {
                number_offset: 65_530,
                mask,
            };
            let mut out = [0xff; MAX_DESCRIPTOR + MAX_GROWTH];
            let written = edit.apply(&descriptor, &before.frame, &mut out);
            assert!(written.abs_diff(len) <= 1, "{text}: {written}");
            let after = rewritten.read(&out[..written]).expect("readable");
            assert_eq!(after.frame.number, before.frame.number.wrapping_sub(6), "{text}");
            assert_eq!(after.frame.active, mask.or(before.frame.active), "{text}");
            let same = |described: crate::packet::described_frame::Described| {
                let frame = described.frame;
                (
                    described.spatial_id,
                    described.temporal_id,
                    described.resolution,
                    frame.dtis,
                    frame.chain_diffs,
                )
            };
            assert_eq!(same(after), same(before), "{text}");
        }
    }

    #[test]
    fn numbers_go_on_over_a_switch_and_a_wrap() {
        let mut numbers = FrameNumbers::default();
        numbers.switch(65_534);
        for number in [65_534, 65_535, 0, 65_535] {
            numbers.on_sent(number);
        }
        assert_eq!(numbers.offset(), 0);
        numbers.switch(500);
        assert_eq!(500u16.wrapping_add(numbers.offset()), 1);
    }
}
