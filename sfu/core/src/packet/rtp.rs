//! The RTP header (RFC 3550, section 5.1).

use std::ops::Range;

use super::bytes::{u16_at, u32_at};
use crate::drop_reason::DropReason;
use crate::units::{PayloadType, Ssrc};

/// Bytes of a header without CSRCs and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// Where the header extension's elements lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtensionBlock {
    /// "defined by profile": 0xBEDE or 0x100X for RFC 8285.
    pub profile: u16,
    /// Offset in the packet of the first element, behind profile and length.
    pub start: usize,
    /// Bytes of all elements with their padding.
    pub len: usize,
}

/// The clear part of a packet. Reading it needs no decryption, so [`RtpHeader::parse`] takes SRTP
/// packets too; only [`RtpHeader::payload_range`] wants plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    pub marker: bool,
    pub payload_type: PayloadType,
    pub seq: u16,
    pub timestamp: u32,
    pub ssrc: Ssrc,
    pub csrc_count: u8,
    pub has_padding: bool,
    pub extension: Option<ExtensionBlock>,
    /// Offset of the payload.
    pub header_len: usize,
}

impl RtpHeader {
    /// # Errors
    /// [`DropReason::RtpMalformed`]: not version 2, or the header is longer than the packet.
    pub fn parse(packet: &[u8]) -> Result<Self, DropReason> {
        Self::read(packet).ok_or(DropReason::RtpMalformed)
    }

    fn read(packet: &[u8]) -> Option<Self> {
        let [first, second, ..] = *packet.first_chunk::<FIXED_HEADER_LEN>()?;
        if first >> 6 != 2 {
            return None;
        }
        let csrc_count = first & 0x0f;
        let mut header_len = FIXED_HEADER_LEN + 4 * usize::from(csrc_count);
        let mut extension = None;
        if first & 0x10 != 0 {
            let block = ExtensionBlock {
                profile: u16_at(packet, header_len)?,
                start: header_len + 4,
                len: 4 * usize::from(u16_at(packet, header_len + 2)?),
            };
            header_len = block.start + block.len;
            extension = Some(block);
        }
        if header_len > packet.len() {
            return None;
        }
        Some(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            seq: u16_at(packet, 2)?,
            timestamp: u32_at(packet, 4)?,
            ssrc: Ssrc(u32_at(packet, 8)?),
            csrc_count,
            has_padding: first & 0x20 != 0,
            extension,
            header_len,
        })
    }

    /// Where the payload of the decrypted `packet` lies, padding left out; empty for a packet of
    /// padding only.
    ///
    /// # Errors
    /// [`DropReason::RtpMalformed`]: the padding count is zero or reaches into the header.
    pub fn payload_range(&self, packet: &[u8]) -> Result<Range<usize>, DropReason> {
        let padding = self.padding_len(packet)?;
        Ok(self.header_len..packet.len() - padding)
    }

    /// Bytes of padding at the end of the decrypted `packet`, its count byte included.
    ///
    /// # Errors
    /// As [`Self::payload_range`].
    pub fn padding_len(&self, packet: &[u8]) -> Result<usize, DropReason> {
        let payload_and_padding = packet
            .len()
            .checked_sub(self.header_len)
            .ok_or(DropReason::RtpMalformed)?;
        if !self.has_padding {
            return Ok(0);
        }
        match packet.last() {
            Some(&count) if count > 0 && usize::from(count) <= payload_and_padding => Ok(count.into()),
            _ => Err(DropReason::RtpMalformed),
        }
    }

    /// The contributing sources, in order.
    pub fn csrcs<'a>(&self, packet: &'a [u8]) -> impl Iterator<Item = Ssrc> + use<'a> {
        let end = FIXED_HEADER_LEN + 4 * usize::from(self.csrc_count);
        packet
            .get(FIXED_HEADER_LEN..end)
            .unwrap_or_default()
            .chunks_exact(4)
            .filter_map(|csrc| u32_at(csrc, 0).map(Ssrc))
    }
}

/// Sets the X bit of a packet to whose header an extension block was appended.
pub fn set_extension_bit(packet: &mut [u8]) {
    if let Some(first) = packet.first_mut() {
        *first |= 0x10;
    }
}

/// Appends `padding` bytes (1–255) behind the first `len` bytes of `packet` and sets the P bit.
/// Returns the new length; `None` without room or where `padding` is 0.
pub fn append_padding(packet: &mut [u8], len: usize, padding: u8) -> Option<usize> {
    let end = len.checked_add(padding.into())?;
    let space = packet.get_mut(len..end)?;
    space.fill(0);
    *space.last_mut()? = padding;
    *packet.first_mut()? |= 0x20;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opus by Chrome: mid, audio level, abs-send-time and transport-cc as one-byte extensions.
    pub const CHROME_OPUS: &[u8] = &[
        0x90, 0x6f, 0x5d, 0x21, 0x9a, 0x3c, 0x00, 0x7f, 0x12, 0x34, 0x56, 0x78, // fixed header
        0xbe, 0xde, 0x00, 0x04, // one-byte form, 4 words
        0x10, 0xb0, 0x22, 0x5a, 0x11, 0x07, 0x31, 0x00, 0x2a, 0x40, b'0', 0x00, 0x00, 0x00, 0x00,
        0x00, // elements
        0x78, 0x01, 0x02, // payload
    ];

    #[test]
    fn reads_a_packet_of_chrome() {
        let header = RtpHeader::parse(CHROME_OPUS).unwrap();
        assert_eq!(header.payload_type, 111);
        assert!(!header.marker);
        assert_eq!(header.seq, 0x5d21);
        assert_eq!(header.timestamp, 0x9a3c_007f);
        assert_eq!(header.ssrc, Ssrc(0x1234_5678));
        assert_eq!(
            header.extension,
            Some(ExtensionBlock {
                profile: 0xbede,
                start: 16,
                len: 16
            })
        );
        assert_eq!(header.header_len, 32);
        assert_eq!(header.payload_range(CHROME_OPUS), Ok(32..35));
    }

    #[test]
    fn refuses_what_does_not_fit() {
        for (name, packet) in [
            ("empty", &[][..]),
            ("eleven bytes", &CHROME_OPUS[..11]),
            ("extension cut off", &CHROME_OPUS[..31]),
            ("extension header cut off", &CHROME_OPUS[..14]),
            ("version 1", &[0x40, 0x6f, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
            ("CSRC cut off", &[0x81, 0x6f, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1]),
        ] {
            assert_eq!(RtpHeader::parse(packet), Err(DropReason::RtpMalformed), "{name}");
        }
    }

    #[test]
    fn padding_counts_itself_and_stays_behind_the_header() {
        let fixed = [0xa0, 96, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        for (tail, expected) in [
            (&[7, 7, 1][..], Ok(12..14)),
            (&[7, 0, 0, 3], Ok(12..13)),
            (&[0, 2], Ok(12..12)),
            (&[0, 3], Err(DropReason::RtpMalformed)),
            (&[7, 0], Err(DropReason::RtpMalformed)),
            (&[], Err(DropReason::RtpMalformed)),
        ] {
            let packet = [&fixed, tail].concat();
            let header = RtpHeader::parse(&packet).unwrap();
            assert_eq!(header.payload_range(&packet), expected, "{tail:?}");
        }
    }

    #[test]
    fn padding_is_read_as_it_was_appended() {
        let mut packet = [0; 40];
        packet[..12].copy_from_slice(&CHROME_OPUS[..12]);
        packet[0] = 0x80;
        let end = append_padding(&mut packet, 15, 5).unwrap();
        let read = RtpHeader::parse(&packet[..end]).unwrap();
        assert_eq!(read.payload_range(&packet[..end]), Ok(12..15));
        assert_eq!(append_padding(&mut packet, 38, 5), None);
        assert_eq!(append_padding(&mut packet, 15, 0), None);
    }
}
