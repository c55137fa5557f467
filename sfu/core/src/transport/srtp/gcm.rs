//! AEAD_AES_128_GCM and AEAD_AES_256_GCM (RFC 7714), one direction of a session, in place.

use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::key_derivation::{Label, derive};
use super::{MasterKey, RTCP_HEADER_LEN, RTCP_INDEX_LEN, SRTCP_ENCRYPTED};
use crate::units::Ssrc;

pub(super) const TAG_LEN: usize = 16;
const SALT_LEN: usize = 12;

pub(super) struct Gcm {
    rtp: Key,
    rtcp: Key,
}

struct Key {
    aead: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Gcm {
    pub fn new(master: &MasterKey) -> Self {
        let key = |encryption, salt| Key::derive(&master.key, &master.salt, encryption, salt);
        Self {
            rtp: key(Label::RtpEncryption, Label::RtpSalt),
            rtcp: key(Label::RtcpEncryption, Label::RtcpSalt),
        }
    }

    /// Encrypts `packet[header_len..len]` and puts the tag behind it. `packet` has room for it.
    pub fn seal_rtp(&self, packet: &mut [u8], len: usize, header_len: usize, ssrc: Ssrc, index: u64) -> Option<usize> {
        let (header, rest) = packet.split_at_mut(header_len);
        let (payload, room) = rest.split_at_mut(len - header_len);
        let nonce = self.rtp.rtp_nonce(ssrc, index);
        let tag = self
            .rtp
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), payload)
            .ok()?;
        room[..TAG_LEN].copy_from_slice(tag.as_ref());
        Some(len + TAG_LEN)
    }

    /// Authenticates and decrypts; the length without the tag.
    pub fn open_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: Ssrc, index: u64) -> Option<usize> {
        let (header, rest) = packet.split_at_mut(header_len);
        let nonce = self.rtp.rtp_nonce(ssrc, index);
        let payload = self.rtp.aead.open_in_place(nonce, Aad::from(&*header), rest).ok()?;
        Some(header_len + payload.len())
    }

    /// Encrypts `packet[8..len]`; tag and index follow.
    pub fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: Ssrc, index: u32) -> Option<usize> {
        let word = (index | SRTCP_ENCRYPTED).to_be_bytes();
        let (header, rest) = packet.split_at_mut(RTCP_HEADER_LEN);
        let (payload, room) = rest.split_at_mut(len - RTCP_HEADER_LEN);
        let nonce = self.rtcp.rtcp_nonce(ssrc, index);
        let tag = self
            .rtcp
            .aead
            .seal_in_place_separate_tag(nonce, Aad::from(rtcp_aad(header, word)), payload)
            .ok()?;
        room[..TAG_LEN].copy_from_slice(tag.as_ref());
        room[TAG_LEN..TAG_LEN + RTCP_INDEX_LEN].copy_from_slice(&word);
        Some(len + TAG_LEN + RTCP_INDEX_LEN)
    }

    /// Authenticates and decrypts a packet whose E bit is set; the length without tag and index.
    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Option<usize> {
        let word = (index | SRTCP_ENCRYPTED).to_be_bytes();
        let end = packet.len() - RTCP_INDEX_LEN;
        let (header, rest) = packet[..end].split_at_mut(RTCP_HEADER_LEN);
        let nonce = self.rtcp.rtcp_nonce(ssrc, index);
        let aad = Aad::from(rtcp_aad(header, word));
        let payload = self.rtcp.aead.open_in_place(nonce, aad, rest).ok()?;
        Some(RTCP_HEADER_LEN + payload.len())
    }
}

/// The fixed header and the word with the E bit and index (RFC 7714, section 9.2).
fn rtcp_aad(header: &[u8], word: [u8; RTCP_INDEX_LEN]) -> [u8; RTCP_HEADER_LEN + RTCP_INDEX_LEN] {
    let mut aad = [0; RTCP_HEADER_LEN + RTCP_INDEX_LEN];
    aad[..RTCP_HEADER_LEN].copy_from_slice(header);
    aad[RTCP_HEADER_LEN..].copy_from_slice(&word);
    aad
}

impl Key {
    fn derive(master_key: &[u8], master_salt: &[u8], encryption: Label, salt: Label) -> Self {
        let salt = derive(master_key, master_salt, salt);
        match master_key.len() {
            32 => Self::new(&derive::<32>(master_key, master_salt, encryption), salt),
            _ => Self::new(&derive::<16>(master_key, master_salt, encryption), salt),
        }
    }

    fn new(key: &[u8], salt: [u8; SALT_LEN]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("the key is as long as the algorithm's");
        Self {
            aead: LessSafeKey::new(key),
            salt,
        }
    }

    /// RFC 7714, section 8.1: 16 zero bits, SSRC, rollover counter and sequence number.
    fn rtp_nonce(&self, ssrc: Ssrc, index: u64) -> Nonce {
        self.nonce(u128::from(ssrc.0) << 48 | u128::from(index & 0xffff_ffff_ffff))
    }

    /// RFC 7714, section 9.1: 16 zero bits, SSRC, 16 zero bits, 0 and the 31-bit index.
    fn rtcp_nonce(&self, ssrc: Ssrc, index: u32) -> Nonce {
        self.nonce(u128::from(ssrc.0) << 48 | u128::from(index))
    }

    fn nonce(&self, value: u128) -> Nonce {
        let mut nonce = self.salt;
        for (byte, value) in nonce.iter_mut().zip(&value.to_be_bytes()[4..]) {
            *byte ^= value;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::test_util::hex;

    const RTP: &str = "8040f17b8041f8d35501a0b247616c6c696120657374206f6d6e697320646976697361\
                       20696e207061727465732074726573";
    const RTCP: &str = "81c8000d4d6172734e5450314e545032525450200000042a0000e9304c756e61\
                        deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

    /// The session key and salt of RFC 7714, sections 16 and 17, of which only the key's length varies.
    fn rfc_7714(key_len: u8) -> Gcm {
        let key = || Key::new(&(0..key_len).collect::<Vec<_>>(), *b"Quid pro quo");
        Gcm {
            rtp: key(),
            rtcp: key(),
        }
    }

    fn check_rtp(gcm: &Gcm, protected: &str) {
        let plain = hex(RTP);
        let mut packet = plain.clone();
        packet.resize(plain.len() + TAG_LEN, 0);
        let (ssrc, index) = (Ssrc(0x5501_a0b2), 0xf17b);
        assert_eq!(
            gcm.seal_rtp(&mut packet, plain.len(), 12, ssrc, index),
            Some(packet.len())
        );
        assert_eq!(packet, hex(protected));
        assert_eq!(gcm.open_rtp(&mut packet, 12, ssrc, index), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    fn check_rtcp(gcm: &Gcm, protected: &str) {
        let plain = hex(RTCP);
        let mut packet = plain.clone();
        packet.resize(plain.len() + TAG_LEN + RTCP_INDEX_LEN, 0);
        let (ssrc, index) = (Ssrc(0x4d61_7273), 0x5d4);
        assert_eq!(gcm.seal_rtcp(&mut packet, plain.len(), ssrc, index), Some(packet.len()));
        assert_eq!(packet, hex(protected));
        assert_eq!(gcm.open_rtcp(&mut packet, ssrc, index), Some(plain.len()));
        assert_eq!(packet[..plain.len()], plain);
    }

    #[test]
    fn rfc_7714_srtp_128() {
        check_rtp(
            &rfc_7714(16),
            "8040f17b8041f8d35501a0b2f24de3a3fb34de6cacba861c9d7e4bcabe633bd50d294e6f42a5f47a51c7d19b36de3adf\
             8833899d7f27beb16a9152cf765ee4390cce",
        );
    }

    #[test]
    fn rfc_7714_srtp_256() {
        check_rtp(
            &rfc_7714(32),
            "8040f17b8041f8d35501a0b232b1de78a822fe12ef9f78fa332e33aab18012389a58e2f3b50b2a0276ffae0f1ba63799\
             b87b7aa3db36dfffd6b0f9bb7878d7a76c13",
        );
    }

    #[test]
    fn rfc_7714_srtcp_128() {
        check_rtcp(
            &rfc_7714(16),
            "81c8000d4d61727363e94885dcdab67ca727d7662f6b7e997ff5c0f76c06f32dc676a5f1730d6fda4ce09b4686303ded\
             0bb9275bc84aa45896cf4d2fc5abf87245d9eade800005d4",
        );
    }

    #[test]
    fn rfc_7714_srtcp_256() {
        check_rtcp(
            &rfc_7714(32),
            "81c8000d4d617273d50ae4d1f5ce5d304ba297e47d470c282c3ece5dbffe0a50a2eaa5c1110555be8415f658c61de047\
             6f1b6fad1d1eb30c4446839f57ff6f6cb26ac3be800005d4",
        );
    }
}
