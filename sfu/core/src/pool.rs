//! Pooled, reference-counted packet buffers. A received packet is written once into one of these and
//! then shared by its retransmission ring, every subscriber and every other worker.

use std::sync::Arc;
use std::time::Instant;

use crate::negotiated::Codec;
use crate::packet::payload::FrameInfo;
use crate::units::ExtendedSeq;

/// Largest plaintext RTP packet that is forwarded: an Ethernet MTU.
pub const PACKET_CAPACITY: usize = 1500;

/// A media packet as its publisher sent it, decrypted and freed of RTX. Immutable once shared.
#[derive(Clone, Debug)]
pub struct Packet {
    pub seq: ExtendedSeq,
    pub timestamp: u32,
    pub marker: bool,
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
    descriptor_len: u8,
    payload_len: u16,
    descriptor: [u8; MAX_DESCRIPTOR],
    data: [u8; PACKET_CAPACITY],
}

/// Longest dependency descriptor that is forwarded; one with a template structure of the usual
/// scalability modes stays below 100 bytes.
pub const MAX_DESCRIPTOR: usize = 128;

impl Packet {
    fn empty(now: Instant) -> Self {
        Self {
            seq: ExtendedSeq(0),
            timestamp: 0,
            marker: false,
            codec: Codec::Opus,
            layer: 0,
            arrival: now,
            frame: FrameInfo::default(),
            audio_level: None,
            video_orientation: None,
            recovered: false,
            descriptor_len: 0,
            payload_len: 0,
            descriptor: [0; MAX_DESCRIPTOR],
            data: [0; PACKET_CAPACITY],
        }
    }

    pub fn payload(&self) -> &[u8] {
        &self.data[..usize::from(self.payload_len)]
    }

    /// The dependency descriptor's bytes; empty without one.
    pub fn dependency_descriptor(&self) -> &[u8] {
        &self.descriptor[..usize::from(self.descriptor_len)]
    }

    /// False, and the packet is unchanged, where `payload` or `descriptor` is too long.
    pub fn set_content(&mut self, payload: &[u8], descriptor: &[u8]) -> bool {
        let (Some(data), Some(extension)) = (
            self.data.get_mut(..payload.len()),
            self.descriptor.get_mut(..descriptor.len()),
        ) else {
            return false;
        };
        data.copy_from_slice(payload);
        extension.copy_from_slice(descriptor);
        self.payload_len = payload.len() as u16;
        self.descriptor_len = descriptor.len() as u8;
        true
    }
}

pub type PacketRef = Arc<Packet>;

/// How many buffers are looked at for a free one before a new one is made.
const PROBES: usize = 16;

/// Buffers that are reused once nobody else holds them. Grows to the number in flight, at most
/// `capacity`; beyond it buffers are made and freed singly.
#[derive(Debug)]
pub struct PacketPool {
    buffers: Vec<PacketRef>,
    cursor: usize,
    capacity: usize,
}

impl PacketPool {
    pub fn new(capacity: usize) -> Self {
        Self {
            buffers: Vec::new(),
            cursor: 0,
            capacity,
        }
    }

    /// Fills a free buffer; `None` where `fill` declines.
    pub fn fill(&mut self, now: Instant, fill: impl FnOnce(&mut Packet) -> bool) -> Option<PacketRef> {
        // Buffers come free roughly in the order in which they were taken, so the next one is nearly always free.
        for _ in 0..PROBES.min(self.buffers.len()) {
            self.cursor = if self.cursor + 1 >= self.buffers.len() {
                0
            } else {
                self.cursor + 1
            };
            if let Some(packet) = Arc::get_mut(&mut self.buffers[self.cursor]) {
                return fill(packet).then(|| self.buffers[self.cursor].clone());
            }
        }
        let mut packet = Packet::empty(now);
        if !fill(&mut packet) {
            return None;
        }
        let packet = Arc::new(packet);
        if self.buffers.len() < self.capacity {
            self.buffers.push(packet.clone());
        }
        Some(packet)
    }

    /// Buffers that exist, free or not.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    /// Frees up to `count` buffers that nobody else holds; called on idle ticks so that a peak does not stay in memory.
    pub fn trim(&mut self, count: usize) {
        for _ in 0..count {
            let Some(last) = self.buffers.last() else { return };
            if Arc::strong_count(last) > 1 {
                return;
            }
            self.buffers.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_reused_once_it_is_free() {
        let now = Instant::now();
        let mut pool = PacketPool::new(4);
        for seq in 0..100 {
            let packet = pool.fill(now, |packet| {
                packet.seq = ExtendedSeq(seq);
                packet.set_content(&[seq as u8; 10], &[])
            });
            assert_eq!(packet.expect("a buffer").payload(), [seq as u8; 10]);
        }
        assert_eq!(pool.len(), 1);
    }

    #[test]
    fn held_buffers_are_never_overwritten_and_the_pool_stays_within_its_capacity() {
        let now = Instant::now();
        let mut pool = PacketPool::new(4);
        let held: Vec<_> = (0..20u8)
            .filter_map(|byte| pool.fill(now, |packet| packet.set_content(&[byte], &[])))
            .collect();
        assert_eq!(
            held.iter().map(|packet| packet.payload()[0]).collect::<Vec<_>>(),
            (0..20).collect::<Vec<_>>()
        );
        assert_eq!(pool.len(), 4);
        drop(held);
        pool.trim(10);
        assert!(pool.is_empty());
    }

    #[test]
    fn too_much_content_is_declined() {
        let mut pool = PacketPool::new(4);
        assert!(
            pool.fill(Instant::now(), |packet| packet
                .set_content(&[0; PACKET_CAPACITY + 1], &[]))
                .is_none()
        );
    }
}
