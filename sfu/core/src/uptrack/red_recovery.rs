//! Frames that were lost on their way to the server and came as redundancy in a later RED packet (RFC 2198).
//!
//! A block says how much older than its packet it is, not which packet brought it first. In speech both come to
//! the same; after a pause of discontinuous transmission they do not. So the number is looked for twice: by the
//! block's place (libwebrtc's senders repeat the packets just before), and by its age (others repeat older ones).
//! It is right where the frames that came on both sides leave room for exactly that.

use std::ops::Range;

use arrayvec::ArrayVec;

use crate::packet::{opus, red};
use crate::units::{ExtendedSeq, PayloadType};

use super::retransmission_ring::RetransmissionRing;

/// Redundant blocks that are looked at, the newest: libwebrtc sends one, and it bounds what one packet can become.
pub const MAX_BLOCKS: usize = 4;
/// How many numbers back a neighbour is looked for: a longer gap has nothing that redundancy could join.
const REACH: u64 = 16;

/// A frame that is missing, found in a later packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    pub seq: ExtendedSeq,
    pub timestamp: u32,
    /// In the RED payload.
    pub range: Range<usize>,
}

/// Those among the redundant blocks of `payload` that `ring` does not have, the oldest first. The packet has
/// number `seq` and `timestamp`, and is not in the ring yet; `opus` is the payload type of Opus.
pub fn recover(
    ring: &RetransmissionRing,
    seq: ExtendedSeq,
    timestamp: u32,
    payload: &[u8],
    opus: PayloadType,
) -> ArrayVec<Recovered, MAX_BLOCKS> {
    let mut recovered = ArrayVec::new();
    let Ok(blocks) = red::blocks(payload) else {
        return recovered;
    };
    let mut newest: ArrayVec<red::Block, { MAX_BLOCKS + 1 }> = ArrayVec::new();
    for block in blocks {
        if newest.is_full() {
            newest.remove(0);
        }
        newest.push(block);
    }
    let gap = Gap { ring, seq, timestamp };
    let redundant = newest.len().saturating_sub(1);
    for (at, block) in newest.into_iter().take(redundant).enumerate() {
        if block.payload_type == opus
            && let Some(seq) = gap.place(
                (redundant - at) as u64,
                block.timestamp_offset,
                &payload[block.range.clone()],
            )
        {
            recovered.push(Recovered {
                seq,
                timestamp: timestamp.wrapping_sub(block.timestamp_offset.into()),
                range: block.range,
            });
        }
    }
    recovered
}

/// What is before a packet that has just come.
struct Gap<'a> {
    ring: &'a RetransmissionRing,
    seq: ExtendedSeq,
    timestamp: u32,
}

impl Gap<'_> {
    /// The number of the frame that is `offset` clock units older, and the `place`-th before the packet.
    fn place(&self, place: u64, offset: u16, frame: &[u8]) -> Option<ExtendedSeq> {
        let duration = opus::duration(frame)?;
        let timestamp = self.timestamp.wrapping_sub(offset.into());
        let by_age = u64::from(u32::from(offset) / duration);
        for steps in [place, by_age] {
            let seq = ExtendedSeq(self.seq.0.checked_sub(steps)?);
            match self.ring.find(seq) {
                Some(known) if known.timestamp == timestamp => return None,
                Some(_) => {}
                None if steps > 0 && self.has_room(seq, timestamp, duration) => return Some(seq),
                None => {}
            }
        }
        None
    }

    /// Do the nearest frames that came leave the time for `seq` at `timestamp`, and for those that are missing too?
    fn has_room(&self, seq: ExtendedSeq, timestamp: u32, duration: u32) -> bool {
        let known = |number: u64| {
            let packet = self.ring.find(ExtendedSeq(number))?;
            Some((number, packet.timestamp))
        };
        let newer = (seq.0 + 1..self.seq.0).take(REACH as usize).find_map(known);
        let (newer, newer_at) = newer.unwrap_or((self.seq.0, self.timestamp));
        let oldest = seq.0.saturating_sub(REACH);
        // Before the first frame that came there is nothing to join.
        let Some((older, older_at)) = (oldest..seq.0).rev().find_map(known) else {
            return false;
        };
        let fits = |from: u32, to: u32, steps: u64| {
            let ticks = to.wrapping_sub(from) as i32;
            ticks > 0 && u64::from(ticks.unsigned_abs()) >= steps * u64::from(duration)
        };
        fits(timestamp, newer_at, newer - seq.0) && fits(older_at, timestamp, seq.0 - older)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::negotiated::MediaKind;
    use crate::pool::test_util::info;
    use crate::pool::{PacketInfo, PacketPool};
    use crate::uptrack::retransmission_ring::RingLimits;

    const OPUS: u8 = 111;
    /// 20 ms of Opus.
    const TOC: u8 = 0x78;

    /// A payload with blocks of these ages in ms.
    fn red(ages: &[u16]) -> Vec<u8> {
        let mut payload = Vec::new();
        for &age in ages {
            let fields = u32::from(age * 48) << 10 | 3;
            payload.extend([0x80 | OPUS, (fields >> 16) as u8, (fields >> 8) as u8, fields as u8]);
        }
        payload.push(OPUS);
        for &age in ages {
            payload.extend([TOC, age as u8, 0]);
        }
        payload.extend([TOC, 0]);
        payload
    }

    /// A ring with packets of these numbers and times in ms.
    fn ring(packets: &[(u64, u32)]) -> RetransmissionRing {
        let (now, mut pool) = (Instant::now(), PacketPool::new(0));
        let mut ring = RetransmissionRing::new(RingLimits::of(MediaKind::Audio));
        for &(seq, at) in packets {
            let info = PacketInfo {
                timestamp: at.wrapping_mul(48),
                ..info(seq, now)
            };
            ring.insert(pool.fill(info, &[TOC, 1], &[]).expect("fits"));
        }
        ring
    }

    #[test]
    fn frames_are_placed_by_what_came_around_them() {
        // (name, what came, the packet and its ages, what is found)
        type Case = (
            &'static str,
            &'static [(u64, u32)],
            (u64, u32),
            &'static [u16],
            &'static [(u64, u32)],
        );
        let cases: [Case; 10] = [
            ("nothing is missing", &[(9, 180), (10, 200)], (11, 220), &[40, 20], &[]),
            ("one is", &[(9, 180), (10, 200)], (12, 240), &[20], &[(11, 220)]),
            ("two are", &[(10, 200)], (13, 260), &[40, 20], &[(11, 220), (12, 240)]),
            (
                "only the nearer comes back",
                &[(10, 200)],
                (13, 260),
                &[20],
                &[(12, 240)],
            ),
            ("after a pause", &[(10, 200)], (12, 620), &[20], &[(11, 600)]),
            ("before a pause", &[(10, 200)], (12, 520), &[300], &[(11, 220)]),
            (
                "a sender that repeats the third before",
                &[(10, 200), (12, 240), (13, 260)],
                (14, 280),
                &[60],
                &[(11, 220)],
            ),
            (
                "the same, and its neighbours are missing too",
                &[(10, 200)],
                (14, 280),
                &[60],
                &[(11, 220)],
            ),
            ("before all that came", &[(12, 240)], (13, 260), &[60, 40, 20], &[]),
            (
                "a time that is taken",
                &[(10, 200), (12, 240)],
                (13, 260),
                &[20, 20],
                &[],
            ),
        ];
        for (name, came, (seq, at), ages, expected) in cases {
            let payload = red(ages);
            let found: Vec<_> = recover(&ring(came), ExtendedSeq(seq), at * 48, &payload, OPUS)
                .into_iter()
                .map(|frame| {
                    assert_eq!(payload[frame.range][..1], [TOC]);
                    (frame.seq.0, frame.timestamp / 48)
                })
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn blocks_of_another_codec_and_malformed_ones_are_let_be() {
        let ring = ring(&[(10, 200)]);
        let at = |payload: &[u8], opus| recover(&ring, ExtendedSeq(12), 240 * 48, payload, opus).len();
        assert_eq!(at(&red(&[20]), OPUS), 1);
        assert_eq!(at(&red(&[20]), 110), 0);
        assert_eq!(at(&red(&[20])[..6], OPUS), 0);
        // More blocks than one would send: the newest count.
        assert_eq!(at(&red(&[200, 180, 160, 140, 120, 100, 80, 60, 40, 20]), OPUS), 1);
    }
}
