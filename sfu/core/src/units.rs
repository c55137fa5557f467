//! Newtypes for the numbers of RTP, so that a signature says which of them it takes.

use std::fmt;
use std::time::Duration;

use arrayvec::ArrayString;

/// RTP synchronisation source (RFC 3550, section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0–127.
pub type PayloadType = u8;

/// A published track; also the CSRC of every packet forwarded of it. Unique in its room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrackId(pub u32);

/// A client's connection, unique on its worker for the life of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u32);

/// A worker thread of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerIndex(pub u8);

/// Identification of a media section (RFC 9143), at most 16 characters as the SDES limit of one-byte extensions.
pub type Mid = ArrayString<16>;

/// RTP stream identifier of a simulcast layer (RFC 8851), at most 16 characters.
pub type Rid = ArrayString<16>;

/// A sequence number that does not wrap: RTP's 16 bits plus the count of wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExtendedSeq(pub u64);

impl ExtendedSeq {
    /// The number that goes into a packet.
    pub fn truncate(self) -> u16 {
        self.0 as u16
    }

    /// The extended number nearest to `self` whose low 16 bits are `seq` (RFC 3711, section 3.3.1).
    /// Never below zero: near the start an older `seq` is taken as the next wrap.
    pub fn nearest(self, seq: u16) -> Self {
        let step = seq.wrapping_sub(self.truncate()) as i16;
        match self.0.checked_add_signed(i64::from(step)) {
            Some(extended) => Self(extended),
            None => Self(self.0 + u64::from(seq.wrapping_sub(self.truncate()))),
        }
    }
}

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bitrate(pub u64);

impl Bitrate {
    pub const fn kbps(kilobits: u64) -> Self {
        Self(kilobits * 1_000)
    }

    /// This rate times `factor`, which is not negative.
    pub fn times(self, factor: f64) -> Self {
        Self((self.0 as f64 * factor) as u64)
    }

    /// The whole bytes that this rate carries in `span`.
    pub fn bytes_in(self, span: Duration) -> u64 {
        self.0.saturating_mul(span.as_micros() as u64) / 8_000_000
    }
}

impl fmt::Display for Ssrc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for TrackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "t{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_extends_across_wraps() {
        for (from, seq, expected) in [
            (0, 5, 5),
            (65_535, 0, 65_536),
            (65_536, 65_535, 65_535),
            (65_540, 3, 65_539),
            (3, 65_535, 65_535),
            (131_072 + 10, 65_530, 131_072 - 6),
        ] {
            assert_eq!(ExtendedSeq(from).nearest(seq), ExtendedSeq(expected), "{from} {seq}");
        }
    }
}
