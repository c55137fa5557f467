//! NACK and PLI (RFC 4585), FIR (RFC 5104), REMB (draft-alvestrand-rmcat-remb).

use super::report::Ssrcs;
use crate::packet::bytes::{u16_at, u24_at, u32_at};
use crate::units::Ssrc;

/// Generic NACK (RFC 4585, section 6.2.1).
#[derive(Clone, Copy, Debug)]
pub struct Nack<'a> {
    pub sender: Ssrc,
    pub media: Ssrc,
    pub seqs: NackSeqs<'a>,
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            media: Ssrc(u32_at(body, 4)?),
            seqs: NackSeqs {
                items: body.get(8..)?,
                pid: 0,
                mask: 0,
            },
        })
    }
}

/// The sequence numbers of PID and BLP pairs, in their order.
#[derive(Clone, Copy, Debug)]
pub struct NackSeqs<'a> {
    items: &'a [u8],
    pid: u16,
    /// Bits of BLP not given out yet: bit i is `pid + i + 1`.
    mask: u16,
}

impl Iterator for NackSeqs<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask != 0 {
            let bit = self.mask.trailing_zeros() as u16;
            self.mask &= self.mask - 1;
            return Some(self.pid.wrapping_add(bit + 1));
        }
        self.pid = u16_at(self.items, 0)?;
        self.mask = u16_at(self.items, 2)?;
        self.items = &self.items[4..];
        Some(self.pid)
    }
}

/// Picture loss indication (RFC 4585, section 6.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pli {
    pub sender: Ssrc,
    pub media: Ssrc,
}

impl Pli {
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            media: Ssrc(u32_at(body, 4)?),
        })
    }
}

/// Full intra request (RFC 5104, section 4.3.1).
#[derive(Clone, Copy, Debug)]
pub struct Fir<'a> {
    pub sender: Ssrc,
    pub entries: FirEntries<'a>,
}

impl<'a> Fir<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            entries: FirEntries(body.get(8..)?),
        })
    }
}

/// The media SSRC and the command's sequence number; a repeated number is a repeated command.
#[derive(Clone, Copy, Debug)]
pub struct FirEntries<'a>(&'a [u8]);

impl Iterator for FirEntries<'_> {
    type Item = (Ssrc, u8);

    fn next(&mut self) -> Option<(Ssrc, u8)> {
        let (entry, rest) = self.0.split_first_chunk::<8>()?;
        self.0 = rest;
        Some((Ssrc(u32_at(entry, 0)?), entry[4]))
    }
}

/// Receiver estimated maximum bitrate, in bit/s.
#[derive(Clone, Copy, Debug)]
pub struct Remb<'a> {
    pub sender: Ssrc,
    pub bitrate: u64,
    pub ssrcs: Ssrcs<'a>,
}

impl<'a> Remb<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let count = usize::from(*body.get(12)?);
        let packed = u24_at(body, 13)?;
        let (exponent, mantissa) = (packed >> 18, u64::from(packed & 0x3_ffff));
        // 18 bits shifted by up to 63 may leave 64 bits.
        let bitrate = mantissa << exponent;
        if bitrate >> exponent != mantissa {
            return None;
        }
        Some(Self {
            sender: Ssrc(u32_at(body, 0)?),
            bitrate,
            ssrcs: Ssrcs(body.get(16..16 + 4 * count)?),
        })
    }
}
