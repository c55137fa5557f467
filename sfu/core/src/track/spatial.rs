//! What is known of the spatial layers that one stream carries (SVC), by dependency descriptors or by VP9's own.

use std::time::{Duration, Instant};

use arrayvec::ArrayVec;

use crate::negotiated::MAX_LAYERS;
use crate::packet::dependency_descriptor::{DependencyDescriptor, Dti, Structure};
use crate::pool::{MAX_DESCRIPTOR, Packet};

/// The decode targets of a stream's latest key frame.
#[derive(Debug)]
pub struct Targets {
    pub structure: Box<Structure>,
    /// What it was read from, without frame number and template: encoders repeat it with every key frame.
    raw: ArrayVec<u8, MAX_DESCRIPTOR>,
    /// A bit for each decode target that is being sent.
    pub active: u32,
}

#[derive(Debug)]
pub struct Spatial {
    pub targets: Option<Targets>,
    /// Heights in pixels, the lowest layer first; 0 where not told.
    heights: [u16; MAX_LAYERS],
    /// A bit for each layer that the publisher says it sends.
    announced: u8,
    announced_at: Option<Instant>,
    last_packets: [Option<Instant>; MAX_LAYERS],
    /// Bit s of entry u: who gets spatial layer u gets s too, between key frames.
    needs: [u8; MAX_LAYERS],
}

/// Each layer needs those below it.
const ALL_BELOW: [u8; MAX_LAYERS] = [0b1, 0b11, 0b111];

impl Default for Spatial {
    fn default() -> Self {
        Self {
            targets: None,
            heights: [0; MAX_LAYERS],
            announced: 1,
            announced_at: None,
            last_packets: [None; MAX_LAYERS],
            needs: ALL_BELOW,
        }
    }
}

impl Spatial {
    /// True: layers, their heights or which of them are sent are others than before. `silence`: after so long
    /// without a packet a layer is taken for switched off.
    pub fn on_packet(&mut self, packet: &Packet, silence: Duration) -> bool {
        let announced = match (packet.frame.described, packet.frame.vp9) {
            (Some(described), _) => {
                let fresh = described.has_structure && self.read_structure(packet);
                fresh | self.on_active(described.active, packet.arrival)
            }
            (None, Some(vp9)) if vp9.spatial_layers > 0 && packet.frame.keyframe => {
                let layers = usize::from(vp9.spatial_layers).min(MAX_LAYERS);
                self.announce(((1u16 << layers) - 1) as u8, vp9.heights, packet.arrival)
            }
            (None, Some(_)) => false,
            // Without either there is one layer, whatever the payload looks like.
            (None, None) => return false,
        };
        self.learn_needs(packet);
        let layer = usize::from(packet.frame.spatial_id).min(MAX_LAYERS - 1);
        let last = self.last_packets[layer].replace(packet.arrival);
        announced | last.is_none_or(|last| packet.arrival.saturating_duration_since(last) > silence)
    }

    /// Spatial layers of which anything is known, at least 1. One that is off counts while its height is told: its publisher
    /// can send it again.
    pub fn count(&self) -> usize {
        let announced = (u8::BITS - (self.announced | 1).leading_zeros()) as usize;
        let highest = self.heights.iter().rposition(|&height| height > 0);
        announced.max(highest.map_or(1, |highest| highest + 1))
    }

    pub fn height(&self, spatial: usize) -> Option<u16> {
        self.heights.get(spatial).copied().filter(|&height| height > 0)
    }

    pub fn needs(&self) -> [u8; MAX_LAYERS] {
        self.needs
    }

    /// Is `spatial` being sent? `newest` is when the stream's latest packet came.
    pub fn is_active(&self, spatial: usize, newest: Instant, silence: Duration) -> bool {
        let recent = |at: Option<Instant>| at.is_some_and(|at| newest.saturating_duration_since(at) < silence);
        let last = self.last_packets.get(spatial).copied().flatten();
        // What was just announced may be a packet behind.
        self.announced >> spatial & 1 == 1 && (recent(last) || recent(self.announced_at))
    }

    fn announce(&mut self, layers: u8, heights: [u16; MAX_LAYERS], now: Instant) -> bool {
        let changed = (layers, heights) != (self.announced, self.heights);
        (self.announced, self.heights, self.announced_at) = (layers, heights, Some(now));
        changed
    }

    /// True: it is another one than before.
    fn read_structure(&mut self, packet: &Packet) -> bool {
        let descriptor = packet.dependency_descriptor();
        let raw = descriptor.get(3..).unwrap_or_default();
        if self
            .targets
            .as_ref()
            .is_some_and(|targets| targets.raw.as_slice() == raw)
        {
            return false;
        }
        let Ok(parsed) = DependencyDescriptor::parse(descriptor, None) else {
            return false;
        };
        let (Some(structure), Ok(raw)) = (parsed.structure, ArrayVec::try_from(raw)) else {
            return false;
        };
        self.needs = ALL_BELOW;
        self.targets = Some(Targets {
            active: structure.all_decode_targets(),
            structure,
            raw,
        });
        true
    }

    fn on_active(&mut self, active: Option<u32>, now: Instant) -> bool {
        let (Some(active), Some(targets)) = (active, &mut self.targets) else {
            return false;
        };
        targets.active = active & targets.structure.all_decode_targets();
        let mut layers = 0;
        for (index, target) in targets.structure.decode_targets.iter().enumerate() {
            if targets.active >> index & 1 == 1 {
                layers |= 1u8.checked_shl(target.spatial_id.into()).unwrap_or(0);
            }
        }
        let mut heights = [0; MAX_LAYERS];
        for (place, size) in heights.iter_mut().zip(&targets.structure.resolutions) {
            *place = size.1;
        }
        self.announce(layers & ALL_BELOW[MAX_LAYERS - 1], heights, now)
    }

    /// Between key frames L3T3_KEY refers to no other spatial layer, L3T3 does.
    fn learn_needs(&mut self, packet: &Packet) {
        let frame = &packet.frame;
        let spatial = usize::from(frame.spatial_id);
        if !frame.start_of_frame || frame.keyframe || spatial >= MAX_LAYERS {
            return;
        }
        if let (Some(described), Some(targets)) = (frame.described, &self.targets) {
            // The layers of a key frame all have chains that begin with it, one or two frames back.
            if frame.temporal_id > 0 {
                return;
            }
            for (index, target) in targets.structure.decode_targets.iter().enumerate() {
                if let Some(needs) = self.needs.get_mut(usize::from(target.spatial_id))
                    && usize::from(target.spatial_id) > spatial
                {
                    let present = described.dtis.of(index) != Dti::NotPresent;
                    *needs = *needs & !(1 << spatial) | u8::from(present) << spatial;
                }
            }
        } else if let Some(vp9) = frame.vp9
            && vp9.inter_picture_predicted
        {
            for needs in self.needs.iter_mut().skip(spatial + 1) {
                *needs = *needs & !(1 << spatial) | u8::from(!vp9.not_spatial_reference) << spatial;
            }
        }
    }
}
