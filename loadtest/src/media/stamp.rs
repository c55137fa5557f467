//! The stamp at the end of every payload: at the end, so that an SFU may rewrite payload descriptors.

use std::sync::OnceLock;
use std::time::Instant;

pub const STAMP_LEN: usize = 24;
const MAGIC: u32 = 0x5451_4c54;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Index of the track in the run.
    pub track: u16,
    /// Counts the packets of the track from 0.
    pub seq: u64,
    /// Nanoseconds since the process's epoch.
    pub sent: u64,
}

impl Stamp {
    /// Overwrites the end of `payload`; does nothing where it is too short.
    pub fn write(self, payload: &mut [u8]) {
        let Some(stamp) = payload.last_chunk_mut::<STAMP_LEN>() else {
            return;
        };
        stamp[..4].copy_from_slice(&MAGIC.to_be_bytes());
        stamp[4..8].copy_from_slice(&u32::from(self.track).to_be_bytes());
        stamp[8..16].copy_from_slice(&self.seq.to_be_bytes());
        stamp[16..].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// `None` for a payload that is not ours.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let stamp: &[u8; STAMP_LEN] = payload.last_chunk()?;
        let (magic, rest) = stamp.split_first_chunk()?;
        let (track, rest) = rest.split_first_chunk()?;
        let (seq, sent) = rest.split_first_chunk()?;
        (u32::from_be_bytes(*magic) == MAGIC).then_some(Self {
            track: u32::from_be_bytes(*track) as u16,
            seq: u64::from_be_bytes(*seq),
            sent: u64::from_be_bytes(*sent.first_chunk()?),
        })
    }
}

/// Monotonic nanoseconds since the first call in this process: the clock of all stamps.
pub fn nanos_since_epoch(at: Instant) -> u64 {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    at.saturating_duration_since(*EPOCH.get_or_init(|| at)).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_from_the_end_of_a_payload() {
        let stamp = Stamp {
            track: 7,
            seq: 1 << 40,
            sent: 123_456_789_012,
        };
        let mut payload = vec![1; 3 + STAMP_LEN];
        stamp.write(&mut payload);
        assert_eq!(payload[..3], [1; 3]);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..STAMP_LEN]), None);
        assert_eq!(Stamp::read(&[0; 10]), None);
    }
}
