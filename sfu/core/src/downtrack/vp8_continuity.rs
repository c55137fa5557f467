//! VP8 picture ids and TL0PICIDX that go on without a jump over switches (RFC 7741, section 4.2).

use crate::packet::vp8::Vp8Descriptor;

/// What is added to a source's picture ids and TL0PICIDX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Offsets {
    picture_id: u16,
    tl0_pic_idx: u8,
}

impl Vp8Offsets {
    /// Outgoing picture id and TL0PICIDX.
    pub fn apply(self, fields: &Vp8Descriptor) -> (u16, u8) {
        let (picture_id, tl0_pic_idx) = source_values(fields);
        (
            picture_id.wrapping_add(self.picture_id) & 0x7fff,
            tl0_pic_idx.wrapping_add(self.tl0_pic_idx),
        )
    }
}

/// Picture id and TL0PICIDX, 0 where a packet has none.
fn source_values(fields: &Vp8Descriptor) -> (u16, u8) {
    (
        fields.picture_id.map_or(0, |id| id.value),
        fields.tl0_pic_idx.map_or(0, |(value, _)| value),
    )
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Vp8Continuity {
    /// Latest outgoing values.
    last: Option<(u16, u8)>,
    /// Decided at the first packet after a switch.
    offsets: Option<Vp8Offsets>,
}

impl Vp8Continuity {
    /// The next packet belongs to another stream.
    pub fn switch(&mut self) {
        self.offsets = None;
    }

    /// Of the packets since the switch.
    pub fn offsets(&self) -> Vp8Offsets {
        self.offsets.unwrap_or_default()
    }

    /// Outgoing picture id and TL0PICIDX. `newest`: the packet is ahead of all sent before.
    pub fn map(&mut self, fields: &Vp8Descriptor, newest: bool) -> (u16, u8) {
        let last = self.last;
        let offsets = *self.offsets.get_or_insert_with(|| {
            let (picture_id, tl0_pic_idx) = source_values(fields);
            last.map_or(Vp8Offsets::default(), |(last_picture, last_tl0)| Vp8Offsets {
                picture_id: last_picture.wrapping_add(1).wrapping_sub(picture_id),
                tl0_pic_idx: last_tl0.wrapping_add(1).wrapping_sub(tl0_pic_idx),
            })
        });
        let out = offsets.apply(fields);
        if newest {
            self.last = Some(out);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::vp8::PictureId;

    fn fields(picture_id: u16, tl0_pic_idx: u8) -> Vp8Descriptor {
        Vp8Descriptor {
            picture_id: Some(PictureId {
                value: picture_id,
                has_15_bits: true,
                at: 2,
            }),
            tl0_pic_idx: Some((tl0_pic_idx, 4)),
            ..Vp8Descriptor::default()
        }
    }

    #[test]
    fn ids_go_on_after_a_switch_and_wrap() {
        let mut continuity = Vp8Continuity::default();
        let mut out = |picture, tl0, switch, newest| {
            if switch {
                continuity.switch();
            }
            continuity.map(&fields(picture, tl0), newest)
        };
        assert_eq!(out(0x7ffe, 254, true, true), (0x7ffe, 254));
        assert_eq!(out(0x7fff, 255, false, true), (0x7fff, 255));
        assert_eq!(out(500, 9, true, true), (0, 0));
        assert_eq!(out(501, 10, false, true), (1, 1));
        assert_eq!(out(500, 9, false, false), (0, 0));
        assert_eq!(out(20, 20, true, true), (2, 2));
    }
}
