//! VP9 in flexible mode without a dependency descriptor: layers by its own.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::payload;
use tianqiao_sfu_core::pool::{PacketInfo, PacketPool, PacketRef};
use tianqiao_sfu_core::units::ExtendedSeq;

use crate::viewer::{Received, Viewer};

const VP9: Codec = Codec::Vp9 { profile: 0 };

struct Frame {
    picture: u32,
    spatial: u8,
    temporal: u8,
    keyframe: bool,
    references: Vec<u32>,
}

/// Three spatial and three temporal layers; `key`: the spatial ones refer to each other in key pictures only.
struct Encoder {
    key: bool,
    frames: Vec<Frame>,
    picture: u32,
    since_key: u32,
    latest: [[Option<u32>; 3]; 3],
    seq: u64,
    pool: PacketPool,
    now: Instant,
}

impl Encoder {
    fn new(key: bool) -> Self {
        Self {
            key,
            frames: Vec::new(),
            picture: 0,
            since_key: 0,
            latest: [[None; 3]; 3],
            seq: 65_000,
            pool: PacketPool::new(2_000),
            now: Instant::now(),
        }
    }

    fn picture(&mut self, keyframe: bool) -> Vec<PacketRef> {
        self.now += Duration::from_millis(33);
        self.picture += 1;
        if keyframe {
            self.since_key = 0;
            self.latest = [[None; 3]; 3];
        }
        let temporal = [0, 2, 1, 2][self.since_key as usize % 4];
        let key = self.since_key == 0;
        self.since_key += 1;
        (0..3).flat_map(|spatial| self.frame(spatial, temporal, key)).collect()
    }

    fn frame(&mut self, spatial: u8, temporal: u8, key: bool) -> Vec<PacketRef> {
        let id = self.frames.len() as u32;
        let [s, t] = [usize::from(spatial), usize::from(temporal)];
        let depends = spatial > 0 && (key || !self.key);
        let mut references = Vec::new();
        if !key {
            references.extend(self.latest[s][..t.max(1)].iter().flatten().max().copied());
        }
        if depends {
            references.push(id - 1);
        }
        self.latest[s][t] = Some(id);
        self.frames.push(Frame {
            picture: self.picture,
            spatial,
            temporal,
            keyframe: key && spatial == 0,
            references,
        });
        (0..2)
            .map(|index| self.packet(id, spatial, temporal, key, depends, index))
            .collect()
    }

    fn packet(&mut self, id: u32, spatial: u8, temporal: u8, key: bool, depends: bool, index: u8) -> PacketRef {
        let structure = key && spatial == 0 && index == 0;
        let unused = spatial == 2 || (self.key && !key);
        let first = 0xb0
            | u8::from(!key) << 6
            | u8::from(index == 0) << 3
            | u8::from(index == 1) << 2
            | u8::from(structure) << 1
            | u8::from(unused);
        let mut payload = vec![first];
        payload.extend((0x8000 | self.picture as u16).to_be_bytes());
        payload.push(temporal << 5 | 0x10 | spatial << 1 | u8::from(depends));
        if !key {
            payload.push(2);
        }
        if structure {
            payload.push(2 << 5 | 0x10);
            for height in [180u16, 360, 720] {
                payload.extend((height * 16 / 9).to_be_bytes());
                payload.extend(height.to_be_bytes());
            }
        }
        payload.extend(id.to_be_bytes());
        self.seq += 1;
        let info = PacketInfo {
            seq: ExtendedSeq(self.seq),
            timestamp: self.picture.wrapping_mul(2_970),
            marker: index == 1 && spatial == 2,
            codec: VP9,
            layer: 0,
            arrival: self.now,
            frame: payload::describe(VP9, &payload),
            audio_level: None,
            video_orientation: None,
            recovered: false,
        };
        self.pool.fill(info, &payload, &[]).expect("fits")
    }
}

fn id(packet: &Received) -> u32 {
    let end = packet.payload.len();
    u32::from_be_bytes(packet.payload[end - 4..].try_into().expect("four bytes"))
}

/// The highest layers of each picture that came.
fn decode(viewer: &Viewer, frames: &[Frame]) -> Vec<(u8, u8)> {
    let mut decoded = HashSet::new();
    let mut pictures: Vec<(u32, u8, u8)> = Vec::new();
    for (at, pair) in viewer.received.chunks(2).enumerate() {
        let frame = &frames[id(&pair[0]) as usize];
        assert_eq!(id(&pair[0]), id(&pair[1]), "whole frames");
        if frame.keyframe {
            decoded.clear();
        }
        for reference in &frame.references {
            assert!(
                decoded.contains(reference),
                "{} of picture {}",
                id(&pair[0]),
                frame.picture
            );
        }
        decoded.insert(id(&pair[0]));
        let next = viewer.received.get(2 * at + 2);
        if let Some(next) = next {
            assert_eq!(
                pair[1].marker,
                next.timestamp != pair[1].timestamp,
                "picture {}",
                frame.picture
            );
        }
        pictures.retain(|picture| picture.0 != frame.picture);
        pictures.push((frame.picture, frame.spatial, frame.temporal));
    }
    pictures
        .into_iter()
        .map(|(_, spatial, temporal)| (spatial, temporal))
        .collect()
}

#[test]
fn a_viewer_gets_the_layer_that_fits() {
    for key in [false, true] {
        for (height, spatial) in [(180, 0), (360, 1), (720, 2)] {
            let mut viewer = Viewer::new(VP9, false, height);
            let mut encoder = Encoder::new(key);
            for picture in 0..40 {
                let packets = encoder.picture(picture == 0);
                viewer.take(&packets);
            }
            viewer.assert_no_gaps();
            let pictures = decode(&viewer, &encoder.frames);
            assert!(pictures.len() == 40 && pictures.iter().all(|picture| picture.0 == spatial));
            assert_eq!(viewer.asked, 0);
            let heights: Vec<_> = viewer
                .track
                .layers_view()
                .iter()
                .filter_map(|layer| layer.height)
                .collect();
            assert_eq!(heights, [180, 360, 720]);
        }
    }
}

#[test]
fn random_targets_are_reached_and_everything_can_be_decoded() {
    let mut random = SmallRng::seed_from_u64(11);
    for key in [false, true] {
        let mut viewer = Viewer::new(VP9, false, 720);
        let mut encoder = Encoder::new(key);
        let mut due = None;
        for change in 0..150 {
            let target = (random.random_range(0..3), random.random_range(0..3));
            viewer.target(target.0, target.1);
            let pictures = random.random_range(1..30);
            for picture in 0..pictures {
                if viewer.asks.take().is_some() {
                    due.get_or_insert(picture + 2);
                }
                let keyframe = due.is_some_and(|due| due <= picture) || encoder.frames.is_empty();
                if keyframe {
                    due = None;
                }
                let packets = encoder.picture(keyframe);
                viewer.take(&packets);
                if picture % 3 == 0 {
                    viewer.retarget();
                }
            }
            due = due.map(|_| 0);
            if pictures > 20 {
                let decoded = decode(&viewer, &encoder.frames);
                let last = decoded[decoded.len() - 4..].iter().copied();
                let highest = last.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1)));
                assert_eq!(highest, Some(target), "change {change}");
            }
        }
        viewer.assert_no_gaps();
        decode(&viewer, &encoder.frames);
    }
}
