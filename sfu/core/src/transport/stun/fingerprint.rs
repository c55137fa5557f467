//! FINGERPRINT (RFC 8489, section 14.7): a CRC-32 that tells STUN from other protocols.

use super::MAGIC_COOKIE;
use crate::drop_reason::DropReason;

pub(super) const LEN: usize = 4;
const XOR: u32 = 0x5354_554e;

/// `at` is where the attribute's header is in the message; it must be its end too.
pub(super) fn check(message: &[u8], at: usize, value: &[u8]) -> Result<(), DropReason> {
    debug_assert_eq!(message[4..8], MAGIC_COOKIE.to_be_bytes());
    if value == compute(&message[..at]).to_be_bytes() {
        Ok(())
    } else {
        Err(DropReason::StunMalformed)
    }
}

/// Of all that is in front of the attribute, with the header's length already counting it.
pub(super) fn compute(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ XOR
}

/// As in Ethernet.
pub fn crc32(bytes: &[u8]) -> u32 {
    let crc = bytes
        .iter()
        .fold(u32::MAX, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)]);
    !crc
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};
