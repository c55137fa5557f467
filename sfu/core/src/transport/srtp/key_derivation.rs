//! Session keys from a master key (RFC 3711, section 4.3; RFC 7714, section 11), key derivation rate 0.

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use ctr::Ctr128BE;

/// What a derived key is for (RFC 3711, section 4.3.2).
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Label {
    RtpEncryption = 0,
    RtpAuthentication = 1,
    RtpSalt = 2,
    RtcpEncryption = 3,
    RtcpAuthentication = 4,
    RtcpSalt = 5,
}

/// The AES-CM pseudo-random function. `master_key` has 16 bytes, or 32 for the 256-bit profile
/// (RFC 6188); `master_salt` has 14 bytes, or 12 for the AEAD profiles, which are padded at the end.
pub(super) fn derive<const LEN: usize>(master_key: &[u8], master_salt: &[u8], label: Label) -> [u8; LEN] {
    let mut iv = [0; 16];
    for (byte, salt) in iv[..14].iter_mut().zip(master_salt) {
        *byte = *salt;
    }
    iv[7] ^= label as u8;

    let mut out = [0; LEN];
    match master_key.len() {
        32 => Ctr128BE::<Aes256>::new(master_key.into(), &iv.into()).apply_keystream(&mut out),
        _ => Ctr128BE::<Aes128>::new(master_key.into(), &iv.into()).apply_keystream(&mut out),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::test_util::hex;

    /// RFC 3711, appendix B.3.
    #[test]
    fn rfc_3711_b3() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        assert_eq!(
            derive::<16>(&key, &salt, Label::RtpEncryption)[..],
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            derive::<14>(&key, &salt, Label::RtpSalt)[..],
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            derive::<94>(&key, &salt, Label::RtpAuthentication)[..],
            hex(
                "CEBE321F6FF7716B6FD4AB49AF256A156D38BAA48F0A0ACF3C34E2359E6CDBCEE049646C43D9327AD175578EF72270986371C10C9A369AC2F94A8C5FBCDDDC256D6E919A48B610EF17C2041E474035766B68642C59BBFC2F34DB60DBDFB2"
            )
        );
    }
}
