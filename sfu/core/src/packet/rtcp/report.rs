//! SR, RR, SDES and BYE (RFC 3550, section 6.4–6.6).

use crate::packet::bytes::{u24_at, u32_at, u64_at};
use crate::units::Ssrc;

pub(super) const BLOCK_LEN: usize = 24;
const SDES_CNAME: u8 = 1;

/// What a sender tells of its own stream (RFC 3550, section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// NTP time: 32 bits of seconds since 1900, 32 bits of fraction.
    pub ntp: u64,
    /// The RTP timestamp of the same instant.
    pub rtp: u32,
    pub packets: u32,
    /// Payload bytes.
    pub octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of [`Self::ntp`], as report blocks give them back.
    pub fn compact_ntp(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

#[derive(Clone, Copy, Debug)]
pub struct SenderReport<'a> {
    pub ssrc: Ssrc,
    pub info: SenderInfo,
    pub blocks: ReportBlocks<'a>,
}

impl<'a> SenderReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            ssrc: Ssrc(u32_at(body, 0)?),
            info: SenderInfo {
                ntp: u64_at(body, 4)?,
                rtp: u32_at(body, 12)?,
                packets: u32_at(body, 16)?,
                octets: u32_at(body, 20)?,
            },
            blocks: ReportBlocks::parse(count, body.get(24..)?)?,
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReceiverReport<'a> {
    pub ssrc: Ssrc,
    pub blocks: ReportBlocks<'a>,
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            ssrc: Ssrc(u32_at(body, 0)?),
            blocks: ReportBlocks::parse(count, body.get(4..)?)?,
        })
    }
}

/// What a receiver tells of one source (RFC 3550, section 6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: Ssrc,
    /// Lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Signed 24 bits: duplicates can make it negative.
    pub cumulative_lost: i32,
    /// Wraps in the high half, highest sequence number in the low half.
    pub highest_seq: u32,
    /// In units of the RTP clock.
    pub jitter: u32,
    /// Compact NTP time of the last SR; 0 before the first.
    pub last_sr: u32,
    /// In 1/65,536 s.
    pub delay_since_last_sr: u32,
}

impl ReportBlock {
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        let lost = u24_at(block, 5)?;
        Some(Self {
            ssrc: Ssrc(u32_at(block, 0)?),
            fraction_lost: *block.get(4)?,
            // Moves the 24-bit sign to bit 31 and back.
            cumulative_lost: (lost << 8) as i32 >> 8,
            highest_seq: u32_at(block, 8)?,
            jitter: u32_at(block, 12)?,
            last_sr: u32_at(block, 16)?,
            delay_since_last_sr: u32_at(block, 20)?,
        })
    }

    /// Round-trip time in 1/65,536 s where the block answers an SR (RFC 3550, section 6.4.1):
    /// `now` is the compact NTP time of its arrival.
    pub fn round_trip(&self, now: u32) -> Option<u32> {
        if self.last_sr == 0 {
            return None;
        }
        let round_trip = now.wrapping_sub(self.last_sr).wrapping_sub(self.delay_since_last_sr);
        // Coarse clocks may make it a little negative.
        Some(if round_trip > u32::MAX / 2 { 0 } else { round_trip })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct ReportBlocks<'a>(&'a [u8]);

impl<'a> ReportBlocks<'a> {
    fn parse(count: u8, bytes: &'a [u8]) -> Option<Self> {
        Some(Self(bytes.get(..BLOCK_LEN * usize::from(count))?))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_at_checked(BLOCK_LEN)?;
        self.0 = rest;
        ReportBlock::parse(block)
    }
}

/// The first chunk of an SDES packet; `ssrc` is 0 and `cname` `None` where there is no chunk.
#[derive(Clone, Copy, Debug)]
pub struct Sdes<'a> {
    pub ssrc: Ssrc,
    pub cname: Option<&'a [u8]>,
}

impl<'a> Sdes<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        if count == 0 {
            return Some(Self {
                ssrc: Ssrc(0),
                cname: None,
            });
        }
        let ssrc = Ssrc(u32_at(body, 0)?);
        let mut items = body.get(4..)?;
        let mut cname = None;
        while let Some((&kind, rest)) = items.split_first() {
            if kind == 0 {
                break;
            }
            let (&len, rest) = rest.split_first()?;
            let (text, rest) = rest.split_at_checked(len.into())?;
            if kind == SDES_CNAME {
                cname = Some(text);
                break;
            }
            items = rest;
        }
        Some(Self { ssrc, cname })
    }
}

/// The sources that end; a reason is passed over.
#[derive(Clone, Copy, Debug)]
pub struct Bye<'a> {
    pub ssrcs: Ssrcs<'a>,
}

impl<'a> Bye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            ssrcs: Ssrcs(body.get(..4 * usize::from(count))?),
        })
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Ssrcs<'a>(pub(super) &'a [u8]);

impl Iterator for Ssrcs<'_> {
    type Item = Ssrc;

    fn next(&mut self) -> Option<Ssrc> {
        let ssrc = u32_at(self.0, 0)?;
        self.0 = &self.0[4..];
        Some(Ssrc(ssrc))
    }
}
