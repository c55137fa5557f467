//! VP8 without a dependency descriptor: temporal layers by TID and Y, picture ids without gaps.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::payload;
use tianqiao_sfu_core::packet::vp8::Vp8Descriptor;
use tianqiao_sfu_core::pool::{PacketInfo, PacketPool, PacketRef};
use tianqiao_sfu_core::units::ExtendedSeq;

use crate::viewer::Viewer;

struct Frame {
    temporal: u8,
    references: Vec<u32>,
}

/// libvpx with three temporal layers: T0 T2 T1 T2, where every second T1 and T2 refer to no frame of their layer.
struct Encoder {
    frames: Vec<Frame>,
    since_key: u32,
    latest: [u32; 3],
    tl0: u8,
    seq: u64,
    pool: PacketPool,
    now: Instant,
}

impl Encoder {
    fn new() -> Self {
        Self {
            frames: Vec::new(),
            since_key: 0,
            latest: [0; 3],
            tl0: 250,
            seq: 65_000,
            pool: PacketPool::new(1_000),
            now: Instant::now(),
        }
    }

    fn picture(&mut self, keyframe: bool) -> Vec<PacketRef> {
        self.now += Duration::from_millis(33);
        let id = self.frames.len() as u32;
        if keyframe {
            self.since_key = 0;
        }
        let place = self.since_key % 8;
        self.since_key += 1;
        let temporal = [0, 2, 1, 2][place as usize % 4];
        let sync = temporal > 0 && place < 4 && place != 3;
        let references = match (keyframe, sync) {
            (true, _) => vec![],
            (_, true) => vec![self.latest[0]],
            _ => self.latest[..=usize::from(temporal)].to_vec(),
        };
        if keyframe {
            self.latest = [id; 3];
        }
        self.latest[usize::from(temporal)] = id;
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.frames.push(Frame { temporal, references });
        (0..2)
            .map(|index| self.packet(id, temporal, sync, keyframe, index))
            .collect()
    }

    fn packet(&mut self, id: u32, temporal: u8, sync: bool, keyframe: bool, index: u8) -> PacketRef {
        let picture_id = (id + 0x7ff0) as u16 & 0x7fff;
        let mut payload = vec![0x80 | u8::from(index == 0) << 4, 0xe0];
        payload.extend((0x8000 | picture_id).to_be_bytes());
        payload.extend([
            self.tl0,
            temporal << 6 | u8::from(sync) << 5,
            u8::from(!(keyframe && index == 0)),
        ]);
        payload.extend(id.to_be_bytes());
        self.seq += 1;
        let codec = Codec::Vp8;
        let info = PacketInfo {
            seq: ExtendedSeq(self.seq),
            timestamp: id.wrapping_mul(2_970),
            marker: index == 1,
            codec,
            layer: 0,
            arrival: self.now,
            frame: payload::describe(codec, &payload),
            audio_level: None,
            video_orientation: None,
            recovered: false,
        };
        self.pool.fill(info, &payload, &[]).expect("fits")
    }
}

fn id(payload: &[u8]) -> u32 {
    u32::from_be_bytes(payload[7..11].try_into().expect("four bytes"))
}

/// Temporal layers of what came, whose references all came, and whose picture ids have no gap.
fn decode(viewer: &Viewer, frames: &[Frame]) -> Vec<u8> {
    let mut decoded = HashSet::new();
    let mut last_picture: Option<u16> = None;
    let mut temporal = Vec::new();
    for pair in viewer.received.chunks(2) {
        let frame = &frames[id(&pair[0].payload) as usize];
        assert_eq!(id(&pair[0].payload), id(&pair[1].payload), "whole frames");
        assert!(pair[1].marker && !pair[0].marker);
        for reference in &frame.references {
            assert!(decoded.contains(reference), "{}", id(&pair[0].payload));
        }
        decoded.insert(id(&pair[0].payload));
        for packet in pair {
            let fields = Vp8Descriptor::parse(&packet.payload).expect("well-formed");
            let picture = fields.picture_id.expect("an id").value;
            let step = last_picture.map_or(1, |last| picture.wrapping_sub(last) & 0x7fff);
            assert!(step <= 1, "picture ids have no gap");
            last_picture = Some(picture);
        }
        temporal.push(frame.temporal);
    }
    temporal
}

#[test]
fn temporal_layers_come_and_go() {
    let mut viewer = Viewer::new(Codec::Vp8, false, 360);
    let mut encoder = Encoder::new();
    for (limit, pictures) in [(2, 12), (0, 12), (1, 24), (2, 24), (0, 16)] {
        viewer.target(0, limit);
        for _ in 0..pictures {
            let keyframe = encoder.frames.is_empty();
            let packets = encoder.picture(keyframe);
            viewer.take(&packets);
        }
        let temporal = decode(&viewer, &encoder.frames);
        let highest = temporal.iter().rev().take(3).max().copied();
        assert_eq!(highest, Some(limit), "after {}", temporal.len());
    }
    viewer.assert_no_gaps();
    assert_eq!(viewer.asked, 0, "temporal layers need no key frame");
}

#[test]
fn random_targets_leave_everything_decodable_and_what_is_sent_again_is_equal() {
    let mut random = SmallRng::seed_from_u64(9);
    let mut viewer = Viewer::new(Codec::Vp8, false, 360);
    let mut encoder = Encoder::new();
    for picture in 0..3_000 {
        if random.random_ratio(1, 6) {
            viewer.target(0, random.random_range(0..3));
        }
        let packets = encoder.picture(picture == 0 || random.random_ratio(1, 200));
        viewer.take(&packets);
        if picture > 100 && random.random_ratio(1, 10) {
            let index = viewer.received.len() - random.random_range(1..40);
            if let Some(again) = viewer.again(index) {
                assert_eq!(
                    again, viewer.received[index].bytes,
                    "the same SRTP nonce, so equal to the bit"
                );
            }
        }
    }
    decode(&viewer, &encoder.frames);
    viewer.assert_no_gaps();
}
