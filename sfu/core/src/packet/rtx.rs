//! Retransmission payloads (RFC 4588): the original sequence number (OSN), then the original payload.

use super::bytes::u16_at;
use super::rtp::RtpHeader;
use crate::drop_reason::DropReason;
use crate::units::{PayloadType, Ssrc};

/// Bytes of the OSN.
pub const OSN_LEN: usize = 2;

/// Turns a decrypted RTX packet into the packet that it repeats, in place: the payload moves over
/// the OSN; sequence number, payload type and SSRC become the primary stream's; padding goes.
/// Header extensions stay as the RTX packet had them. Returns the new length.
///
/// # Errors
/// [`DropReason::RtpPadding`] where there is no payload: a probe. [`DropReason::RtxMalformed`] or
/// [`DropReason::RtpMalformed`] where the OSN or the padding does not fit.
pub fn decapsulate(
    packet: &mut [u8],
    header: &RtpHeader,
    primary: Ssrc,
    payload_type: PayloadType,
) -> Result<usize, DropReason> {
    let payload = header.payload_range(packet)?;
    if payload.is_empty() {
        return Err(DropReason::RtpPadding);
    }
    let osn = u16_at(&packet[payload.clone()], 0).ok_or(DropReason::RtxMalformed)?;
    packet.copy_within(payload.start + OSN_LEN..payload.end, payload.start);
    packet[0] &= !0x20;
    packet[1] = packet[1] & 0x80 | payload_type & 0x7f;
    packet[2..4].copy_from_slice(&osn.to_be_bytes());
    packet[8..12].copy_from_slice(&primary.0.to_be_bytes());
    Ok(payload.end - OSN_LEN)
}

/// Writes OSN and payload behind an RTX packet's header, at the start of `buffer`. Returns their
/// length; `None` without room.
pub fn write_payload(osn: u16, payload: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let end = OSN_LEN.checked_add(payload.len())?;
    let space = buffer.get_mut(..end)?;
    space[..OSN_LEN].copy_from_slice(&osn.to_be_bytes());
    space[OSN_LEN..].copy_from_slice(payload);
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: [u8; 12] = [0x80, 0x80 | 97, 0, 9, 0, 0, 0, 7, 0, 0, 0, 2];

    fn packet(first: u8, tail: &[u8]) -> Vec<u8> {
        let mut packet = [&HEADER, tail].concat();
        packet[0] = first;
        packet
    }

    #[test]
    fn decapsulates_in_place() {
        for (name, first, tail, expected) in [
            ("plain", 0x80, &[0xab, 0xcd, 1, 2, 3][..], Ok(&[1, 2, 3][..])),
            ("padded", 0xa0, &[0xab, 0xcd, 1, 0, 2], Ok(&[1])),
            ("nothing but the OSN", 0x80, &[0xab, 0xcd], Ok(&[])),
            ("a probe", 0xa0, &[0, 0, 3], Err(DropReason::RtpPadding)),
            ("empty", 0x80, &[], Err(DropReason::RtpPadding)),
            ("half an OSN", 0x80, &[0xab], Err(DropReason::RtxMalformed)),
            ("bad padding", 0xa0, &[0xab, 0xcd, 9], Err(DropReason::RtpMalformed)),
        ] {
            let mut packet = packet(first, tail);
            let header = RtpHeader::parse(&packet).unwrap();
            let len = decapsulate(&mut packet, &header, Ssrc(5), 96);
            assert_eq!(len.map(|len| &packet[12..len]), expected, "{name}");
            if let Ok(len) = len {
                let header = RtpHeader::parse(&packet[..len]).unwrap();
                assert_eq!(
                    (header.ssrc, header.seq, header.payload_type, header.marker),
                    (Ssrc(5), 0xabcd, 96, true)
                );
                assert!(!header.has_padding);
            }
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut packet = packet(0x80, &[0; 5]);
        assert_eq!(write_payload(0x1234, &[7, 8, 9], &mut packet[12..]), Some(5));
        assert_eq!(packet[12..], [0x12, 0x34, 7, 8, 9]);
        assert_eq!(write_payload(0x1234, &[7, 8, 9], &mut [0; 4]), None);
    }
}
