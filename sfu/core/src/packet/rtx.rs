//! Retransmission payloads (RFC 4588): the original sequence number (OSN), then the original payload.

use std::ops::Range;

use super::bytes::u16_at;
use crate::drop_reason::DropReason;

/// Bytes of the OSN.
pub const OSN_LEN: usize = 2;

/// The OSN of a decrypted RTX packet, and where in the packet the original payload lies. `payload` is
/// where the RTX payload lies.
///
/// # Errors
/// [`DropReason::RtpPadding`] where there is no payload: a probe. [`DropReason::RtxMalformed`] where
/// it is shorter than the OSN.
pub fn read_payload(packet: &[u8], payload: Range<usize>) -> Result<(u16, Range<usize>), DropReason> {
    if payload.is_empty() {
        return Err(DropReason::RtpPadding);
    }
    let bytes = packet.get(payload.clone()).ok_or(DropReason::RtxMalformed)?;
    let osn = u16_at(bytes, 0).ok_or(DropReason::RtxMalformed)?;
    Ok((osn, payload.start + OSN_LEN..payload.end))
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

    #[test]
    fn reads_the_number_and_the_payload() {
        for (name, payload, expected) in [
            ("plain", &[0xab, 0xcd, 1, 2, 3][..], Ok((0xabcd, 5..8))),
            ("nothing but the OSN", &[0xab, 0xcd], Ok((0xabcd, 5..5))),
            ("a probe", &[], Err(DropReason::RtpPadding)),
            ("half an OSN", &[0xab], Err(DropReason::RtxMalformed)),
        ] {
            let packet = [&[0; 3], payload].concat();
            assert_eq!(read_payload(&packet, 3..packet.len()), expected, "{name}");
        }
        assert_eq!(read_payload(&[1, 2], 1..9), Err(DropReason::RtxMalformed));
    }

    #[test]
    fn what_is_written_is_read() {
        let mut buffer = [0; 5];
        assert_eq!(write_payload(0x1234, &[7, 8, 9], &mut buffer), Some(5));
        assert_eq!(read_payload(&buffer, 0..5), Ok((0x1234, 2..5)));
        assert_eq!(write_payload(0x1234, &[7, 8, 9], &mut [0; 4]), None);
    }
}
