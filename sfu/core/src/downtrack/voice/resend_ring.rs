//! The datagrams of a voice as they went out, for sending them again without any difference.
//!
//! What was written could be written again from its frames, but with other bytes under the same SRTP index wherever
//! anything has changed since, and with AES-GCM that gives both away. The datagram itself cannot differ.

use std::time::{Duration, Instant};

use crate::units::ExtendedSeq;

/// Of all datagrams. A low voice with two earlier frames takes 3.5 kB/s, a full one with one 12 kB/s: two seconds of
/// that, which is longer than a receiver that waits for repeats holds its sound back (1.5 s).
const BYTES: usize = 24 * 1024;
/// Two seconds of packets of 20 ms, and a power of two.
const PACKETS: usize = 128;
/// A packet that was sent again so often will not get through in time.
const MAX_RESENDS: u8 = 3;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    seq: ExtendedSeq,
    /// Where it begins, counted in all bytes that were ever put in; `len` 0: there is none.
    start: u64,
    len: u16,
    resends: u8,
    resent: Option<Instant>,
}

/// Allocated with the first packet.
#[derive(Debug, Default)]
pub struct ResendRing {
    entries: Box<[Entry]>,
    bytes: Box<[u8]>,
    /// Where the next one begins, counted as [`Entry::start`].
    next: u64,
    highest: ExtendedSeq,
}

impl ResendRing {
    pub fn insert(&mut self, seq: ExtendedSeq, datagram: &[u8]) {
        if datagram.is_empty() || datagram.len() > BYTES / 8 {
            return;
        }
        if self.entries.is_empty() {
            self.entries = vec![Entry::default(); PACKETS].into();
            self.bytes = vec![0; BYTES].into();
        }
        // Each lies in one piece: what is left at the end stays free.
        let at = (self.next % BYTES as u64) as usize;
        if at + datagram.len() > BYTES {
            self.next += (BYTES - at) as u64;
        }
        let at = (self.next % BYTES as u64) as usize;
        self.bytes[at..at + datagram.len()].copy_from_slice(datagram);
        self.entries[seq.0 as usize % PACKETS] = Entry {
            seq,
            start: self.next,
            len: datagram.len() as u16,
            resends: 0,
            resent: None,
        };
        self.next += datagram.len() as u64;
        self.highest = self.highest.max(seq);
    }

    /// What went out under `seq`; `None` where it is overwritten, or was sent again less than `interval` ago or
    /// often enough.
    pub fn resend(&mut self, now: Instant, seq: u16, interval: Duration) -> Option<&[u8]> {
        let seq = self.highest.nearest(seq);
        let next = self.next;
        let entry = self.entries.get_mut(seq.0 as usize % PACKETS)?;
        let is_kept = entry.seq == seq && entry.len > 0 && entry.start + BYTES as u64 >= next;
        let is_early = |at: Instant| now.saturating_duration_since(at) < interval;
        if !is_kept || entry.resends >= MAX_RESENDS || entry.resent.is_some_and(is_early) {
            return None;
        }
        entry.resends += 1;
        entry.resent = Some(now);
        let at = (entry.start % BYTES as u64) as usize;
        self.bytes.get(at..at + usize::from(entry.len))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGAIN: Duration = Duration::from_millis(50);

    #[test]
    fn what_is_kept_comes_back_whole_and_what_is_overwritten_does_not() {
        let now = Instant::now();
        for (len, kept) in [(1, PACKETS), (70, PACKETS), (500, BYTES / 500 - 1), (3_072, 7)] {
            let mut ring = ResendRing::default();
            assert_eq!(ring.resend(now, 0, AGAIN), None);
            let datagram = |seq: u64| vec![seq as u8; len];
            for seq in 65_000..66_000 {
                ring.insert(ExtendedSeq(seq), &datagram(seq));
            }
            let found = |ring: &mut ResendRing, seq: u64| {
                let found = ring.resend(now, seq as u16, AGAIN)?;
                Some(found.to_vec())
            };
            for seq in 66_000 - kept as u64..66_000 {
                assert_eq!(found(&mut ring, seq), Some(datagram(seq)), "{len} {seq}");
            }
            assert_eq!(found(&mut ring, 66_000 - kept as u64 - 2), None, "{len}");
            assert_eq!(found(&mut ring, 66_000), None);
        }
    }

    #[test]
    fn not_at_once_again_and_not_for_ever() {
        let now = Instant::now();
        let mut ring = ResendRing::default();
        ring.insert(ExtendedSeq(7), &[1, 2]);
        ring.insert(ExtendedSeq(8), &[0; BYTES / 8 + 1]);
        assert_eq!(ring.resend(now, 8, AGAIN), None, "longer than any packet");
        for (at, is_sent) in [(0, true), (20, false), (50, true), (100, true), (1_000, false)] {
            let sent = ring.resend(now + Duration::from_millis(at), 7, AGAIN);
            assert_eq!(sent.is_some(), is_sent, "{at} ms");
        }
    }
}
