//! The latest packets of one layer, kept for retransmission and shared by all its subscribers.

use crate::pool::PacketRef;
use crate::units::ExtendedSeq;

/// A ring indexed by sequence number. Its memory is the packets it holds, bounded by `capacity`.
#[derive(Debug, Default)]
pub struct RetransmissionRing {
    packets: Vec<Option<PacketRef>>,
    capacity: usize,
}

impl RetransmissionRing {
    /// `capacity` packets, rounded up to a power of two; nothing is allocated before the first packet.
    pub fn new(capacity: usize) -> Self {
        Self {
            packets: Vec::new(),
            capacity: capacity.next_power_of_two(),
        }
    }

    pub fn insert(&mut self, packet: PacketRef) {
        if self.packets.is_empty() {
            self.packets.resize(self.capacity.max(1), None);
        }
        let index = self.index(packet.seq);
        // A straggler must not displace a packet that is a whole ring newer.
        if self.packets[index].as_ref().is_none_or(|old| old.seq <= packet.seq) {
            self.packets[index] = Some(packet);
        }
    }

    pub fn find(&self, seq: ExtendedSeq) -> Option<&PacketRef> {
        self.packets
            .get(self.index(seq))?
            .as_ref()
            .filter(|packet| packet.seq == seq)
    }

    /// Lets go of all packets and of the ring itself.
    pub fn clear(&mut self) {
        self.packets = Vec::new();
    }

    fn index(&self, seq: ExtendedSeq) -> usize {
        seq.0 as usize & self.packets.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::pool::PacketPool;

    #[test]
    fn it_holds_the_latest_and_refuses_stragglers() {
        let now = Instant::now();
        let mut pool = PacketPool::new(100);
        let mut ring = RetransmissionRing::new(10);
        assert!(ring.find(ExtendedSeq(3)).is_none());
        let mut packet = |seq: u64| {
            pool.fill(now, |packet| {
                packet.seq = ExtendedSeq(seq);
                packet.set_content(&[1], &[])
            })
            .expect("a buffer")
        };
        for seq in 100..120 {
            ring.insert(packet(seq));
        }
        ring.insert(packet(101));
        for (seq, held) in [
            (103, false),
            (101, false),
            (104, true),
            (117, true),
            (119, true),
            (120, false),
        ] {
            assert_eq!(ring.find(ExtendedSeq(seq)).is_some(), held, "{seq}");
        }
        ring.clear();
        assert!(ring.find(ExtendedSeq(119)).is_none());
    }
}
