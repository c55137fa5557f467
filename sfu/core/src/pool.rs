//! Pooled, reference-counted packet buffers. A received packet is written once into one of these and
//! then shared by its retransmission ring, every subscriber and every other worker.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Instant;

use crate::negotiated::Codec;
use crate::packet::payload::FrameInfo;
use crate::units::ExtendedSeq;

/// Largest plaintext RTP packet that is forwarded: an Ethernet MTU.
pub const PACKET_CAPACITY: usize = 1500;

/// Longest dependency descriptor that is forwarded; one with a template structure of the usual
/// scalability modes stays below 100 bytes.
pub const MAX_DESCRIPTOR: usize = 128;

/// Sizes of buffers: voice, the packets of small layers, everything else. A packet is held for as long
/// as it may be asked for again, so a buffer should not be much larger than what is in it.
const SMALL: usize = 256;
const MEDIUM: usize = 768;
const LARGE: usize = PACKET_CAPACITY + MAX_DESCRIPTOR;

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct PacketInfo {
    pub seq: ExtendedSeq,
    pub timestamp: u32,
    pub marker: bool,
    /// Never [`Codec::Red`]: RED is taken apart where it comes in.
    pub codec: Codec,
    /// Index of the simulcast layer in its track.
    pub layer: u8,
    /// When its batch was received.
    pub arrival: Instant,
    pub frame: FrameInfo,
    /// The RFC 6464 byte.
    pub audio_level: Option<u8>,
    /// The 3GPP CVO byte.
    pub video_orientation: Option<u8>,
    /// Came through a retransmission: later than its neighbours.
    pub recovered: bool,
}

/// A media packet as its publisher sent it, decrypted and freed of RTX. Immutable once shared.
#[derive(Debug)]
pub struct Packet<B: ?Sized = [u8]> {
    info: PacketInfo,
    payload_len: u16,
    descriptor_len: u8,
    /// Payload, and the dependency descriptor behind it.
    bytes: B,
}

pub type PacketRef = Arc<Packet>;

impl Packet {
    pub fn payload(&self) -> &[u8] {
        &self.bytes[..usize::from(self.payload_len)]
    }

    /// The dependency descriptor's bytes; empty without one.
    pub fn dependency_descriptor(&self) -> &[u8] {
        let start = usize::from(self.payload_len);
        &self.bytes[start..start + usize::from(self.descriptor_len)]
    }

    /// Bytes of memory that the packet takes, however few of them are filled.
    pub fn memory(&self) -> usize {
        size_of_val(self)
    }

    /// Payload and descriptor have room.
    fn set(&mut self, info: PacketInfo, payload: &[u8], descriptor: &[u8]) {
        self.info = info;
        self.payload_len = payload.len() as u16;
        self.descriptor_len = descriptor.len() as u8;
        let (start, rest) = self.bytes.split_at_mut(payload.len());
        start.copy_from_slice(payload);
        rest[..descriptor.len()].copy_from_slice(descriptor);
    }
}

impl Deref for Packet {
    type Target = PacketInfo;

    fn deref(&self) -> &PacketInfo {
        &self.info
    }
}

/// An empty packet of `SIZE` bytes.
fn empty<const SIZE: usize>(info: PacketInfo) -> PacketRef {
    Arc::new(Packet {
        info,
        payload_len: 0,
        descriptor_len: 0,
        bytes: [0; SIZE],
    })
}

/// Buffers that are reused once nobody else holds them. Grows to the number in flight, at most
/// `capacity`; beyond it buffers are made and freed singly.
#[derive(Debug)]
pub struct PacketPool {
    sizes: [Buffers; 3],
}

impl PacketPool {
    /// `capacity` buffers of each size.
    pub fn new(capacity: usize) -> Self {
        Self {
            sizes: [empty::<SMALL>, empty::<MEDIUM>, empty::<LARGE>].map(|make| Buffers::new(make, capacity)),
        }
    }

    /// A packet in a free buffer; `None` where `payload` or `descriptor` is too long.
    pub fn fill(&mut self, info: PacketInfo, payload: &[u8], descriptor: &[u8]) -> Option<PacketRef> {
        if payload.len() > PACKET_CAPACITY || descriptor.len() > MAX_DESCRIPTOR {
            return None;
        }
        let [small, medium, large] = &mut self.sizes;
        let len = payload.len() + descriptor.len();
        let buffers = if len <= SMALL {
            small
        } else if len <= MEDIUM {
            medium
        } else {
            large
        };
        Some(buffers.fill(info, payload, descriptor))
    }

    /// Buffers that exist, free or not.
    pub fn len(&self) -> usize {
        self.sizes.iter().map(|buffers| buffers.buffers.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frees up to `count` buffers of each size that nobody else holds, so that a peak does not stay in memory.
    pub fn trim(&mut self, count: usize) {
        for buffers in &mut self.sizes {
            buffers.trim(count);
        }
    }
}

/// How many buffers are looked at for a free one before a new one is made.
const PROBES: usize = 16;

/// Those of one size.
#[derive(Debug)]
struct Buffers {
    make: fn(PacketInfo) -> PacketRef,
    buffers: Vec<PacketRef>,
    cursor: usize,
    capacity: usize,
}

impl Buffers {
    fn new(make: fn(PacketInfo) -> PacketRef, capacity: usize) -> Self {
        Self {
            make,
            buffers: Vec::new(),
            cursor: 0,
            capacity,
        }
    }

    fn fill(&mut self, info: PacketInfo, payload: &[u8], descriptor: &[u8]) -> PacketRef {
        // Buffers come free roughly in the order in which they were taken, so the next one is nearly always free.
        for _ in 0..PROBES.min(self.buffers.len()) {
            self.cursor = if self.cursor + 1 >= self.buffers.len() {
                0
            } else {
                self.cursor + 1
            };
            if let Some(packet) = Arc::get_mut(&mut self.buffers[self.cursor]) {
                packet.set(info, payload, descriptor);
                return self.buffers[self.cursor].clone();
            }
        }
        let mut packet = (self.make)(info);
        if let Some(packet) = Arc::get_mut(&mut packet) {
            packet.set(info, payload, descriptor);
        }
        if self.buffers.len() < self.capacity {
            self.buffers.push(packet.clone());
        }
        packet
    }

    /// Looks at `count` buffers from the end on.
    fn trim(&mut self, count: usize) {
        let first = self.buffers.len().saturating_sub(count);
        for index in (first..self.buffers.len()).rev() {
            if Arc::strong_count(&self.buffers[index]) == 1 {
                self.buffers.swap_remove(index);
            }
        }
        if self.buffers.is_empty() {
            self.buffers = Vec::new();
        }
    }
}

#[cfg(test)]
pub(crate) mod test_util {
    use super::*;

    /// Of an Opus packet.
    pub fn info(seq: u64, arrival: Instant) -> PacketInfo {
        PacketInfo {
            seq: ExtendedSeq(seq),
            timestamp: 0,
            marker: false,
            codec: Codec::Opus,
            layer: 0,
            arrival,
            frame: FrameInfo::default(),
            audio_level: None,
            video_orientation: None,
            recovered: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::test_util::info;
    use super::*;

    #[test]
    fn a_buffer_is_reused_once_it_is_free() {
        let now = Instant::now();
        let mut pool = PacketPool::new(4);
        for seq in 0..100 {
            let packet = pool.fill(info(seq, now), &[seq as u8; 10], &[1, 2]).expect("a buffer");
            assert_eq!(packet.payload(), [seq as u8; 10]);
            assert_eq!(packet.dependency_descriptor(), [1, 2]);
            assert_eq!(packet.seq, ExtendedSeq(seq));
        }
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn held_buffers_are_never_overwritten_and_the_pool_stays_within_its_capacity() {
        let now = Instant::now();
        let mut pool = PacketPool::new(4);
        let held: Vec<_> = (0..20u8)
            .filter_map(|byte| pool.fill(info(0, now), &[byte], &[]))
            .collect();
        assert_eq!(
            held.iter().map(|packet| packet.payload()[0]).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(pool.len(), 4);
        pool.trim(10);
        assert_eq!(pool.len(), 4);
        drop(held);
        pool.trim(3);
        assert_eq!(pool.len(), 1);
        pool.trim(3);
        assert!(pool.is_empty());
    }

    #[test]
    fn a_buffer_is_hardly_larger_than_its_packet() {
        let now = Instant::now();
        let mut pool = PacketPool::new(4);
        for (payload, most) in [(1, 400), (256, 400), (257, 900), (768, 900), (769, 1800), (1500, 1800)] {
            let packet = pool.fill(info(0, now), &vec![7; payload], &[]).expect("a buffer");
            assert!(
                (payload..most).contains(&packet.memory()),
                "{payload}: {}",
                packet.memory()
            );
        }
    }

    #[test]
    fn too_much_content_is_declined() {
        let mut pool = PacketPool::new(4);
        let info = info(0, Instant::now());
        for (payload, descriptor, fits) in [(1501, 0, false), (10, 129, false), (1500, 128, true)] {
            let packet = pool.fill(info, &vec![0; payload], &vec![0; descriptor]);
            assert_eq!(packet.is_some(), fits, "{payload} {descriptor}");
        }
    }
}
