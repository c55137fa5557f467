//! SRTP and SRTCP (RFC 3711, RFC 7714) of one client, in place and without allocating per packet.

mod cm;
mod gcm;
mod key_derivation;
mod replay;
mod streams;

use std::fmt;

use arrayvec::ArrayVec;

pub use self::replay::ReplayWindow;

use self::cm::Cm;
use self::gcm::Gcm;
use self::streams::StreamTable;
use crate::drop_reason::DropReason;
use crate::prefetch::prefetch_start;
use crate::units::{ExtendedSeq, Ssrc};

/// Most bytes by which protection lengthens a packet: an SRTCP packet of the AEAD profiles grows by tag and index.
pub const SRTP_MAX_OVERHEAD: usize = gcm::TAG_LEN + RTCP_INDEX_LEN;

const RTP_HEADER_LEN: usize = 12;
const RTCP_HEADER_LEN: usize = 8;
const RTCP_INDEX_LEN: usize = 4;
/// The E bit in front of the SRTCP index.
const SRTCP_ENCRYPTED: u32 = 1 << 31;
/// Packets by which one may come late. A plain retransmission on a slow link is more than RFC 3711's 64 late.
const RTP_WINDOW_WORDS: usize = 16;
const RTCP_WINDOW_WORDS: usize = 2;

/// A protection profile (RFC 5764, section 4.1.2; RFC 7714, section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    Aes128CmSha1_80,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Profile {
    pub fn key_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 | Self::AeadAes128Gcm => 16,
            Self::AeadAes256Gcm => 32,
        }
    }

    pub fn salt_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => 14,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => 12,
        }
    }

    fn tag_len(self) -> usize {
        match self {
            Self::Aes128CmSha1_80 => cm::TAG_LEN,
            Self::AeadAes128Gcm | Self::AeadAes256Gcm => gcm::TAG_LEN,
        }
    }
}

/// Master key and salt of one direction.
#[derive(Clone)]
pub struct MasterKey {
    profile: Profile,
    key: ArrayVec<u8, 32>,
    salt: ArrayVec<u8, 14>,
}

impl MasterKey {
    /// `None` where a length is not the profile's.
    pub fn new(profile: Profile, key: &[u8], salt: &[u8]) -> Option<Self> {
        if key.len() != profile.key_len() || salt.len() != profile.salt_len() {
            return None;
        }
        Some(Self {
            profile,
            key: key.try_into().ok()?,
            salt: salt.try_into().ok()?,
        })
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// The keys of both directions, as DTLS exports them (RFC 5764, section 4.2).
#[derive(Clone, Debug)]
pub struct ExportedKeys {
    /// What the DTLS client sends with.
    pub client: MasterKey,
    /// What the DTLS server sends with.
    pub server: MasterKey,
}

impl ExportedKeys {
    /// Splits client key, server key, client salt and server salt. `None` where the length is not the profile's.
    pub fn parse(profile: Profile, material: &[u8]) -> Option<Self> {
        let (key, salt) = (profile.key_len(), profile.salt_len());
        let (keys, salts) = material.split_at_checked(2 * key)?;
        if salts.len() != 2 * salt {
            return None;
        }
        Some(Self {
            client: MasterKey::new(profile, &keys[..key], &salts[..salt])?,
            server: MasterKey::new(profile, &keys[key..], &salts[salt..])?,
        })
    }
}

enum Cipher {
    Gcm(Gcm),
    Cm(Cm),
}

impl Cipher {
    fn new(master: &MasterKey) -> Self {
        match master.profile {
            Profile::Aes128CmSha1_80 => Self::Cm(Cm::new(master)),
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => Self::Gcm(Gcm::new(master)),
        }
    }
}

/// The receiving direction: rollover counters and replay windows by SSRC.
pub struct Inbound {
    cipher: Cipher,
    tag_len: usize,
    rtp: StreamTable<RTP_WINDOW_WORDS>,
    rtcp: StreamTable<RTCP_WINDOW_WORDS>,
}

impl Inbound {
    pub fn new(master: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(master),
            tag_len: master.profile.tag_len(),
            rtp: StreamTable::new(),
            rtcp: StreamTable::new(),
        }
    }

    /// Authenticates and decrypts an SRTP packet in place; the length of the plain RTP packet.
    ///
    /// # Errors
    /// What to count the packet as; its bytes are then not to be used.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        let header_len = rtp_header_len(packet).ok_or(DropReason::RtpMalformed)?;
        if packet.len() < header_len + self.tag_len {
            return Err(DropReason::SrtpTooShort);
        }
        let seq = u16::from_be_bytes([packet[2], packet[3]]);
        let ssrc = ssrc_at(packet, 8);
        // RFC 3711, section 3.3.1: the first packet of an SSRC has rollover counter 0.
        let index = match self.rtp.window(ssrc) {
            Some(window) => {
                let index = ExtendedSeq(window.highest()).nearest(seq).0;
                if !window.is_new(index) {
                    return Err(DropReason::SrtpReplay);
                }
                index
            }
            None => u64::from(seq),
        };
        let len = match &self.cipher {
            Cipher::Gcm(gcm) => gcm.open_rtp(packet, header_len, ssrc, index),
            Cipher::Cm(cm) => cm.open_rtp(packet, header_len, ssrc, index),
        };
        let len = len.ok_or(DropReason::SrtpAuth)?;
        self.rtp.insert(ssrc, index);
        Ok(len)
    }

    /// Authenticates and decrypts an SRTCP packet in place; the length of the plain compound packet.
    ///
    /// # Errors
    /// What to count the packet as; its bytes are then not to be used. One that is not encrypted
    /// (E bit 0) counts as not authentic.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, DropReason> {
        if packet.len() < RTCP_HEADER_LEN + self.tag_len + RTCP_INDEX_LEN {
            return Err(DropReason::SrtpTooShort);
        }
        let ssrc = ssrc_at(packet, 4);
        let at = match &self.cipher {
            Cipher::Gcm(_) => packet.len() - RTCP_INDEX_LEN,
            Cipher::Cm(_) => packet.len() - RTCP_INDEX_LEN - self.tag_len,
        };
        let word = u32::from_be_bytes([packet[at], packet[at + 1], packet[at + 2], packet[at + 3]]);
        if word & SRTCP_ENCRYPTED == 0 {
            return Err(DropReason::SrtpAuth);
        }
        let index = word & !SRTCP_ENCRYPTED;
        if self
            .rtcp
            .window(ssrc)
            .is_some_and(|window| !window.is_new(index.into()))
        {
            return Err(DropReason::SrtpReplay);
        }
        let len = match &self.cipher {
            Cipher::Gcm(gcm) => gcm.open_rtcp(packet, ssrc, index),
            Cipher::Cm(cm) => cm.open_rtcp(packet, ssrc, index),
        };
        let len = len.ok_or(DropReason::SrtpAuth)?;
        self.rtcp.insert(ssrc, index.into());
        Ok(len)
    }
}

/// The sending direction.
pub struct Outbound {
    cipher: Cipher,
    tag_len: usize,
    /// One count over all SSRCs: each sees it rise, and the SSRC is in the IV besides.
    rtcp_index: u32,
}

impl Outbound {
    pub fn new(master: &MasterKey) -> Self {
        Self {
            cipher: Cipher::new(master),
            tag_len: master.profile.tag_len(),
            rtcp_index: 0,
        }
    }

    /// Fetches what [`Self::protect_rtp`] needs: the keys of RTP come before those of RTCP. To look which
    /// cipher it is would be to wait.
    pub fn prefetch(&self) {
        prefetch_start(self, size_of::<Self>() / 2);
    }

    /// Protects the RTP packet `packet[..len]` in place and returns its new length. `header_len` is
    /// that of the header with CSRCs and extension; the rollover counter is `seq >> 16`, which the
    /// caller keeps: an SSRC and `seq` must not be used for two different packets.
    ///
    /// `None`, and nothing is protected, where `packet` lacks room for the tag ([`SRTP_MAX_OVERHEAD`]
    /// is always enough) or the lengths are no RTP packet's.
    pub fn protect_rtp(&mut self, packet: &mut [u8], len: usize, header_len: usize, seq: ExtendedSeq) -> Option<usize> {
        if header_len < RTP_HEADER_LEN || header_len > len || packet.len() < len + self.tag_len {
            return None;
        }
        debug_assert_eq!(packet[2..4], seq.truncate().to_be_bytes());
        let ssrc = ssrc_at(packet, 8);
        match &self.cipher {
            Cipher::Gcm(gcm) => gcm.seal_rtp(packet, len, header_len, ssrc, seq.0),
            Cipher::Cm(cm) => cm.seal_rtp(packet, len, header_len, ssrc, seq.0),
        }
    }

    /// Protects the compound RTCP packet `packet[..len]` in place and returns its new length; `None`
    /// as for RTP, and once 2^31 packets have used the keys up.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Option<usize> {
        if len < RTCP_HEADER_LEN || packet.len() < len + self.tag_len + RTCP_INDEX_LEN {
            return None;
        }
        let index = self.rtcp_index;
        if index >= SRTCP_ENCRYPTED {
            return None;
        }
        self.rtcp_index += 1;
        let ssrc = ssrc_at(packet, 4);
        match &self.cipher {
            Cipher::Gcm(gcm) => gcm.seal_rtcp(packet, len, ssrc, index),
            Cipher::Cm(cm) => cm.seal_rtcp(packet, len, ssrc, index),
        }
    }
}

/// Bytes of the RTP header with its CSRCs and extension (RFC 3550, section 5.1), which stay in clear.
fn rtp_header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 {
        return None;
    }
    let mut len = RTP_HEADER_LEN + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + usize::from(u16::from_be_bytes([words[0], words[1]])) * 4;
    }
    (len <= packet.len()).then_some(len)
}

fn ssrc_at(packet: &[u8], at: usize) -> Ssrc {
    Ssrc(u32::from_be_bytes([
        packet[at],
        packet[at + 1],
        packet[at + 2],
        packet[at + 3],
    ]))
}

#[cfg(test)]
mod tests;
