//! What was sent, by transport-wide sequence number, until feedback tells how it fared.

use std::ops::Range;

use super::time::Micros;
use crate::units::ExtendedSeq;

/// Packets remembered at first: more than a second of a small video, 4 KiB.
const INITIAL_CAPACITY: usize = 512;
/// And at most: two seconds of 40 Mbit/s, 64 KiB.
const MAX_CAPACITY: usize = 8_192;

/// What a packet carries; tells what to do when it is lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum PacketKind {
    Audio,
    #[default]
    Video,
    Retransmission,
    Padding,
}

/// A probe cluster; 255 are told apart before numbers come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeId(pub std::num::NonZeroU8);

/// A packet at the moment of sending.
#[derive(Clone, Copy, Debug)]
pub struct SentPacket {
    /// All that the link carries for it: with SRTP tag, UDP and IP headers.
    pub bytes: usize,
    pub kind: PacketKind,
    /// The cluster that it was sent for.
    pub probe: Option<ProbeId>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Fate {
    #[default]
    Unknown,
    Lost,
    Arrived,
}

/// A remembered packet: eight bytes, as a busy worker keeps thousands of these rings.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// Low 32 bits of the time of sending in µs: tells 71 minutes apart.
    sent: u32,
    pub bytes: u16,
    pub probe: Option<std::num::NonZeroU8>,
    kind_and_fate: KindAndFate,
}

/// Two bits of kind, two of fate, and [`RESENT`].
#[derive(Clone, Copy, Debug, Default)]
struct KindAndFate(u8);

const RESENT: u8 = 1 << 4;

impl Entry {
    pub fn kind(&self) -> PacketKind {
        match self.kind_and_fate.0 & 3 {
            0 => PacketKind::Audio,
            1 => PacketKind::Video,
            2 => PacketKind::Retransmission,
            _ => PacketKind::Padding,
        }
    }

    pub fn fate(&self) -> Fate {
        match self.kind_and_fate.0 >> 2 & 3 {
            0 => Fate::Unknown,
            1 => Fate::Lost,
            _ => Fate::Arrived,
        }
    }

    pub fn set_fate(&mut self, fate: Fate) {
        self.kind_and_fate.0 = self.kind_and_fate.0 & !0b1100 | (fate as u8) << 2;
    }

    /// The same packet went out once more under its number: when it comes tells nothing of the link.
    pub fn is_resent(&self) -> bool {
        self.kind_and_fate.0 & RESENT != 0
    }

    pub fn set_resent(&mut self) {
        self.kind_and_fate.0 |= RESENT;
    }

    /// When it was sent, as seen from `now`, which is at most 71 minutes later.
    pub fn sent(&self, now: Micros) -> Micros {
        let age = (now.0 as u32).wrapping_sub(self.sent);
        Micros(now.0 - i64::from(age))
    }
}

/// A ring of the last packets. To remember one is a store and two additions.
#[derive(Clone, Debug)]
pub struct History {
    /// A power of two.
    entries: Box<[Entry]>,
    next: u64,
    bytes_sent: u64,
}

impl Default for History {
    fn default() -> Self {
        Self {
            entries: vec![Entry::default(); INITIAL_CAPACITY].into_boxed_slice(),
            next: 0,
            bytes_sent: 0,
        }
    }
}

impl History {
    /// Remembers a packet; returns the number that it is to carry.
    #[inline]
    pub fn push(&mut self, now: Micros, packet: SentPacket) -> u16 {
        let seq = self.next;
        let slot = seq as usize & (self.entries.len() - 1);
        self.entries[slot] = Entry {
            sent: now.0 as u32,
            bytes: packet.bytes as u16,
            probe: packet.probe.map(|probe| probe.0),
            kind_and_fate: KindAndFate(packet.kind as u8),
        };
        self.next = seq + 1;
        self.bytes_sent += packet.bytes as u64;
        seq as u16
    }

    /// The number of the next packet.
    pub fn next_seq(&self) -> ExtendedSeq {
        ExtendedSeq(self.next)
    }

    pub fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// Bytes of the packets with these numbers, and of those among them that were lost.
    pub fn bytes_of(&self, numbers: Range<ExtendedSeq>) -> (u64, u64) {
        let known = numbers.start.max(self.oldest()).0..numbers.end.0.min(self.next);
        let mut sums = (0, 0);
        for number in known {
            let entry = &self.entries[number as usize & (self.entries.len() - 1)];
            sums.0 += u64::from(entry.bytes);
            if entry.fate() == Fate::Lost || entry.is_resent() {
                sums.1 += u64::from(entry.bytes);
            }
        }
        sums
    }

    /// When the last packet was sent.
    pub fn last_sent(&self, now: Micros) -> Option<Micros> {
        let slot = self.next.checked_sub(1)? as usize & (self.entries.len() - 1);
        Some(self.entries[slot].sent(now))
    }

    /// When the packet with this number was sent, if it was.
    pub fn sent_at(&self, seq: ExtendedSeq, now: Micros) -> Option<Micros> {
        Some(self.entries[self.place(seq)?].sent(now))
    }

    /// What became of the packet with this number, and how long ago it was sent; `None` where it is forgotten.
    pub fn fate(&self, number: u16, now: Micros) -> Option<(Fate, Micros)> {
        let entry = &self.entries[self.place(self.next_seq().nearest(number))?];
        Some((entry.fate(), now - entry.sent(now)))
    }

    /// The oldest number still remembered.
    pub fn oldest(&self) -> ExtendedSeq {
        ExtendedSeq(self.next.saturating_sub(self.entries.len() as u64))
    }

    /// The packet that was sent as `seq`, unless it is too long ago or was never sent.
    pub fn entry_mut(&mut self, seq: ExtendedSeq) -> Option<&mut Entry> {
        let place = self.place(seq)?;
        Some(&mut self.entries[place])
    }

    /// In the ring, of a packet that is remembered.
    fn place(&self, seq: ExtendedSeq) -> Option<usize> {
        let is_known = (self.oldest()..self.next_seq()).contains(&seq);
        is_known.then(|| seq.0 as usize & (self.entries.len() - 1))
    }

    /// Makes room where `waiting` packets wait for feedback; not called on the packet path.
    pub fn reserve(&mut self, waiting: u64) {
        let capacity = self.entries.len();
        if waiting <= capacity as u64 / 2 || capacity >= MAX_CAPACITY {
            return;
        }
        let mut entries = vec![Entry::default(); capacity * 2].into_boxed_slice();
        for seq in self.oldest().0..self.next {
            entries[seq as usize & (capacity * 2 - 1)] = self.entries[seq as usize & (capacity - 1)];
        }
        self.entries = entries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: SentPacket = SentPacket {
        bytes: 1_000,
        kind: PacketKind::Audio,
        probe: None,
    };

    #[test]
    fn remembers_the_last_packets_across_wraps_and_growth() {
        let mut history = History::default();
        for sent in 0..70_000 {
            assert_eq!(history.push(Micros(sent), PACKET), sent as u16);
        }
        history.reserve(400);
        for sent in 70_000..70_100 {
            history.push(Micros(sent), PACKET);
        }
        // A doubled ring kept what the old one held.
        for (seq, known) in [(69_487, false), (69_488, true), (70_099, true), (70_100, false)] {
            let sent = history
                .entry_mut(ExtendedSeq(seq))
                .filter(|entry| entry.bytes > 0)
                .map(|entry| entry.sent(Micros(80_000)));
            assert_eq!(sent, known.then_some(Micros(seq as i64)), "{seq}");
        }
    }

    #[test]
    fn a_packet_keeps_its_kind_when_its_fate_is_known() {
        let mut history = History::default();
        for kind in [
            PacketKind::Audio,
            PacketKind::Video,
            PacketKind::Retransmission,
            PacketKind::Padding,
        ] {
            let seq = history.push(Micros::ZERO, SentPacket { kind, ..PACKET });
            let entry = history.entry_mut(ExtendedSeq(seq.into())).unwrap();
            for is_resent in [false, true] {
                for fate in [Fate::Lost, Fate::Arrived, Fate::Unknown] {
                    entry.set_fate(fate);
                    assert_eq!((entry.kind(), entry.fate(), entry.is_resent()), (kind, fate, is_resent));
                }
                entry.set_resent();
            }
        }
    }

    #[test]
    fn an_entry_takes_eight_bytes_and_tells_times_across_the_wrap_of_its_clock() {
        assert_eq!(size_of::<Entry>(), 8);
        let mut history = History::default();
        let sent = Micros(u32::MAX as i64 - 5);
        history.push(sent, PACKET);
        let entry = history.entry_mut(ExtendedSeq(0)).unwrap();
        assert_eq!(entry.sent(sent + Micros::secs(3)), sent);
    }
}
