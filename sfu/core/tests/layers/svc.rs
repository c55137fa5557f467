//! An encoder that writes dependency descriptors as Chromium's do, and remembers what each frame truly refers to.

use std::time::{Duration, Instant};

use tianqiao_sfu_core::negotiated::Codec;
use tianqiao_sfu_core::packet::described_frame::DescriptorReader;
use tianqiao_sfu_core::packet::payload::{self, FrameInfo};
use tianqiao_sfu_core::pool::{PacketInfo, PacketPool, PacketRef};
use tianqiao_sfu_core::units::ExtendedSeq;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    pub spatial: u8,
    pub temporal: u8,
    /// Spatial layers refer to each other in key frames only (L3T3_KEY).
    pub key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dti {
    NotPresent = 0,
    Discardable = 1,
    Switch = 2,
    Required = 3,
}

/// A frame of one spatial layer, as it truly is.
#[derive(Clone, Debug)]
pub struct Frame {
    pub id: u32,
    pub picture: u32,
    pub spatial: u8,
    pub temporal: u8,
    pub keyframe: bool,
    /// Ids.
    pub references: Vec<u32>,
    pub dtis: Vec<Dti>,
}

impl Mode {
    pub fn targets(self) -> impl Iterator<Item = (u8, u8)> {
        (0..self.spatial).flat_map(move |spatial| (0..self.temporal).map(move |temporal| (spatial, temporal)))
    }

    fn dti(self, (target_spatial, target_temporal): (u8, u8), spatial: u8, temporal: u8, key: bool) -> Dti {
        let in_space = match self.key && !key {
            true => spatial == target_spatial,
            false => spatial <= target_spatial,
        };
        if !in_space || temporal > target_temporal {
            Dti::NotPresent
        } else if key || (spatial == target_spatial && temporal == 0) {
            Dti::Switch
        } else if spatial < target_spatial {
            Dti::Required
        } else if temporal == target_temporal {
            Dti::Discardable
        } else {
            Dti::Switch
        }
    }

    fn dtis(self, spatial: u8, temporal: u8, key: bool) -> Vec<Dti> {
        self.targets()
            .map(|target| self.dti(target, spatial, temporal, key))
            .collect()
    }
}

pub struct Encoder {
    pub mode: Mode,
    pub codec: Codec,
    /// Index of the simulcast stream.
    pub stream: u8,
    pub frames: Vec<Frame>,
    /// Spatial layers that are sent: all, or the lower ones.
    pub active: u8,
    announced: u8,
    pub seq: ExtendedSeq,
    picture: u32,
    /// Of the first frame, so that numbers wrap.
    pub first_number: u16,
    /// Pictures since the last key frame.
    since_key: u32,
    /// Latest frame of each spatial and temporal layer, latest frame of each chain.
    latest: [[Option<u32>; 3]; 3],
    chains: [u32; 3],
    reader: DescriptorReader,
    pool: PacketPool,
    pub now: Instant,
}

impl Encoder {
    pub fn new(mode: Mode, codec: Codec, now: Instant) -> Self {
        Self {
            mode,
            codec,
            stream: 0,
            frames: Vec::new(),
            active: mode.spatial,
            announced: mode.spatial,
            seq: ExtendedSeq(65_500),
            picture: 0,
            first_number: 65_400,
            since_key: 0,
            latest: [[None; 3]; 3],
            chains: [0; 3],
            reader: DescriptorReader::default(),
            pool: PacketPool::new(4_000),
            now,
        }
    }

    /// The packets of all layers of the next picture, 33 ms after the one before.
    pub fn picture(&mut self, keyframe: bool) -> Vec<PacketRef> {
        self.now += Duration::from_millis(33);
        self.picture += 1;
        if keyframe || self.picture == 1 {
            self.since_key = 0;
            self.latest = [[None; 3]; 3];
        }
        let key = self.since_key == 0;
        let pattern: &[u8] = [&[0][..], &[0, 1], &[0, 2, 1, 2]][usize::from(self.mode.temporal) - 1];
        let temporal = pattern[self.since_key as usize % pattern.len()];
        self.since_key += 1;
        let active = self.active;
        (0..active)
            .flat_map(|spatial| self.frame(spatial, temporal, key, spatial + 1 == active))
            .collect()
    }

    fn frame(&mut self, spatial: u8, temporal: u8, key: bool, last: bool) -> Vec<PacketRef> {
        let id = self.frames.len() as u32;
        let [s, t] = [usize::from(spatial), usize::from(temporal)];
        let mut references = Vec::new();
        if !key {
            // The latest of its own layer or below; the upper temporal layers refer downwards only.
            let below = self.latest[s][..t.max(1)].iter().flatten().max();
            references.extend(below.copied());
        }
        if spatial > 0 && (key || !self.mode.key) {
            references.push(id - 1);
        }
        let begins = key && spatial == 0;
        let diffs: Vec<u8> = (0..usize::from(self.mode.spatial))
            .map(|chain| {
                if begins {
                    0
                } else {
                    (id - self.chains[chain]).min(255) as u8
                }
            })
            .collect();
        if temporal == 0 {
            for chain in s..usize::from(self.mode.spatial) {
                if key || chain == s || !self.mode.key {
                    self.chains[chain] = id;
                }
            }
        }
        if key {
            self.latest[s] = [None; 3];
        }
        self.latest[s][t] = Some(id);
        let frame = Frame {
            id,
            picture: self.picture,
            spatial,
            temporal,
            keyframe: begins,
            references,
            dtis: self.mode.dtis(spatial, temporal, key),
        };
        let packets = self.packets(&frame, key, &diffs, last);
        self.frames.push(frame);
        packets
    }

    fn packets(&mut self, frame: &Frame, key: bool, diffs: &[u8], last: bool) -> Vec<PacketRef> {
        let count = 1 + u32::from(frame.spatial) + u32::from(key);
        let mask = (frame.spatial == 0 && (self.active != self.announced || (key && self.active < self.mode.spatial)))
            .then_some(self.active);
        if mask.is_some() || key {
            self.announced = self.active;
        }
        let mut packets = Vec::new();
        for index in 0..count {
            let (first, end) = (index == 0, index + 1 == count);
            let descriptor = self.descriptor(frame, key, diffs, first, end, mask.filter(|_| first));
            let payload = self.payload(frame, index, count);
            let mut info = FrameInfo::default();
            if self.codec == (Codec::Av1 { profile: 0 }) {
                info = payload::describe(self.codec, &payload);
            }
            info.describe(self.reader.read(&descriptor).expect("readable"));
            self.seq.0 += 1;
            let info = PacketInfo {
                seq: self.seq,
                timestamp: self.picture.wrapping_mul(2_970),
                marker: end && last,
                codec: self.codec,
                layer: self.stream,
                arrival: self.now,
                frame: info,
                audio_level: None,
                video_orientation: None,
                recovered: false,
            };
            packets.push(self.pool.fill(info, &payload, &descriptor).expect("fits"));
        }
        packets
    }

    /// An OBU of a frame with its layers, then what a test reads: frame, packet and packets of the frame.
    fn payload(&self, frame: &Frame, index: u32, count: u32) -> Vec<u8> {
        let fragment = u8::from(index > 0) << 7 | u8::from(index + 1 < count) << 6;
        let mut payload = vec![fragment | 0x10 | u8::from(frame.keyframe && index == 0) << 3, 0x34];
        payload.push(frame.temporal << 5 | frame.spatial << 3);
        for value in [frame.id, index, count] {
            payload.extend(value.to_be_bytes());
        }
        payload.resize(200, 0);
        payload
    }

    fn descriptor(
        &self,
        frame: &Frame,
        key: bool,
        diffs: &[u8],
        first: bool,
        end: bool,
        active: Option<u8>,
    ) -> Vec<u8> {
        let mut bits = Bits::default();
        bits.put(u32::from(first), 1);
        bits.put(u32::from(end), 1);
        let template = usize::from(frame.spatial) * (usize::from(self.mode.temporal) + 1)
            + if key { 0 } else { usize::from(frame.temporal) + 1 };
        bits.put(template as u32 + 7, 6);
        bits.put((self.first_number.wrapping_add(frame.id as u16)).into(), 16);
        let structure = frame.keyframe && first;
        // Frame and chain differences are written out with each first packet; templates have those of most others.
        if !first {
            return bits.bytes;
        }
        bits.put(u32::from(structure), 1);
        bits.put(u32::from(active.is_some()), 1);
        bits.put(0b011, 3);
        if structure {
            self.structure(&mut bits);
        }
        if let Some(active) = active {
            let targets: Vec<_> = self.mode.targets().collect();
            for &(spatial, _) in targets.iter().rev() {
                bits.put(u32::from(spatial < active), 1);
            }
        }
        for reference in &frame.references {
            bits.put(2, 2);
            bits.put(frame.id - reference - 1, 8);
        }
        bits.put(0, 2);
        for &diff in diffs {
            bits.put(diff.into(), 8);
        }
        bits.bytes
    }

    fn structure(&self, bits: &mut Bits) {
        let targets = u32::from(self.mode.spatial * self.mode.temporal);
        bits.put(7, 6);
        bits.put(targets - 1, 5);
        // Of each spatial layer: one for its key frame, one for each temporal layer.
        let templates: Vec<(u8, u8, bool)> = (0..self.mode.spatial)
            .flat_map(|spatial| {
                let deltas = (0..self.mode.temporal).map(move |temporal| (spatial, temporal, false));
                std::iter::once((spatial, 0, true)).chain(deltas)
            })
            .collect();
        for pair in templates.windows(2) {
            bits.put(
                match (pair[1].0 > pair[0].0, pair[1].1 > pair[0].1) {
                    (true, _) => 2,
                    (_, true) => 1,
                    _ => 0,
                },
                2,
            );
        }
        bits.put(3, 2);
        for &(spatial, temporal, key) in &templates {
            for dti in self.mode.dtis(spatial, temporal, key) {
                bits.put(dti as u32, 2);
            }
        }
        for _ in &templates {
            bits.put(0, 1);
        }
        let chains = u32::from(self.mode.spatial);
        bits.non_symmetric(chains, targets + 1);
        for (spatial, _) in self.mode.targets() {
            bits.non_symmetric(spatial.into(), chains);
        }
        for _ in &templates {
            for _ in 0..chains {
                bits.put(0, 4);
            }
        }
        bits.put(1, 1);
        for spatial in 0..self.mode.spatial {
            let height = 720 >> (self.mode.spatial - 1 - spatial);
            bits.put(height * 16 / 9 - 1, 16);
            bits.put(height - 1, 16);
        }
    }
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn put(&mut self, value: u32, count: usize) {
        for bit in (0..count).rev() {
            if self.at.is_multiple_of(8) {
                self.bytes.push(0);
            }
            let last = self.bytes.last_mut().expect("pushed");
            *last |= ((value >> bit & 1) as u8) << (7 - self.at % 8);
            self.at += 1;
        }
    }

    /// `ns(n)` of the AV1 specification, section 4.10.7.
    fn non_symmetric(&mut self, value: u32, limit: u32) {
        let width = 32 - limit.leading_zeros();
        let short = (1 << width) - limit;
        if value < short {
            self.put(value, width as usize - 1);
        } else {
            let value = value + short;
            self.put(value >> 1, width as usize - 1);
            self.put(value & 1, 1);
        }
    }
}
