//! VP8 payload descriptor (RFC 7741, section 4.2) and frame header (RFC 6386, section 9.1).

use super::bytes::u16_at;

/// Where a field lies that is rewritten in place, from the start of the payload.
type Offset = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    /// 7 or 15 bits.
    pub value: u16,
    pub has_15_bits: bool,
    pub at: Offset,
}

impl PictureId {
    /// Highest value of its form.
    pub fn mask(&self) -> u16 {
        if self.has_15_bits { 0x7fff } else { 0x7f }
    }
}

/// Small and `Copy`, so that it may travel with a packet to its rewriters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Descriptor {
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX and where it lies.
    pub tl0_pic_idx: Option<(u8, Offset)>,
    /// TID; 0 where there is none.
    pub temporal_id: u8,
    /// Y: this frame needs only the base layer, so one may switch up here.
    pub layer_sync: bool,
    /// KEYIDX and where it lies, in the low five bits.
    pub key_idx: Option<(u8, Offset)>,
    /// N: no other frame refers to this one.
    pub non_reference: bool,
    /// S with partition 0: the frame's first packet.
    pub start_of_frame: bool,
    pub keyframe: bool,
    /// Of a key frame's first packet: width and height in pixels.
    pub resolution: Option<(u16, u16)>,
    /// Bytes of the descriptor; the VP8 payload follows.
    pub len: u8,
}

impl Vp8Descriptor {
    /// `None` where the descriptor is longer than the payload or nothing follows it.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = *payload.first()?;
        let mut at = 1;
        let mut descriptor = Self {
            non_reference: first & 0x20 != 0,
            start_of_frame: first & 0x10 != 0 && first & 0x07 == 0,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            let flags = *payload.get(1)?;
            at = 2;
            if flags & 0x80 != 0 {
                let id = read_picture_id(payload, at)?;
                at += if id.has_15_bits { 2 } else { 1 };
                descriptor.picture_id = Some(id);
            }
            if flags & 0x40 != 0 {
                descriptor.tl0_pic_idx = Some((*payload.get(at)?, at as Offset));
                at += 1;
            }
            if flags & 0x30 != 0 {
                let byte = *payload.get(at)?;
                if flags & 0x20 != 0 {
                    descriptor.temporal_id = byte >> 6;
                    descriptor.layer_sync = byte & 0x20 != 0;
                }
                if flags & 0x10 != 0 {
                    descriptor.key_idx = Some((byte & 0x1f, at as Offset));
                }
                at += 1;
            }
        }
        descriptor.len = at as u8;
        let frame = payload.get(at..)?;
        // P: inverse key frame flag of the frame tag.
        descriptor.keyframe = descriptor.start_of_frame && frame.first()? & 1 == 0;
        if descriptor.keyframe {
            descriptor.resolution = read_resolution(frame);
        }
        (!frame.is_empty()).then_some(descriptor)
    }

    /// Writes a picture id and TL0PICIDX over those of the payload that this descriptor was read
    /// from; each keeps its form and only its low bits are taken.
    pub fn rewrite(&self, payload: &mut [u8], picture_id: u16, tl0_pic_idx: u8) {
        if let Some(id) = self.picture_id {
            let at = usize::from(id.at);
            if !id.has_15_bits {
                if let Some(byte) = payload.get_mut(at) {
                    *byte = picture_id as u8 & 0x7f;
                }
            } else if let Some(bytes) = payload.get_mut(at..at + 2) {
                bytes.copy_from_slice(&(0x8000 | picture_id).to_be_bytes());
            }
        }
        if let Some((_, at)) = self.tl0_pic_idx
            && let Some(byte) = payload.get_mut(usize::from(at))
        {
            *byte = tl0_pic_idx;
        }
    }
}

fn read_picture_id(payload: &[u8], at: usize) -> Option<PictureId> {
    let byte = *payload.get(at)?;
    let has_15_bits = byte & 0x80 != 0;
    Some(PictureId {
        value: if has_15_bits {
            u16_at(payload, at)? & 0x7fff
        } else {
            byte.into()
        },
        has_15_bits,
        at: at as Offset,
    })
}

/// Behind the frame tag: a start code, then 14 bits each with 2 bits of scaling, little-endian.
fn read_resolution(frame: &[u8]) -> Option<(u16, u16)> {
    let [0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *frame.get(3..)?.first_chunk()? else {
        return None;
    };
    Some((
        u16::from_le_bytes([w0, w1]) & 0x3fff,
        u16::from_le_bytes([h0, h1]) & 0x3fff,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chrome's simulcast: 15-bit picture id 0x1234, TL0PICIDX 7, TID 0, KEYIDX 1; 640×360 key frame.
    const KEYFRAME: &[u8] = &[
        0x90, 0xf0, 0x92, 0x34, 0x07, 0x01, 0x50, 0x6a, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01, 0x39,
    ];

    #[test]
    fn keyframe_of_chrome() {
        assert_eq!(
            Vp8Descriptor::parse(KEYFRAME),
            Some(Vp8Descriptor {
                picture_id: Some(PictureId {
                    value: 0x1234,
                    has_15_bits: true,
                    at: 2
                }),
                tl0_pic_idx: Some((7, 4)),
                temporal_id: 0,
                layer_sync: false,
                key_idx: Some((1, 5)),
                non_reference: false,
                start_of_frame: true,
                keyframe: true,
                resolution: Some((640, 360)),
                len: 6,
            })
        );
    }

    #[test]
    fn descriptors() {
        // (payload, start, keyframe, picture id, tl0, tid, sync, length)
        for (payload, start, keyframe, picture_id, tl0, tid, sync, len) in [
            (&[0x10, 0x00][..], true, true, None, None, 0, false, 1),
            (&[0x10, 0x01], true, false, None, None, 0, false, 1),
            (&[0x00, 0x00], false, false, None, None, 0, false, 1),
            (&[0x11, 0x00], false, false, None, None, 0, false, 1),
            (&[0x90, 0x80, 0x7f, 0x01], true, false, Some(0x7f), None, 0, false, 3),
            (
                &[0xb0, 0xe0, 0x81, 0x02, 0x09, 0xa0, 0x01],
                true,
                false,
                Some(0x102),
                Some(9),
                2,
                true,
                6,
            ),
            (&[0x90, 0x00, 0x01], true, false, None, None, 0, false, 2),
        ] {
            let read = Vp8Descriptor::parse(payload).unwrap();
            assert_eq!(
                (
                    read.start_of_frame,
                    read.keyframe,
                    read.temporal_id,
                    read.layer_sync,
                    read.len
                ),
                (start, keyframe, tid, sync, len),
                "{payload:x?}"
            );
            assert_eq!(read.picture_id.map(|id| id.value), picture_id);
            assert_eq!(read.tl0_pic_idx.map(|(value, _)| value), tl0);
        }
    }

    #[test]
    fn cut_off_anywhere() {
        for len in 0..=6 {
            assert_eq!(Vp8Descriptor::parse(&KEYFRAME[..len]), None, "{len}");
        }
        // A key frame's size needs its whole header.
        assert_eq!(Vp8Descriptor::parse(&KEYFRAME[..15]).unwrap().resolution, None);
    }

    #[test]
    fn rewrites_in_place() {
        let mut payload = KEYFRAME.to_vec();
        let descriptor = Vp8Descriptor::parse(&payload).unwrap();
        descriptor.rewrite(&mut payload, 0x0005, 200);
        let read = Vp8Descriptor::parse(&payload).unwrap();
        assert_eq!((read.picture_id.unwrap().value, read.tl0_pic_idx), (5, Some((200, 4))));
        assert_eq!(payload[5..], KEYFRAME[5..]);

        let mut payload = vec![0x90, 0x80, 0x7f, 0x01];
        Vp8Descriptor::parse(&payload).unwrap().rewrite(&mut payload, 0x181, 1);
        assert_eq!(payload, [0x90, 0x80, 0x01, 0x01]);
    }
}
