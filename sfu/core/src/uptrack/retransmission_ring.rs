//! The latest packets of one layer, kept for retransmission and shared by all its subscribers.

use std::time::{Duration, Instant};

use crate::negotiated::MediaKind;
use crate::pool::{Packet, PacketRef};
use crate::units::ExtendedSeq;

/// What a ring holds at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingLimits {
    /// Numbers from the oldest to the newest; a power of two.
    pub packets: usize,
    /// Memory of the packets, in bytes.
    pub bytes: usize,
    /// A receiver has given a packet up by then: libwebrtc asks ten times, a round trip apart.
    pub age: Duration,
}

impl RingLimits {
    /// The time fits up to 2.5 Mbit/s, above it the number does.
    pub const VIDEO: Self = Self {
        packets: 512,
        bytes: 800_000,
        age: Duration::from_millis(1_500),
    };
    pub const AUDIO: Self = Self {
        packets: 64,
        bytes: 64_000,
        age: Duration::from_millis(1_000),
    };

    pub fn of(kind: MediaKind) -> Self {
        match kind {
            MediaKind::Audio => Self::AUDIO,
            MediaKind::Video => Self::VIDEO,
        }
    }
}

/// A ring indexed by sequence number. Its memory is the packets it holds.
#[derive(Debug)]
pub struct RetransmissionRing {
    packets: Box<[Option<PacketRef>]>,
    limits: RingLimits,
    /// All packets that are held are in `oldest..=newest`.
    oldest: u64,
    newest: u64,
    bytes: usize,
}

impl RetransmissionRing {
    /// Nothing is allocated before the first packet.
    pub fn new(limits: RingLimits) -> Self {
        debug_assert!(limits.packets.is_power_of_two());
        Self {
            packets: Box::default(),
            limits,
            oldest: 0,
            newest: 0,
            bytes: 0,
        }
    }

    /// Takes a packet in that arrived now; a straggler from before all that is held is let go.
    pub fn insert(&mut self, packet: PacketRef) {
        let seq = packet.seq.0;
        if self.packets.is_empty() {
            self.packets = vec![None; self.limits.packets].into();
        }
        self.expire(packet.arrival);
        if self.bytes == 0 {
            (self.oldest, self.newest) = (seq, seq);
        }
        if seq < self.oldest {
            // Reordered at the very start, or recovered when it was too late.
            if self.newest - seq >= self.limits.packets as u64 || self.bytes + packet.memory() > self.limits.bytes {
                return;
            }
            self.oldest = seq;
        }
        while seq - self.oldest >= self.limits.packets as u64 && self.oldest <= self.newest {
            self.drop_oldest();
        }
        self.oldest = self.oldest.max((seq + 1).saturating_sub(self.limits.packets as u64));
        self.newest = self.newest.max(seq);
        self.bytes += packet.memory();
        let index = self.index(packet.seq);
        if let Some(twin) = self.packets[index].replace(packet) {
            self.bytes -= twin.memory();
        }
        while self.bytes > self.limits.bytes && self.oldest < self.newest {
            self.drop_oldest();
        }
    }

    /// Lets go of packets that nobody asks for any more.
    pub fn expire(&mut self, now: Instant) {
        while self.bytes > 0 {
            let oldest = self.packets[self.index(ExtendedSeq(self.oldest))].as_deref();
            let is_young = |packet: &Packet| now.saturating_duration_since(packet.arrival) <= self.limits.age;
            if oldest.is_some_and(is_young) {
                return;
            }
            self.drop_oldest();
        }
    }

    #[doc(hidden)]
    pub(crate) fn check_bounds(&self) {
        let held: usize = self.packets.iter().flatten().map(|packet| packet.memory()).sum();
        assert_eq!(held, self.bytes);
        // One packet is always kept.
        let one = self.packets.iter().flatten().count() == 1;
        assert!(one || held <= self.limits.bytes, "{held} bytes");
        assert!(self.packets.len() <= self.limits.packets);
    }

    fn drop_oldest(&mut self) {
        let index = self.index(ExtendedSeq(self.oldest));
        if let Some(packet) = self.packets[index].take() {
            self.bytes -= packet.memory();
        }
        self.oldest += 1;
    }

    pub fn find(&self, seq: ExtendedSeq) -> Option<&PacketRef> {
        self.packets
            .get(self.index(seq))?
            .as_ref()
            .filter(|packet| packet.seq == seq)
    }

    /// Memory of the packets that are held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets go of all packets and of the ring itself.
    pub fn clear(&mut self) {
        *self = Self::new(self.limits);
    }

    fn index(&self, seq: ExtendedSeq) -> usize {
        seq.0 as usize & self.packets.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::PacketPool;
    use crate::pool::test_util::info;

    const MS: Duration = Duration::from_millis(1);
    const SMALL: RingLimits = RingLimits {
        packets: 16,
        bytes: usize::MAX,
        age: Duration::from_secs(60),
    };

    fn packet(seq: u64, arrival: Instant) -> PacketRef {
        PacketPool::new(0).fill(info(seq, arrival), &[1], &[]).expect("fits")
    }

    fn held(ring: &RetransmissionRing, seqs: std::ops::Range<u64>) -> Vec<u64> {
        seqs.filter(|&seq| ring.find(ExtendedSeq(seq)).is_some()).collect()
    }

    #[test]
    fn it_holds_the_latest_and_refuses_stragglers() {
        let now = Instant::now();
        let mut ring = RetransmissionRing::new(SMALL);
        assert!(ring.find(ExtendedSeq(3)).is_none());
        for seq in (100..120).chain([101]) {
            ring.insert(packet(seq, now));
        }
        assert_eq!(held(&ring, 90..130), (104..120).collect::<Vec<_>>());
        // Far ahead, as after a restart of the publisher.
        ring.insert(packet(1 << 40, now));
        assert!(held(&ring, 90..130).is_empty());
        assert!(ring.find(ExtendedSeq(1 << 40)).is_some());
        ring.clear();
        assert_eq!((ring.bytes(), ring.find(ExtendedSeq(1 << 40)).is_none()), (0, true));
    }

    #[test]
    fn packets_come_in_any_order_and_twice() {
        let now = Instant::now();
        let mut ring = RetransmissionRing::new(SMALL);
        for seq in [50, 52, 49, 51, 51, 54, 47] {
            ring.insert(packet(seq, now));
        }
        assert_eq!(held(&ring, 40..60), [47, 49, 50, 51, 52, 54]);
        assert_eq!(ring.bytes(), 6 * packet(0, now).memory());
    }

    #[test]
    fn memory_and_age_are_bounded() {
        let now = Instant::now();
        let size = packet(0, now).memory();
        let mut ring = RetransmissionRing::new(RingLimits {
            packets: 64,
            bytes: 10 * size,
            age: 100 * MS,
        });
        for seq in 0..30 {
            ring.insert(packet(seq, now));
            assert!(ring.bytes() <= 10 * size);
        }
        assert_eq!(held(&ring, 0..40), (20..30).collect::<Vec<_>>());
        for step in 0..5u32 {
            ring.insert(packet(30 + u64::from(step), now + 50 * MS * step));
        }
        // Those of the start are gone, with a gap before the next.
        assert_eq!(held(&ring, 0..40), [32, 33, 34]);
        ring.insert(packet(39, now + 200 * MS));
        ring.expire(now + 301 * MS);
        assert_eq!((held(&ring, 0..40), ring.bytes()), (vec![], 0));
        ring.insert(packet(3, now + 400 * MS));
        assert_eq!(held(&ring, 0..40), [3]);
    }
}
