//! VP8 picture ids and TL0PICIDX that go on without a jump over switches (RFC 7741, section 4.2), and without a gap
//! where temporal layers are left out: libwebrtc holds frames of the upper layers back while an id between them and
//! what they refer to is missing.

use crate::packet::vp8::{PictureId, Vp8Descriptor};

/// Pictures whose ids are remembered, for packets that come late or are sent again: more than 4 s.
const PICTURES: usize = 128;

/// What is added to a source's picture ids and TL0PICIDX.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Offsets {
    picture_id: u16,
    tl0_pic_idx: u8,
}

impl Vp8Offsets {
    /// Outgoing picture id and TL0PICIDX.
    fn apply(self, fields: &Vp8Descriptor) -> (u16, u8) {
        let (picture_id, tl0_pic_idx) = source_values(fields);
        (
            picture_id.wrapping_add(self.picture_id) & 0x7fff,
            tl0_pic_idx.wrapping_add(self.tl0_pic_idx),
        )
    }
}

/// What a stretch keeps, so that its packets can be sent again as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vp8Stretch {
    offsets: Vp8Offsets,
    /// Pictures were left out: each has its own offset, remembered under this number.
    epoch: Option<u8>,
}

/// Picture id and TL0PICIDX, 0 where a packet has none.
fn source_values(fields: &Vp8Descriptor) -> (u16, u8) {
    (
        fields.picture_id.map_or(0, |id| id.value),
        fields.tl0_pic_idx.map_or(0, |(value, _)| value),
    )
}

#[derive(Clone, Copy, Debug, Default)]
struct Picture {
    source: u16,
    offset: u16,
    /// 0: no picture.
    epoch: u8,
}

#[derive(Clone, Debug, Default)]
pub struct Vp8Continuity {
    /// Latest outgoing values.
    last: Option<(u16, u8)>,
    /// Decided at the first packet after a switch, and again at every picture that is left out.
    offsets: Option<Vp8Offsets>,
    /// The source's picture id that is ahead of all others.
    newest: u16,
    /// Grows with each switch; 1 to 255.
    epoch: u8,
    /// By picture id modulo its length; there is none before a picture is left out.
    pictures: Box<[Picture]>,
    /// Pictures were left out since the switch.
    has_gaps: bool,
}

impl Vp8Continuity {
    /// The next packet belongs to another stream.
    pub fn switch(&mut self) {
        self.offsets = None;
        self.has_gaps = false;
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }

    /// Of the packets from now on.
    pub fn stretch(&self) -> Vp8Stretch {
        Vp8Stretch {
            offsets: self.offsets.unwrap_or_default(),
            epoch: self.has_gaps.then_some(self.epoch),
        }
    }

    /// Outgoing picture id and TL0PICIDX. `newest`: the packet is ahead of all sent before.
    pub fn map(&mut self, fields: &Vp8Descriptor, newest: bool) -> (u16, u8) {
        let last = self.last;
        let (picture_id, tl0_pic_idx) = source_values(fields);
        if self.offsets.is_none() {
            self.newest = picture_id;
        }
        let mut offsets = *self.offsets.get_or_insert_with(|| {
            last.map_or(Vp8Offsets::default(), |(last_picture, last_tl0)| Vp8Offsets {
                picture_id: last_picture.wrapping_add(1).wrapping_sub(picture_id),
                tl0_pic_idx: last_tl0.wrapping_add(1).wrapping_sub(tl0_pic_idx),
            })
        });
        if let Some(id) = fields.picture_id {
            if is_ahead(id, self.newest) {
                self.newest = id.value;
            }
            if self.has_gaps {
                offsets.picture_id = self.remember(id, offsets.picture_id);
            }
        }
        let out = offsets.apply(fields);
        if newest {
            self.last = Some(out);
        }
        out
    }

    /// The packet is left out. True: from now on a stretch is another one.
    pub fn skip(&mut self, fields: &Vp8Descriptor) -> bool {
        let (Some(id), Some(offsets)) = (fields.picture_id, self.offsets) else {
            return false;
        };
        if !is_ahead(id, self.newest) {
            return false;
        }
        if self.pictures.is_empty() {
            self.pictures = vec![Picture::default(); PICTURES].into();
        }
        let begins = !std::mem::replace(&mut self.has_gaps, true);
        if begins {
            // What is not remembered was before.
            let (newest, offset) = (self.newest, offsets.picture_id);
            self.put(newest, offset);
        }
        self.newest = id.value;
        if let Some(offsets) = &mut self.offsets {
            offsets.picture_id = offsets.picture_id.wrapping_sub(1);
            let offset = offsets.picture_id;
            self.put(id.value, offset);
        }
        begins
    }

    /// What a packet was written with that is sent again; `None` where that is forgotten.
    pub fn again(&self, fields: &Vp8Descriptor, stretch: Vp8Stretch) -> Option<(u16, u8)> {
        let mut offsets = stretch.offsets;
        if let (Some(epoch), Some(id)) = (stretch.epoch, fields.picture_id) {
            let picture = self.pictures.get(usize::from(id.value) % PICTURES)?;
            if (picture.source, picture.epoch) != (id.value, epoch) {
                return None;
            }
            offsets.picture_id = picture.offset;
        }
        Some(offsets.apply(fields))
    }

    /// The offset of a picture: that of its first packet.
    fn remember(&mut self, id: PictureId, current: u16) -> u16 {
        let mask = id.mask();
        let known = |back: u16| {
            let source = id.value.wrapping_sub(back) & mask;
            let picture = self.pictures[usize::from(source) % PICTURES];
            (picture.source == source && picture.epoch == self.epoch).then_some(picture.offset)
        };
        let offset = match known(0) {
            Some(offset) => return offset,
            None if id.value == self.newest => current,
            // Lost as a whole, and late: as what was before it.
            None => (1..16).find_map(known).unwrap_or(current),
        };
        self.put(id.value, offset);
        offset
    }

    fn put(&mut self, source: u16, offset: u16) {
        self.pictures[usize::from(source) % PICTURES] = Picture {
            source,
            offset,
            epoch: self.epoch,
        };
    }
}

fn is_ahead(id: PictureId, newest: u16) -> bool {
    let ahead = id.value.wrapping_sub(newest) & id.mask();
    ahead != 0 && ahead <= id.mask() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn pictures_that_are_left_out_leave_no_gap_and_lost_ones_keep_their_place() {
        let mut continuity = Vp8Continuity::default();
        continuity.switch();
        // (picture id, left out, id that goes out)
        for (picture, skip, out) in [
            (0x7ffd, false, 0x7ffd),
            (0x7ffe, true, 0),
            (0x7ffe, true, 0),
            (0x7fff, false, 0x7ffe),
            (0, true, 0),
            (2, false, 0),
            (1, false, 0x7fff),
            (2, false, 0),
            (0, true, 0),
            (3, false, 1),
        ] {
            if skip {
                continuity.skip(&fields(picture, 0));
            } else {
                assert_eq!(continuity.map(&fields(picture, 0), true).0, out, "{picture}");
            }
        }
    }

    #[test]
    fn what_is_sent_again_is_as_it_was() {
        let mut continuity = Vp8Continuity::default();
        continuity.switch();
        let mut sent = Vec::new();
        for picture in 0..60 {
            if picture % 3 == 2 {
                continuity.skip(&fields(picture, 0));
            } else {
                let out = continuity.map(&fields(picture, 1), true);
                sent.push((picture, continuity.stretch(), out));
            }
        }
        continuity.switch();
        continuity.map(&fields(9_000, 7), true);
        for (picture, stretch, out) in sent {
            assert_eq!(continuity.again(&fields(picture, 1), stretch), Some(out), "{picture}");
        }
        continuity.skip(&fields(9_001, 7));
        for picture in 9_002..9_200 {
            continuity.map(&fields(picture, 7), true);
        }
        let forgotten = Vp8Stretch {
            epoch: Some(1),
            ..Vp8Stretch::default()
        };
        assert_eq!(continuity.again(&fields(30, 1), forgotten), None);
    }
}
