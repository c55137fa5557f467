//! VP9 payload descriptor (RFC 9628, section 4.2), in flexible and non-flexible mode.

use super::bytes::u16_at;
use crate::negotiated::MAX_LAYERS;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp9Descriptor {
    /// 7 or 15 bits.
    pub picture_id: Option<u16>,
    pub temporal_id: u8,
    pub spatial_id: u8,
    /// U: one may switch up to this frame's temporal layer here.
    pub switching_up: bool,
    /// D: the frame needs the lower spatial layer of the same picture.
    pub inter_layer_dependent: bool,
    /// P: the frame refers to earlier pictures.
    pub inter_picture_predicted: bool,
    /// TL0PICIDX, of the non-flexible mode.
    pub tl0_pic_idx: Option<u8>,
    /// B and E: first and last packet of a layer frame.
    pub start_of_frame: bool,
    pub end_of_frame: bool,
    /// Z: not a reference for higher spatial layers.
    pub not_spatial_reference: bool,
    /// Width and height of the highest spatial layer that the scalability structure tells of.
    pub resolution: Option<(u16, u16)>,
    /// How many spatial layers the scalability structure tells of; 0 without one.
    pub spatial_layers: u8,
    /// Their heights in pixels, the lowest layer first; 0 where not told.
    pub heights: [u16; MAX_LAYERS],
    /// Bytes of the descriptor.
    pub len: usize,
}

impl Vp9Descriptor {
    /// `None` where the descriptor is longer than the payload or nothing follows it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut cursor = Cursor { payload, at: 0 };
        let first = cursor.u8()?;
        let has = |mask: u8| first & mask != 0;
        let flexible = has(0x10);
        let mut descriptor = Self {
            inter_picture_predicted: has(0x40),
            start_of_frame: has(0x08),
            end_of_frame: has(0x04),
            not_spatial_reference: has(0x01),
            ..Self::default()
        };
        if has(0x80) {
            descriptor.picture_id = Some(cursor.picture_id()?);
        }
        if has(0x20) {
            let layer = cursor.u8()?;
            descriptor.temporal_id = layer >> 5;
            descriptor.switching_up = layer & 0x10 != 0;
            descriptor.spatial_id = layer >> 1 & 0x07;
            descriptor.inter_layer_dependent = layer & 0x01 != 0;
            if !flexible {
                descriptor.tl0_pic_idx = Some(cursor.u8()?);
            }
        }
        if flexible && descriptor.inter_picture_predicted {
            // At most three reference differences, the last without N.
            let mut count = 1;
            while cursor.u8()? & 0x01 != 0 {
                count += 1;
                if count > 3 {
                    return None;
                }
            }
        }
        if has(0x02) {
            cursor.scalability_structure(&mut descriptor)?;
        }
        descriptor.len = cursor.at;
        (cursor.at < payload.len()).then_some(descriptor)
    }

    /// The first packet of a picture that needs no earlier one.
    pub fn is_keyframe(&self) -> bool {
        self.start_of_frame && !self.inter_picture_predicted && self.spatial_id == 0 && !self.inter_layer_dependent
    }
}

struct Cursor<'a> {
    payload: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn u8(&mut self) -> Option<u8> {
        let byte = *self.payload.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn u16(&mut self) -> Option<u16> {
        let value = u16_at(self.payload, self.at)?;
        self.at += 2;
        Some(value)
    }

    fn picture_id(&mut self) -> Option<u16> {
        let high = self.u8()?;
        if high & 0x80 == 0 {
            return Some(high.into());
        }
        Some(u16::from_be_bytes([high & 0x7f, self.u8()?]))
    }

    /// Section 4.2.1.
    fn scalability_structure(&mut self, descriptor: &mut Vp9Descriptor) -> Option<()> {
        let head = self.u8()?;
        descriptor.spatial_layers = (head >> 5) + 1;
        if head & 0x10 != 0 {
            for layer in 0..descriptor.spatial_layers {
                let (width, height) = (self.u16()?, self.u16()?);
                descriptor.resolution = Some((width, height));
                if let Some(place) = descriptor.heights.get_mut(usize::from(layer)) {
                    *place = height;
                }
            }
        }
        if head & 0x08 != 0 {
            let pictures = self.u8()?;
            for _ in 0..pictures {
                let references = self.u8()? >> 2 & 0x03;
                self.at += usize::from(references);
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chrome's key frame, one spatial and one temporal layer: picture id 0x0123, no layer indices
    /// but the structure 1280×720 with one picture of a group.
    const KEYFRAME: &[u8] = &[
        0x8a, 0x81, 0x23, 0x18, 0x05, 0x00, 0x02, 0xd0, 0x01, 0x04, 0x01, 0x82, 0x49,
    ];

    #[test]
    fn keyframe_of_chrome() {
        let read = Vp9Descriptor::parse(KEYFRAME).unwrap();
        assert_eq!(read.picture_id, Some(0x123));
        assert_eq!(read.resolution, Some((1280, 720)));
        assert_eq!(read.len, 11);
        assert!(read.is_keyframe() && read.start_of_frame && !read.end_of_frame);
        for len in 0..=11 {
            assert_eq!(Vp9Descriptor::parse(&KEYFRAME[..len]), None, "{len}");
        }
    }

    #[test]
    fn descriptors() {
        // (payload, keyframe, temporal, spatial, switching up, tl0, resolution, length)
        for (payload, keyframe, temporal, spatial, up, tl0, resolution, len) in [
            (&[0x08, 1][..], true, 0, 0, false, None, None, 1),
            (&[0x00, 1], false, 0, 0, false, None, None, 1),
            (&[0x48, 1], false, 0, 0, false, None, None, 1),
            (&[0xa8, 0x05, 0x52, 0x09, 1], false, 2, 1, true, Some(9), None, 4),
            (&[0xa8, 0x05, 0x00, 0x09, 1], true, 0, 0, false, Some(9), None, 4),
            (&[0xf8, 0x05, 0x40, 0x03, 0x02, 1], false, 2, 0, false, None, None, 5),
            (
                &[0x2a, 0x00, 0x07, 0x30, 1, 0x40, 0, 0xb4, 2, 0x80, 1, 0x68, 1],
                true,
                0,
                0,
                false,
                Some(7),
                Some((640, 360)),
                12,
            ),
        ] {
            let read = Vp9Descriptor::parse(payload).unwrap();
            assert_eq!(
                (read.is_keyframe(), read.temporal_id, read.spatial_id, read.switching_up),
                (keyframe, temporal, spatial, up),
                "{payload:x?}"
            );
            assert_eq!((read.tl0_pic_idx, read.resolution, read.len), (tl0, resolution, len));
        }
        assert_eq!(Vp9Descriptor::parse(&[0x50, 1, 1, 1, 1, 1]), None, "four references");
    }
}
