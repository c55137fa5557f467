//! H.264 payloads (RFC 6184, packetization modes 0 and 1): where key frames begin, and their size.

use super::bits::BitReader;
use super::bytes::u16_at;

mod nal {
    pub const SLICE: u8 = 1;
    pub const IDR: u8 = 5;
    pub const SEI: u8 = 6;
    pub const SPS: u8 = 7;
    pub const PPS: u8 = 8;
    pub const DELIMITER: u8 = 9;
    pub const STAP_A: u8 = 24;
    pub const FU_A: u8 = 28;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct H264Info {
    /// Begins a frame that a decoder which knows nothing may begin with: it holds a sequence
    /// parameter set. An IDR slice alone does not do, as its parameter sets may have been lost.
    pub keyframe: bool,
    /// Begins a NAL unit that may be a frame's first; several packets of a frame may.
    pub start_of_frame: bool,
    /// Holds (a part of) an IDR slice.
    pub idr: bool,
    /// From the sequence parameter set: width and height in pixels.
    pub resolution: Option<(u16, u16)>,
}

/// `None` for an empty payload or an unknown packet type.
pub fn describe(payload: &[u8]) -> Option<H264Info> {
    let mut info = H264Info::default();
    match payload.first()? & 0x1f {
        1..=23 => info.add(payload),
        nal::STAP_A => {
            let mut rest = &payload[1..];
            while let Some(len) = u16_at(rest, 0) {
                let (unit, behind) = rest[2..].split_at_checked(len.into())?;
                info.add(unit);
                rest = behind;
            }
        }
        nal::FU_A => {
            let head = *payload.get(1)?;
            let (kind, is_start) = (head & 0x1f, head & 0x80 != 0);
            info.idr = kind == nal::IDR;
            if is_start {
                info.add_parts(kind, &payload[2..]);
            }
        }
        _ => return None,
    }
    Some(info)
}

impl H264Info {
    fn add(&mut self, unit: &[u8]) {
        if let Some((head, body)) = unit.split_first() {
            self.add_parts(head & 0x1f, body);
        }
    }

    /// `body` is the NAL unit's begin without its header byte.
    fn add_parts(&mut self, kind: u8, body: &[u8]) {
        match kind {
            nal::SPS => {
                self.keyframe = true;
                self.start_of_frame = true;
                self.resolution = sps_resolution(body).or(self.resolution);
            }
            nal::SLICE | nal::IDR => {
                self.idr |= kind == nal::IDR;
                // first_mb_in_slice is 0, whose exp-Golomb code is a one.
                self.start_of_frame |= body.first().is_some_and(|byte| byte & 0x80 != 0);
            }
            nal::SEI | nal::PPS | nal::DELIMITER => self.start_of_frame = true,
            _ => {}
        }
    }
}

/// Parameter sets are a few dozen bytes; scaling lists may take more, which no WebRTC encoder uses.
const MAX_SPS: usize = 256;

/// Cropped width and height from a sequence parameter set without its NAL header (ITU-T H.264,
/// section 7.3.2.1.1). `None` where it is cut off or beyond 65,535.
pub fn sps_resolution(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bytes = [0; MAX_SPS];
    let len = unescape(sps, &mut bytes);
    let mut reader = BitReader::new(&bytes[..len]);
    let profile = reader.bits(8)?;
    // Constraint flags and level.
    reader.skip(16)?;
    reader.exp_golomb()?;
    let mut chroma_format = 1;
    let mut separate_planes = false;
    if matches!(
        profile,
        100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
    ) {
        chroma_format = reader.exp_golomb()?;
        if chroma_format == 3 {
            separate_planes = reader.bit()?;
        }
        // Bit depths of luma and chroma, transform bypass.
        reader.exp_golomb()?;
        reader.exp_golomb()?;
        reader.skip(1)?;
        if reader.bit()? {
            skip_scaling_lists(&mut reader, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }
    // log2_max_frame_num_minus4, then picture order count.
    reader.exp_golomb()?;
    skip_picture_order_count(&mut reader)?;
    // max_num_ref_frames, gaps_in_frame_num_value_allowed_flag.
    reader.exp_golomb()?;
    reader.skip(1)?;
    let width_in_mbs = u64::from(reader.exp_golomb()?) + 1;
    let height_in_map_units = u64::from(reader.exp_golomb()?) + 1;
    let frame_mbs_only = reader.bit()?;
    if !frame_mbs_only {
        reader.skip(1)?;
    }
    // direct_8x8_inference_flag.
    reader.skip(1)?;
    let fields = if frame_mbs_only { 1 } else { 2 };
    let (mut crop_width, mut crop_height) = (0, 0);
    if reader.bit()? {
        let (unit_x, unit_y) = match (chroma_format, separate_planes) {
            (1, _) => (2, 2),
            (2, _) => (2, 1),
            _ => (1, 1),
        };
        let mut crop = || reader.exp_golomb().map(u64::from);
        crop_width = (crop()? + crop()?) * unit_x;
        crop_height = (crop()? + crop()?) * unit_y * fields;
    }
    let width = (width_in_mbs * 16).checked_sub(crop_width)?;
    let height = (height_in_map_units * 16 * fields).checked_sub(crop_height)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

/// Section 7.3.2.1.1.1.
fn skip_scaling_lists(reader: &mut BitReader<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !reader.bit()? {
            continue;
        }
        let (mut last, mut next) = (8, 8);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + i64::from(reader.signed_exp_golomb()?)).rem_euclid(256);
            }
            if next != 0 {
                last = next;
            }
        }
    }
    Some(())
}

fn skip_picture_order_count(reader: &mut BitReader<'_>) -> Option<()> {
    match reader.exp_golomb()? {
        0 => {
            reader.exp_golomb()?;
        }
        1 => {
            reader.skip(1)?;
            reader.signed_exp_golomb()?;
            reader.signed_exp_golomb()?;
            // A cycle has at most 255 frames; each takes a bit at least, so a lie ends soon.
            for _ in 0..reader.exp_golomb()? {
                reader.signed_exp_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}

/// Takes the emulation prevention bytes out (section 7.4.1): 00 00 03 becomes 00 00.
fn unescape(escaped: &[u8], plain: &mut [u8]) -> usize {
    let mut zeros = 0;
    let mut len = 0;
    for &byte in escaped {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        let Some(space) = plain.get_mut(len) else {
            break;
        };
        *space = byte;
        len += 1;
        zeros = if byte == 0 { zeros + 1 } else { 0 };
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chrome's OpenH264, constrained baseline 3.1, 640×480.
    const SPS_640X480: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1f, 0x8c, 0x8d, 0x40, 0x50, 0x1e, 0x90, 0x0f, 0x08, 0x84, 0x6a,
    ];
    /// x264, high profile 4.0, 1920×1080: cropped from 1088, with emulation prevention bytes.
    const SPS_1920X1080: &[u8] = &[
        0x67, 0x64, 0x00, 0x28, 0xac, 0xd9, 0x40, 0x78, 0x02, 0x27, 0xe5, 0xc0, 0x44, 0x00, 0x00, 0x03, 0x00, 0x04,
        0x00, 0x00, 0x03, 0x00, 0xf0, 0x3c, 0x60, 0xc6, 0x58,
    ];

    #[test]
    fn sizes_of_real_parameter_sets() {
        assert_eq!(sps_resolution(&SPS_640X480[1..]), Some((640, 480)));
        assert_eq!(sps_resolution(&SPS_1920X1080[1..]), Some((1920, 1080)));
        assert_eq!(sps_resolution(&SPS_1920X1080[1..6]), None);
    }

    #[test]
    fn packets() {
        let stap = [
            &[0x78, 0, SPS_640X480.len() as u8],
            SPS_640X480,
            &[0, 4, 0x68, 0xce, 0x3c, 0x80],
        ]
        .concat();
        let none = H264Info::default();
        let start = H264Info {
            start_of_frame: true,
            ..none
        };
        let key = H264Info {
            keyframe: true,
            resolution: Some((640, 480)),
            ..start
        };
        for (name, payload, expected) in [
            ("STAP-A of SPS and PPS", &stap[..], Some(key)),
            ("single SPS", SPS_640X480, Some(key)),
            (
                "IDR by itself",
                &[0x65, 0x88, 0x84],
                Some(H264Info { idr: true, ..start }),
            ),
            ("slice", &[0x41, 0x9a, 0x24], Some(start)),
            ("a frame's second slice", &[0x41, 0x12, 0x24], Some(none)),
            ("FU-A start of a slice", &[0x7c, 0x81, 0x9a], Some(start)),
            (
                "FU-A middle of an IDR",
                &[0x7c, 0x05, 0x9a],
                Some(H264Info { idr: true, ..none }),
            ),
            ("FU-A without its header", &[0x7c], None),
            ("STAP-A cut off", &stap[..9], None),
            ("STAP-B", &[0x79, 0, 0], None),
            ("empty", &[], None),
        ] {
            assert_eq!(describe(payload), expected, "{name}");
        }
    }
}
