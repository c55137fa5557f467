//! AV1 payloads (RTP Payload Format For AV1, section 4.4): the aggregation header, and what the
//! first OBUs tell.

use super::bits::BitReader;

mod obu {
    pub const SEQUENCE_HEADER: u8 = 1;
    pub const TEMPORAL_DELIMITER: u8 = 2;
    pub const FRAME_HEADER: u8 = 3;
    pub const METADATA: u8 = 5;
    pub const FRAME: u8 = 6;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Av1Info {
    /// N: the first packet of a coded video sequence, which begins with a key frame.
    pub keyframe: bool,
    /// Begins an OBU that may be a frame's first.
    pub start_of_frame: bool,
    /// From the sequence header: width and height in pixels.
    pub resolution: Option<(u16, u16)>,
    pub temporal_id: u8,
    pub spatial_id: u8,
}

/// `None` for an empty payload, or one whose first OBU element does not fit.
pub fn describe(payload: &[u8]) -> Option<Av1Info> {
    let (&aggregation, mut rest) = payload.split_first()?;
    let continues = aggregation & 0x80 != 0;
    let count = usize::from(aggregation >> 4 & 0x03);
    let mut info = Av1Info {
        keyframe: aggregation & 0x08 != 0 && !continues,
        ..Av1Info::default()
    };
    if continues {
        return Some(info);
    }
    let mut index = 0;
    while !rest.is_empty() {
        index += 1;
        // With W of them counted, the last goes to the packet's end.
        let (element, behind) = if count == index {
            (rest, &[][..])
        } else {
            let (len, read) = leb128(rest)?;
            rest[read..].split_at_checked(len)?
        };
        let is_first = index == 1;
        info.add(element, is_first);
        rest = behind;
        // A sequence header comes before frames; nothing behind them is of interest.
        if !info.keyframe || info.resolution.is_some() {
            break;
        }
    }
    Some(info)
}

impl Av1Info {
    fn add(&mut self, element: &[u8], is_first: bool) {
        let Some(&head) = element.first() else {
            return;
        };
        let kind = head >> 3 & 0x0f;
        let has_extension = head & 0x04 != 0;
        let mut body = &element[1..];
        if has_extension && let Some((&extension, behind)) = body.split_first() {
            self.temporal_id = extension >> 5;
            self.spatial_id = extension >> 3 & 0x03;
            body = behind;
        }
        // obu_size is left out as a rule, but may be there.
        if head & 0x02 != 0 {
            body = match leb128(body) {
                Some((_, read)) => &body[read..],
                None => return,
            };
        }
        if is_first {
            self.start_of_frame = matches!(
                kind,
                obu::SEQUENCE_HEADER | obu::TEMPORAL_DELIMITER | obu::FRAME_HEADER | obu::METADATA | obu::FRAME
            );
        }
        if kind == obu::SEQUENCE_HEADER {
            self.resolution = sequence_header_resolution(body);
        }
    }
}

/// AV1 specification, section 4.10.5: value and bytes read.
fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(8).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(value).ok()?, index + 1));
        }
    }
    None
}

/// `max_frame_width` and `max_frame_height` (AV1 specification, section 5.5.1).
fn sequence_header_resolution(header: &[u8]) -> Option<(u16, u16)> {
    let mut reader = BitReader::new(header);
    // seq_profile and still_picture.
    reader.skip(4)?;
    let reduced = reader.bit()?;
    if reduced {
        reader.skip(5)?;
    } else {
        skip_operating_points(&mut reader)?;
    }
    let width_bits = reader.bits(4)? + 1;
    let height_bits = reader.bits(4)? + 1;
    let width = reader.bits(width_bits)? + 1;
    let height = reader.bits(height_bits)? + 1;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn skip_operating_points(reader: &mut BitReader<'_>) -> Option<()> {
    let mut delay_bits = None;
    let timing_info = reader.bit()?;
    if timing_info {
        // num_units_in_display_tick and time_scale.
        reader.skip(64)?;
        let equal_picture_interval = reader.bit()?;
        if equal_picture_interval {
            // uvlc() has the code of exp-Golomb.
            reader.exp_golomb()?;
        }
        let decoder_model_info = reader.bit()?;
        if decoder_model_info {
            delay_bits = Some(reader.bits(5)? + 1);
            reader.skip(32 + 5 + 5)?;
        }
    }
    let initial_display_delay = reader.bit()?;
    let operating_points = reader.bits(5)? + 1;
    for _ in 0..operating_points {
        // operating_point_idc.
        reader.skip(12)?;
        let level = reader.bits(5)?;
        if level > 7 {
            reader.skip(1)?;
        }
        if let Some(bits) = delay_bits
            && reader.bit()?
        {
            // Two delays and low_delay_mode_flag.
            reader.skip(2 * bits + 1)?;
        }
        if initial_display_delay && reader.bit()? {
            reader.skip(4)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// libaom's sequence header of 640×360, level 3.0 (index 4), as Chrome sends it.
    fn sequence_header() -> Vec<u8> {
        // profile 0, still 0, reduced 0, timing 0, delay 0, points 00000, idc 0 (12), level 00100,
        // width bits 9 (10), height bits 8 (9), 639, 359.
        let bits = "000 0 0 0 0 00000 000000000000 00100 1001 1000 1001111111 101100111 0000";
        let bits: Vec<u8> = bits
            .bytes()
            .filter(|byte| *byte != b' ')
            .map(|byte| byte - b'0')
            .collect();
        bits.chunks(8)
            .map(|byte| byte.iter().enumerate().map(|(index, bit)| bit << (7 - index)).sum())
            .collect()
    }

    #[test]
    fn packets() {
        let header = sequence_header();
        let counted = [&[0x28, 1 + header.len() as u8, 0x08], &header[..], &[0x30, 1, 2]].concat();
        let uncounted = [&[0x08, 1 + header.len() as u8, 0x08], &header[..], &[3, 0x30, 1, 2]].concat();
        let key = Av1Info {
            keyframe: true,
            start_of_frame: true,
            resolution: Some((640, 360)),
            ..Av1Info::default()
        };
        let start = Av1Info {
            start_of_frame: true,
            ..Av1Info::default()
        };
        for (name, payload, expected) in [
            ("key frame, W = 2", &counted[..], Some(key)),
            ("key frame, W = 0", &uncounted, Some(key)),
            ("frame", &[0x10, 0x30, 1, 2], Some(start)),
            (
                "frame of a layer",
                &[0x10, 0x34, 0x48, 2],
                Some(Av1Info {
                    temporal_id: 2,
                    spatial_id: 1,
                    ..start
                }),
            ),
            ("tile group", &[0x10, 0x20, 1], Some(Av1Info::default())),
            ("continued", &[0x90, 0x30, 1], Some(Av1Info::default())),
            ("element cut off", &[0x00, 5, 0x30], None),
            ("endless length", &[0x00, 0x80, 0x80], None),
            ("empty", &[], None),
        ] {
            assert_eq!(describe(payload), expected, "{name}");
        }
    }
}
