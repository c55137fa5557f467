//! RTP header extensions (RFC 8285): reading the ones we know in one pass, and writing a block.

use std::ops::Range;
use std::time::Duration;

use super::bytes::{u16_at, u24_at};
use super::rtp::RtpHeader;
use crate::negotiated::ExtensionIds;

const ONE_BYTE_PROFILE: u16 = 0xbede;
/// The low four bits are "appbits" and may be anything (RFC 8285, section 4.3).
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Longest data of an element in the one-byte form.
const ONE_BYTE_MAX_LEN: usize = 16;
/// Highest id of the one-byte form; 15 is reserved.
const ONE_BYTE_MAX_ID: u8 = 14;

/// An element: its id and where in the packet its data lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    pub id: u8,
    pub range: Range<usize>,
}

/// The elements of a header's extension in either form. Ends at the first that does not fit;
/// empty for other profiles.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    packet: &'a [u8],
    at: usize,
    end: usize,
    two_byte: bool,
}

/// The elements of the extension that `header`, read from `packet`, tells of.
pub fn elements<'a>(header: &RtpHeader, packet: &'a [u8]) -> Elements<'a> {
    let (at, end, profile) = match header.extension {
        Some(block) => (block.start, block.start + block.len, block.profile),
        None => (0, 0, 0),
    };
    let two_byte = profile & 0xfff0 == TWO_BYTE_PROFILE;
    let known = two_byte || profile == ONE_BYTE_PROFILE;
    Elements {
        packet,
        at,
        end: if known { end.min(packet.len()) } else { at },
        two_byte,
    }
}

impl Iterator for Elements<'_> {
    type Item = Element;

    fn next(&mut self) -> Option<Element> {
        // A zero is one byte of padding in both forms.
        while self.at < self.end && self.packet[self.at] == 0 {
            self.at += 1;
        }
        if self.at >= self.end {
            return None;
        }
        let first = self.packet[self.at];
        let (id, len, start) = if self.two_byte {
            let len = *self.packet[..self.end].get(self.at + 1)?;
            (first, usize::from(len), self.at + 2)
        } else {
            (first >> 4, usize::from(first & 0x0f) + 1, self.at + 1)
        };
        let reserved = !self.two_byte && id > ONE_BYTE_MAX_ID;
        if reserved || start + len > self.end {
            self.at = self.end;
            return None;
        }
        self.at = start + len;
        Some(Element {
            id,
            range: start..start + len,
        })
    }
}

/// RFC 6464: level in −dBov (0 loudest, 127 silence) and the voice-activity bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevelValue {
    pub voice: bool,
    pub level: u8,
}

/// The extensions that the SFU reads, borrowed from the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtensionValues<'a> {
    /// RFC 9143.
    pub mid: Option<&'a str>,
    /// RFC 8852.
    pub rid: Option<&'a str>,
    /// RFC 8852, on RTX packets.
    pub repaired_rid: Option<&'a str>,
    pub audio_level: Option<AudioLevelValue>,
    /// 24 bits of 6.18 fixed-point seconds.
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
    /// 3GPP TS 26.114 CVO byte.
    pub video_orientation: Option<u8>,
    /// Where the AV1 dependency descriptor lies in the packet.
    pub dependency_descriptor: Option<Range<usize>>,
}

impl<'a> ExtensionValues<'a> {
    /// Elements of unknown id or wrong length are passed over.
    pub fn parse(ids: &ExtensionIds, header: &RtpHeader, packet: &'a [u8]) -> Self {
        let mut values = Self::default();
        for Element { id, range } in elements(header, packet) {
            let id = Some(id);
            let data = &packet[range.clone()];
            if id == ids.transport_cc {
                values.transport_cc = u16_at(data, 0);
            } else if id == ids.abs_send_time {
                values.abs_send_time = u24_at(data, 0);
            } else if id == ids.mid {
                values.mid = text(data);
            } else if id == ids.rid {
                values.rid = text(data);
            } else if id == ids.repaired_rid {
                values.repaired_rid = text(data);
            } else if id == ids.audio_level {
                values.audio_level = data.first().map(|&byte| AudioLevelValue {
                    voice: byte & 0x80 != 0,
                    level: byte & 0x7f,
                });
            } else if id == ids.video_orientation {
                values.video_orientation = data.first().copied();
            } else if id == ids.dependency_descriptor {
                values.dependency_descriptor = Some(range);
            }
        }
        values
    }
}

/// SDES items in extensions may be padded by zeros (libwebrtc writes none, others do).
fn text(data: &[u8]) -> Option<&str> {
    let end = data.iter().position(|&byte| byte == 0).unwrap_or(data.len());
    std::str::from_utf8(&data[..end]).ok().filter(|text| !text.is_empty())
}

/// The abs-send-time value of a moment, counted from any: 6.18 fixed-point seconds, which wrap every 64.
pub fn abs_send_time(since: Duration) -> u32 {
    let nanos = since.as_nanos() as u64 % 64_000_000_000;
    ((nanos << 18) / 1_000_000_000) as u32
}

/// Builds an extension block, profile and length included, at the start of a buffer. It begins in
/// the one-byte form and turns into the two-byte form at the first element that needs it, so a
/// peer must have agreed to `extmap-allow-mixed` before it is given such an element.
#[derive(Debug)]
pub struct ExtensionWriter<'b> {
    buffer: &'b mut [u8],
    /// Bytes written with the four of profile and length; 0 before the first element.
    len: usize,
    two_byte: bool,
}

impl<'b> ExtensionWriter<'b> {
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self {
            buffer,
            len: 0,
            two_byte: false,
        }
    }

    /// Adds an element; false, and nothing is changed, where it does not fit.
    pub fn push(&mut self, id: u8, data: &[u8]) -> bool {
        if id == 0 || data.len() > 255 {
            return false;
        }
        let needs_two = id > ONE_BYTE_MAX_ID || data.is_empty() || data.len() > ONE_BYTE_MAX_LEN;
        let growth = if needs_two && !self.two_byte { self.count() } else { 0 };
        let head = if needs_two || self.two_byte { 2 } else { 1 };
        let start = self.len.max(4) + growth + head;
        let end = start + data.len();
        // The final padding must fit too.
        if end.next_multiple_of(4) > self.buffer.len() {
            return false;
        }
        self.len = self.len.max(4);
        if needs_two && !self.two_byte {
            self.widen(growth);
        }
        if self.two_byte {
            self.buffer[start - 2] = id;
            self.buffer[start - 1] = data.len() as u8;
        } else {
            self.buffer[start - 1] = id << 4 | (data.len() - 1) as u8;
        }
        self.buffer[start..end].copy_from_slice(data);
        self.len = end;
        true
    }

    /// Elements written so far in the one-byte form.
    fn count(&self) -> usize {
        let mut at = 4;
        let mut count = 0;
        while at < self.len {
            at += usize::from(self.buffer[at] & 0x0f) + 2;
            count += 1;
        }
        count
    }

    /// Rewrites `count` one-byte elements as two-byte ones.
    fn widen(&mut self, count: usize) {
        let mut from = 4;
        self.buffer.copy_within(4..self.len, 4 + count);
        from += count;
        let mut to = 4;
        for _ in 0..count {
            let head = self.buffer[from];
            let len = usize::from(head & 0x0f) + 1;
            self.buffer[to] = head >> 4;
            // `to + 1` is still before `from + 1`, or is `from` itself, which is read already.
            self.buffer[to + 1] = len as u8;
            self.buffer.copy_within(from + 1..from + 1 + len, to + 2);
            from += 1 + len;
            to += 2 + len;
        }
        self.len += count;
        self.two_byte = true;
    }

    /// Pads to 32 bits and writes the block's head. Returns its whole length, a multiple of 4; 0
    /// where nothing was pushed, and then the X bit stays clear.
    pub fn finish(self) -> usize {
        if self.len == 0 {
            return 0;
        }
        let end = self.len.next_multiple_of(4);
        self.buffer[self.len..end].fill(0);
        let profile = if self.two_byte {
            TWO_BYTE_PROFILE
        } else {
            ONE_BYTE_PROFILE
        };
        self.buffer[..2].copy_from_slice(&profile.to_be_bytes());
        let words = (end / 4 - 1) as u16;
        self.buffer[2..4].copy_from_slice(&words.to_be_bytes());
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::rtp::set_extension_bit;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(4),
        rid: Some(10),
        repaired_rid: Some(11),
        audio_level: Some(1),
        abs_send_time: Some(2),
        transport_cc: Some(3),
        video_orientation: Some(13),
        dependency_descriptor: Some(12),
    };

    fn packet(profile: u16, elements: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(profile.to_be_bytes());
        let len = elements.len().next_multiple_of(4);
        packet.extend(((len / 4) as u16).to_be_bytes());
        packet.extend(elements);
        packet.resize(16 + len, 0);
        packet
    }

    fn read(packet: &[u8]) -> Vec<(u8, &[u8])> {
        let header = RtpHeader::parse(packet).unwrap();
        elements(&header, packet)
            .map(|element| (element.id, &packet[element.range]))
            .collect()
    }

    #[test]
    fn values_of_chromes_audio_packet() {
        // Level 48 with voice, send time, transport sequence number 42, mid "0".
        let bytes = [
            0x10, 0xb0, 0x22, 0x5a, 0x11, 0x07, 0x31, 0x00, 0x2a, 0x40, b'0', 0x00, 0x00, 0x00, 0x00, 0x00,
        ];
        let packet = packet(0xbede, &bytes);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(
            ExtensionValues::parse(&IDS, &header, &packet),
            ExtensionValues {
                mid: Some("0"),
                audio_level: Some(AudioLevelValue { voice: true, level: 48 }),
                abs_send_time: Some(0x5a_1107),
                transport_cc: Some(42),
                ..ExtensionValues::default()
            }
        );
    }

    #[test]
    fn elements_of_both_forms() {
        for (name, profile, bytes, expected) in [
            (
                "one byte",
                0xbede,
                &[0x10, 7, 0x31, 8, 9][..],
                &[(1, &[7][..]), (3, &[8, 9])][..],
            ),
            (
                "padding between",
                0xbede,
                &[0x10, 7, 0, 0, 0x20, 8],
                &[(1, &[7]), (2, &[8])],
            ),
            ("id 15 ends", 0xbede, &[0x10, 7, 0xf0, 8, 0x20, 8], &[(1, &[7])]),
            ("too long ends", 0xbede, &[0x10, 7, 0x2f, 8], &[(1, &[7])]),
            ("two bytes", 0x1000, &[1, 0, 20, 2, 8, 9], &[(1, &[]), (20, &[8, 9])]),
            ("two bytes, appbits", 0x1005, &[1, 1, 7], &[(1, &[7])]),
            ("two bytes, length cut off", 0x1000, &[1, 1, 7, 3], &[(1, &[7])]),
            ("another profile", 0xabcd, &[0x10, 7], &[]),
        ] {
            assert_eq!(read(&packet(profile, bytes)), expected, "{name}");
        }
    }

    #[test]
    fn bad_values_are_none() {
        let bytes = [0x30, 1, 0x21, 1, 2, 0x42, 0xff, 0xff, 0xff, 0xa0, 0x00];
        let packet = packet(0xbede, &bytes);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(
            ExtensionValues::parse(&IDS, &header, &packet),
            ExtensionValues::default()
        );
    }

    fn write(elements: &[(u8, &[u8])], room: usize) -> (Vec<u8>, usize) {
        let mut packet = vec![0x80, 111, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.resize(12 + room, 0xff);
        let mut writer = ExtensionWriter::new(&mut packet[12..]);
        let taken = elements.iter().filter(|(id, data)| writer.push(*id, data)).count();
        let len = writer.finish();
        if len > 0 {
            set_extension_bit(&mut packet);
        }
        packet.truncate(12 + len);
        (packet, taken)
    }

    #[test]
    fn what_is_written_is_read() {
        let long = [5; 30];
        for (name, profile, elements) in [
            (
                "one byte",
                0xbede,
                &[(3, &[1, 2][..]), (1, &[0x80]), (14, &[9; 16])][..],
            ),
            (
                "long data",
                0x1000,
                &[(3, &[1, 2]), (1, &[0x80]), (12, &long), (4, b"0")],
            ),
            ("long data first", 0x1000, &[(12, &long), (4, b"0")]),
            ("high id", 0x1000, &[(3, &[1, 2]), (15, &[1])]),
            ("no data", 0x1000, &[(3, &[1; 16]), (2, &[])]),
        ] {
            let (packet, taken) = write(elements, 100);
            assert_eq!(taken, elements.len(), "{name}");
            assert_eq!(packet.len() % 4, 0);
            assert_eq!(u16_at(&packet, 12), Some(profile), "{name}");
            assert_eq!(read(&packet), elements, "{name}");
        }
    }

    #[test]
    fn elements_without_room_are_left_out() {
        for (room, expected) in [(0, 0), (7, 0), (8, 1), (11, 1), (12, 2)] {
            let (packet, taken) = write(&[(3, &[1, 2]), (2, &[1, 2, 3]), (0, &[1])], room);
            assert_eq!(taken, expected, "{room}");
            assert_eq!(read(&packet).len(), expected);
        }
        // Widening needs a byte per element before.
        let (packet, taken) = write(&[(3, &[1, 2]), (15, &[1])], 8);
        assert_eq!((read(&packet), taken), (vec![(3, &[1, 2][..])], 1));
    }
}
