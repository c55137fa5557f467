//! AES128_CM_HMAC_SHA1_80 (RFC 3711, sections 4.1.1 and 4.2.1), one direction of a session, in place.

use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::iv::FixedLength;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::key_derivation::{Label, derive};
use super::{MasterKey, RTCP_HEADER_LEN, RTCP_INDEX_LEN, SRTCP_ENCRYPTED};
use crate::units::Ssrc;

pub(super) const TAG_LEN: usize = 10;
const SALT_LEN: usize = 14;

pub(super) struct Cm {
    rtp: Keys,
    rtcp: Keys,
}

struct Keys {
    cipher: EncryptingKey,
    salt: u128,
    authentication: Hmac<Sha1>,
}

impl Cm {
    pub fn new(master: &MasterKey) -> Self {
        let keys = |encryption, salt, authentication| Keys {
            cipher: new_cipher(&derive::<16>(&master.key, &master.salt, encryption)),
            salt: salt_bits(derive(&master.key, &master.salt, salt)),
            authentication: new_hmac(&derive::<20>(&master.key, &master.salt, authentication)),
        };
        Self {
            rtp: keys(Label::RtpEncryption, Label::RtpSalt, Label::RtpAuthentication),
            rtcp: keys(Label::RtcpEncryption, Label::RtcpSalt, Label::RtcpAuthentication),
        }
    }

    /// Encrypts `packet[header_len..len]` and puts the tag behind it. `packet` has room for it.
    pub fn seal_rtp(&self, packet: &mut [u8], len: usize, header_len: usize, ssrc: Ssrc, index: u64) -> Option<usize> {
        let (body, room) = packet.split_at_mut(len);
        self.rtp.apply_keystream(&mut body[header_len..], ssrc, index)?;
        let tag = self.rtp.tag(body, &((index >> 16) as u32).to_be_bytes());
        room[..TAG_LEN].copy_from_slice(&tag);
        Some(len + TAG_LEN)
    }

    /// Authenticates and decrypts; the length without the tag.
    pub fn open_rtp(&self, packet: &mut [u8], header_len: usize, ssrc: Ssrc, index: u64) -> Option<usize> {
        let len = packet.len() - TAG_LEN;
        let (body, received) = packet.split_at_mut(len);
        let tag = self.rtp.tag(body, &((index >> 16) as u32).to_be_bytes());
        verify_slices_are_equal(&tag, received).ok()?;
        self.rtp.apply_keystream(&mut body[header_len..], ssrc, index)?;
        Some(len)
    }

    /// Encrypts `packet[8..len]`; index and tag follow.
    pub fn seal_rtcp(&self, packet: &mut [u8], len: usize, ssrc: Ssrc, index: u32) -> Option<usize> {
        let word = (index | SRTCP_ENCRYPTED).to_be_bytes();
        let (body, room) = packet.split_at_mut(len);
        self.rtcp
            .apply_keystream(&mut body[RTCP_HEADER_LEN..], ssrc, index.into())?;
        let tag = self.rtcp.tag(body, &word);
        room[..RTCP_INDEX_LEN].copy_from_slice(&word);
        room[RTCP_INDEX_LEN..RTCP_INDEX_LEN + TAG_LEN].copy_from_slice(&tag);
        Some(len + RTCP_INDEX_LEN + TAG_LEN)
    }

    /// Authenticates and decrypts a packet whose E bit is set; the length without index and tag.
    pub fn open_rtcp(&self, packet: &mut [u8], ssrc: Ssrc, index: u32) -> Option<usize> {
        let word = (index | SRTCP_ENCRYPTED).to_be_bytes();
        let len = packet.len() - RTCP_INDEX_LEN - TAG_LEN;
        let (body, trailer) = packet.split_at_mut(len);
        let tag = self.rtcp.tag(body, &word);
        verify_slices_are_equal(&tag, &trailer[RTCP_INDEX_LEN..]).ok()?;
        self.rtcp
            .apply_keystream(&mut body[RTCP_HEADER_LEN..], ssrc, index.into())?;
        Some(len)
    }
}

impl Keys {
    /// RFC 3711, section 4.1.1: IV = (k_s · 2^16) ⊕ (SSRC · 2^64) ⊕ (i · 2^16).
    fn apply_keystream(&self, data: &mut [u8], ssrc: Ssrc, index: u64) -> Option<()> {
        let iv = self.salt ^ u128::from(ssrc.0) << 64 ^ u128::from(index & 0xffff_ffff_ffff) << 16;
        let context = EncryptionContext::Iv128(FixedLength::from(iv.to_be_bytes()));
        self.cipher.less_safe_encrypt(data, context).ok()?;
        Some(())
    }

    /// HMAC-SHA1 of the packet and of what follows it only for authentication, cut to 80 bits.
    fn tag(&self, body: &[u8], suffix: &[u8; 4]) -> [u8; TAG_LEN] {
        let mac = self.authentication.clone().chain_update(body).chain_update(suffix);
        let mut tag = [0; TAG_LEN];
        tag.copy_from_slice(&mac.finalize().into_bytes()[..TAG_LEN]);
        tag
    }
}

fn new_cipher(key: &[u8; 16]) -> EncryptingKey {
    let key = UnboundCipherKey::new(&AES_128, key).expect("the key has AES-128's 16 bytes");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

fn new_hmac(key: &[u8; 20]) -> Hmac<Sha1> {
    KeyInit::new_from_slice(key).expect("HMAC takes a key of any length")
}

fn salt_bits(salt: [u8; SALT_LEN]) -> u128 {
    let mut bytes = [0; 16];
    bytes[..SALT_LEN].copy_from_slice(&salt);
    u128::from_be_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use aes::Aes128Enc;
    use aes::cipher::{InnerIvInit, KeyInit, StreamCipher};

    use super::super::Profile;
    use super::*;
    use crate::transport::test_util::hex;

    /// RFC 3711, appendix B.2.
    #[test]
    fn rfc_3711_b2() {
        let keys = Keys {
            cipher: new_cipher(&hex("2B7E151628AED2A6ABF7158809CF4F3C").try_into().expect("16 bytes")),
            salt: salt_bits(hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().expect("14 bytes")),
            authentication: new_hmac(&[0; 20]),
        };
        let mut stream = vec![0; 0xff02 * 16];
        keys.apply_keystream(&mut stream, Ssrc(0), 0).expect("encrypts");
        assert_eq!(
            stream[..48],
            hex("E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB41E95B3BB0A2E8DD477901E4FCA894C0")
        );
        assert_eq!(
            stream[0xfeff * 16..],
            hex("EC8CDF7398607CB0F2D21675EA9EA1E4362B7C3C6773516318A077D7FC5073AE6A2CC3787889374FBEB4C81B17BA6C44")
        );
    }

    /// The packet with which libsrtp checks itself, under the master key of RFC 3711, appendix B.3.
    #[test]
    fn a_known_packet() {
        let cm = Cm::new(&MasterKey {
            profile: Profile::Aes128CmSha1_80,
            key: hex("e1f97a0d3e018be0d64fa32c06de4139")
                .as_slice()
                .try_into()
                .expect("fits"),
            salt: hex("0ec675ad498afeebb6960b3aabe6").as_slice().try_into().expect("fits"),
        });
        let mut packet = hex("800f1234decafbadcafebabeabababababababababababababababab");
        let len = packet.len();
        packet.resize(len + TAG_LEN, 0);
        let (ssrc, index) = (Ssrc(0xcafe_babe), 0x1234);
        assert_eq!(cm.seal_rtp(&mut packet, len, 12, ssrc, index), Some(len + TAG_LEN));
        assert_eq!(
            packet,
            hex("800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb")
        );
        assert_eq!(cm.open_rtp(&mut packet, 12, ssrc, index), Some(len));
        assert_eq!(packet[12..len], [0xab; 16]);
    }

    /// `cargo test --release -p tianqiao-sfu-core which_primitives -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn which_primitives_are_faster() {
        use aws_lc_rs::hmac;
        const ROUNDS: u32 = 100_000;
        let mut packet = [7_u8; 1100];
        let time = |name: &str, run: &mut dyn FnMut()| {
            let start = Instant::now();
            for _ in 0..ROUNDS {
                run();
            }
            println!("{name}: {:?}", start.elapsed() / ROUNDS);
        };
        let cipher = new_cipher(&[1; 16]);
        time("aws-lc-rs AES-CTR", &mut || {
            let context = EncryptionContext::Iv128(FixedLength::from([2; 16]));
            cipher.less_safe_encrypt(&mut packet, context).expect("encrypts");
        });
        let aes = Aes128Enc::new(&[1; 16].into());
        time("aes + ctr", &mut || {
            let core = ctr::CtrCore::<_, ctr::flavors::Ctr128BE>::inner_iv_init(&aes, &[2; 16].into());
            aes::cipher::StreamCipherCoreWrapper::from_core(core).apply_keystream(&mut packet);
        });
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &[3; 20]);
        let mut sum = 0;
        time("aws-lc-rs HMAC-SHA1", &mut || {
            let mut context = hmac::Context::with_key(&key);
            context.update(&packet);
            sum += u64::from(context.sign().as_ref()[0]);
        });
        let mac = new_hmac(&[3; 20]);
        time("hmac + sha1", &mut || {
            sum += u64::from(mac.clone().chain_update(&packet[..]).finalize().into_bytes()[0]);
        });
        println!("{sum}");
    }
}
