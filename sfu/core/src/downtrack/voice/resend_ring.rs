//! The datagrams of a voice as they went out, for sending them again without any difference.
//!
//! What was written could be written again from its frames, but with other bytes under the same SRTP index wherever
//! anything has changed since, and with AES-GCM that gives both away. The datagram itself cannot differ.

use std::time::{Duration, Instant};

use crate::bwe::Fate;
use crate::units::ExtendedSeq;

/// Of all datagrams. A low voice with two earlier frames takes 3.5 kB/s, a full one with one 12 kB/s: two seconds of
/// that, which is longer than a receiver that waits for repeats holds its sound back (1.5 s).
const BYTES: usize = 24 * 1024;
/// Two seconds of packets of 20 ms, and a power of two.
const PACKETS: usize = 128;
/// A packet that was sent again so often will not get through in time.
const MAX_RESENDS: u8 = 3;
/// Beyond that a receiver that waits as long as they do (1.5 s) has played on before a repeat is there.
const MAX_AGE: Duration = Duration::from_millis(1_200);
/// RED reaches back three frames that are up to five packets apart.
const FARTHEST_CARRIER: u64 = 15;

/// Which earlier packets' frames a packet carries again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    pub frames: u8,
    pub distance: u8,
}

/// A datagram to be sent again.
#[derive(Debug, PartialEq, Eq)]
pub struct Resend<'a> {
    pub datagram: &'a [u8],
    /// Its transport-wide number.
    pub number: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    seq: ExtendedSeq,
    number: u16,
    repeats: Repeats,
    /// What was in it has come, is on its way in another packet, or is given up.
    is_settled: bool,
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
    /// All before are settled.
    open: ExtendedSeq,
}

impl Entry {
    /// It carries the frames of the packet `age` before it, or is that packet.
    fn carries(&self, age: u64) -> bool {
        let distance = u64::from(self.repeats.distance.max(1));
        age.is_multiple_of(distance) && age / distance <= u64::from(self.repeats.frames)
    }
}

impl ResendRing {
    /// A packet went out as `datagram` under a transport-wide `number`.
    pub fn insert(&mut self, seq: ExtendedSeq, number: u16, repeats: Repeats, datagram: &[u8]) {
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
            number,
            repeats,
            is_settled: false,
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
    pub fn resend(&mut self, now: Instant, seq: u16, interval: Duration) -> Option<Resend<'_>> {
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
        entry.is_settled = false;
        let at = (entry.start % BYTES as u64) as usize;
        Some(Resend {
            datagram: self.bytes.get(at..at + usize::from(entry.len))?,
            number: entry.number,
        })
    }

    /// The packet that is to be sent again for frames that came in no packet: the last that carries them, as it carries
    /// most of what was lost with them. `fate` tells by number what became of a packet and how long ago it was sent;
    /// what was sent again has not come either, where feedback does not tell of it in `again`.
    pub fn next_missing(
        &mut self,
        now: Instant,
        again: Duration,
        fate: impl Fn(u16) -> Option<(Fate, Duration)>,
    ) -> Option<u16> {
        self.open = self
            .open
            .max(ExtendedSeq((self.highest.0 + 1).saturating_sub(PACKETS as u64)));
        for seq in self.open.0..=self.highest.0 {
            let Some(&Entry { number, resent, .. }) = self.entry(seq).filter(|entry| !entry.is_settled) else {
                continue;
            };
            match fate(number) {
                Some((Fate::Lost, age)) if age <= MAX_AGE => {}
                Some((Fate::Unknown, age)) if age <= MAX_AGE => continue,
                _ => {
                    self.settle(seq);
                    continue;
                }
            }
            if let Some(resent) = resent {
                if now.saturating_duration_since(resent) < again {
                    continue;
                }
                self.settle(seq);
                return Some(ExtendedSeq(seq).truncate());
            }
            match self.last_carrier(seq, &fate) {
                Carrier::Came => self.settle(seq),
                Carrier::Awaited => {}
                Carrier::Lost(last) => {
                    for carried in seq..=last {
                        let is_carried = self.entry(last).is_some_and(|last| last.carries(last.seq.0 - carried));
                        if is_carried {
                            self.settle(carried);
                        }
                    }
                    return Some(ExtendedSeq(last).truncate());
                }
            }
        }
        while self.open < self.highest && self.entry(self.open.0).is_none_or(|entry| entry.is_settled) {
            self.open = ExtendedSeq(self.open.0 + 1);
        }
        None
    }

    /// What became of the packets that carry the frames of `seq`, which itself is lost.
    fn last_carrier(&self, seq: u64, fate: impl Fn(u16) -> Option<(Fate, Duration)>) -> Carrier {
        let mut last = seq;
        for later in seq + 1..=self.highest.0.min(seq + FARTHEST_CARRIER) {
            let Some(entry) = self.entry(later).filter(|entry| entry.carries(later - seq)) else {
                continue;
            };
            match fate(entry.number) {
                Some((Fate::Arrived, _)) => return Carrier::Came,
                // For frames of others that it carries.
                Some((Fate::Lost, _)) if entry.resent.is_some() => return Carrier::Came,
                Some((Fate::Unknown, _)) => return Carrier::Awaited,
                Some((Fate::Lost, _)) => last = later,
                None => {}
            }
        }
        Carrier::Lost(last)
    }

    fn entry(&self, seq: u64) -> Option<&Entry> {
        let entry = self.entries.get(seq as usize % PACKETS)?;
        (entry.seq.0 == seq && entry.len > 0).then_some(entry)
    }

    fn settle(&mut self, seq: u64) {
        if let Some(entry) = self
            .entries
            .get_mut(seq as usize % PACKETS)
            .filter(|entry| entry.seq.0 == seq)
        {
            entry.is_settled = true;
        }
    }
}

/// What became of the packets that carry some frames.
enum Carrier {
    /// One of them has come, or is on its way again.
    Came,
    /// One of them is under way.
    Awaited,
    /// All were lost, this one last.
    Lost(u64),
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
                ring.insert(ExtendedSeq(seq), 0, Repeats::default(), &datagram(seq));
            }
            let found = |ring: &mut ResendRing, seq: u64| {
                let found = ring.resend(now, seq as u16, AGAIN)?;
                Some(found.datagram.to_vec())
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
        ring.insert(ExtendedSeq(7), 0, Repeats::default(), &[1, 2]);
        ring.insert(ExtendedSeq(8), 1, Repeats::default(), &[0; BYTES / 8 + 1]);
        assert_eq!(ring.resend(now, 8, AGAIN), None, "longer than any packet");
        for (at, is_sent) in [(0, true), (20, false), (50, true), (100, true), (1_000, false)] {
            let sent = ring.resend(now + Duration::from_millis(at), 7, AGAIN);
            assert_eq!(sent.is_some(), is_sent, "{at} ms");
        }
    }

    /// Packets from 100 on, each 60 ms after the one before, with numbers from 7,000 on. Of each: `l`ost, `c`ame, or `?`.
    fn missing(repeats: Repeats, fates: &str) -> Vec<u16> {
        let mut ring = ResendRing::default();
        for at in 0..fates.len() as u64 {
            ring.insert(ExtendedSeq(100 + at), 7_000 + at as u16, repeats, &[1]);
        }
        let fate = |number: u16| {
            let at = usize::from(number - 7_000);
            let age = Duration::from_millis(60) * (fates.len() - at) as u32;
            let fate = match fates.as_bytes()[at] {
                b'l' => Fate::Lost,
                b'c' => Fate::Arrived,
                _ => Fate::Unknown,
            };
            Some((fate, age))
        };
        let now = Instant::now();
        let next = || {
            let seq = ring.next_missing(now, Duration::from_millis(500), fate)?;
            ring.resend(now, seq, AGAIN);
            Some(seq)
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_no_other_packet_brought_is_sent_again_by_the_last_that_has_it() {
        let none = Repeats::default();
        let two = Repeats { frames: 2, distance: 1 };
        let apart = Repeats { frames: 1, distance: 3 };
        for (repeats, fates, expected) in [
            (none, "clclc", &[101, 103][..]),
            (two, "clclcc", &[]),
            // The next two may still bring it.
            (two, "ccl??", &[]),
            (two, "ccll?", &[]),
            (two, "clllc", &[103]),
            (two, "cllllllc", &[103, 106]),
            (apart, "clcclc", &[104]),
            (apart, "clcccc", &[]),
            // Older than anybody waits: 21 × 60 ms.
            (none, "lccccccccccccccccccccl", &[121]),
        ] {
            assert_eq!(missing(repeats, fates), expected, "{repeats:?} {fates}");
        }
    }

    /// Lost, sent again as soon as that is known, and lost again each time.
    #[test]
    fn what_was_sent_again_in_vain_is_sent_once_more_as_long_as_it_comes_in_time() {
        let begin = Instant::now();
        let mut ring = ResendRing::default();
        ring.insert(ExtendedSeq(7), 70, Repeats::default(), &[1]);
        let (mut sent, mut seen) = (Vec::new(), Fate::Unknown);
        for ms in (0..2_000).step_by(50) {
            if ms == 300 {
                seen = Fate::Lost;
            }
            let (now, age) = (begin + Duration::from_millis(ms), Duration::from_millis(ms));
            while let Some(seq) = ring.next_missing(now, Duration::from_millis(400), |_| Some((seen, age))) {
                assert_eq!(seq, 7);
                assert!(ring.resend(now, seq, AGAIN).is_some());
                sent.push(ms);
            }
        }
        assert_eq!(sent, [300, 700, 1_100]);
    }

    #[test]
    fn what_may_not_be_sent_again_now_is_given_up() {
        let mut ring = ResendRing::default();
        ring.insert(ExtendedSeq(7), 70, Repeats::default(), &[1]);
        let now = Instant::now();
        let mut next = || ring.next_missing(now, AGAIN, |_| Some((Fate::Lost, Duration::ZERO)));
        assert_eq!((next(), next()), (Some(7), None));
    }
}
