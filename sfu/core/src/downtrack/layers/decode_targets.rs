//! Layers by the dependency descriptor (RTP Payload Format For AV1, appendix A): the payload stays unread, so this
//! serves every codec, and media that is encrypted end to end.
//!
//! A decode target is a selection of layers. A frame says of each target what it is to it, and how far back the
//! previous frame of each chain is; a chain holds the frames without which the targets it protects cannot be decoded.

use super::window::Window;
use super::{LayerStretch, Limit, Verdict};
use crate::packet::dependency_descriptor::{DecodeTarget, Dti, Dtis};
use crate::packet::described_frame::{DescribedFrame, MAX_CHAINS};
use crate::pool::Packet;
use crate::track::spatial::Targets;

/// What the subscriber gets.
#[derive(Clone, Copy, Debug)]
struct Current {
    /// Index among the decode targets.
    index: u8,
    target: DecodeTarget,
    mask: Option<u32>,
    /// What was active when `mask` was made.
    active: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Chain {
    /// Number of its latest frame.
    latest: u16,
    /// None of its frames was left out since it began.
    is_whole: bool,
}

#[derive(Clone, Debug, Default)]
pub struct DecodeTargets {
    current: Option<Current>,
    chains: [Chain; MAX_CHAINS],
    window: Window,
    /// RTP timestamp of the picture of the newest frame.
    picture: u32,
    /// A frame of it is on its way.
    is_begun: bool,
    /// Of its frames that were left out: they are missing in each target that they are present in.
    left_out: Dtis,
    /// Since the key frame a mask was written, which holds until another one is.
    was_limited: bool,
}

impl DecodeTargets {
    pub fn select(&mut self, packet: &Packet, limit: Limit, targets: Option<&Targets>) -> Verdict {
        let Some(targets) = targets else {
            return Verdict::Forward;
        };
        let Some(frame) = &packet.frame.described else {
            return self.select_unread(packet);
        };
        if self.window.is_new(frame.number) {
            self.on_frame(packet, frame, limit, targets);
        }
        // Also of a frame that was lost as a whole and comes late: its place has been kept.
        if self.window.was_dropped(frame.number) || !self.wants(frame) {
            return Verdict::Drop;
        }
        Verdict::Forward
    }

    /// A packet whose structure was lost, so that its subscriber may read it no better: as the payload says.
    fn select_unread(&self, packet: &Packet) -> Verdict {
        let target = self.current.map_or(DecodeTarget::default(), |current| current.target);
        match packet.frame.spatial_id <= target.spatial_id && packet.frame.temporal_id <= target.temporal_id {
            true => Verdict::Forward,
            false => Verdict::Drop,
        }
    }

    fn wants(&self, frame: &DescribedFrame) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| frame.dtis.of(usize::from(current.index)) != Dti::NotPresent)
    }

    fn on_frame(&mut self, packet: &Packet, frame: &DescribedFrame, limit: Limit, targets: &Targets) {
        if frame.has_structure {
            // Indices are those of another structure now; a key frame leads to any target.
            self.current = None;
            self.was_limited = false;
        }
        if packet.timestamp != self.picture {
            self.picture = packet.timestamp;
            self.is_begun = false;
            self.left_out = Dtis::default();
        }
        if self.current.is_none() || !self.is_begun {
            self.choose(frame, limit, targets);
        } else {
            self.rise(frame, limit, targets);
        }
        let dropped = !self.wants(frame);
        self.is_begun |= !dropped;
        if dropped {
            self.left_out = self.left_out.union(frame.dtis);
        }
        for (chain, &diff) in self.chains.iter_mut().zip(&frame.chain_diffs) {
            let previous = frame.number.wrapping_sub(diff.into());
            if diff == 0 {
                chain.is_whole = !dropped;
            } else if previous != chain.latest {
                chain.is_whole &= !self.window.was_dropped(previous);
            }
            chain.latest = previous;
        }
        self.window.push(frame.number, dropped);
    }

    /// At a frame of a picture of which nothing was forwarded yet.
    fn choose(&mut self, frame: &DescribedFrame, limit: Limit, targets: &Targets) {
        let (spatial, temporal) = match &self.current {
            Some(current) => (current.target.spatial_id, current.target.temporal_id),
            None => (limit.spatial, limit.temporal),
        };
        // Until there is a way to the wanted spatial layer, this one goes on; slowly where it is too much.
        let interim = match limit.spatial < spatial {
            true => 0,
            false => limit.temporal,
        };
        let steps = [
            limit,
            // One step at a time: more pictures can be had at the next switching point.
            Limit {
                spatial: limit.spatial,
                temporal: limit.temporal.min(temporal),
            },
            Limit {
                spatial,
                temporal: interim,
            },
        ];
        let mut ways = steps.iter().filter_map(|&step| best(targets, step));
        if let Some(way) = ways.find(|&way| self.may_switch(frame, way, targets)) {
            self.set(way, targets);
        }
    }

    /// At a frame of a picture that is begun. Its last frame has a marker bit, so its spatial layers stay.
    fn rise(&mut self, frame: &DescribedFrame, limit: Limit, targets: &Targets) {
        let (Some(current), Some(wanted)) = (self.current, best(targets, limit)) else {
            return;
        };
        let target = targets.structure.decode_targets[wanted];
        if target.spatial_id == current.target.spatial_id
            && target.temporal_id > current.target.temporal_id
            && self.may_switch(frame, wanted, targets)
        {
            self.set(wanted, targets);
        }
    }

    /// Can target `index` be decoded from this frame on?
    fn may_switch(&self, frame: &DescribedFrame, index: usize, targets: &Targets) -> bool {
        let target = targets.structure.decode_targets[index];
        let switches = frame.dtis.of(index) == Dti::Switch && self.left_out.of(index) == Dti::NotPresent;
        let Some(current) = self.current else {
            return switches;
        };
        if usize::from(current.index) == index {
            return true;
        }
        let shares_chain = target.chain == current.target.chain && target.spatial_id == current.target.spatial_id;
        let is_part = targets.structure.includes(current.index.into(), index);
        (is_part || switches) && (shares_chain || self.is_whole(frame, target.chain))
    }

    /// Is the chain whole, seen from this frame? Frames that were lost may come yet, those left out do not.
    fn is_whole(&self, frame: &DescribedFrame, chain: Option<u8>) -> bool {
        let Some(chain) = chain.map(usize::from).filter(|&chain| chain < MAX_CHAINS) else {
            return false;
        };
        let diff = frame.chain_diffs[chain];
        let previous = frame.number.wrapping_sub(diff.into());
        diff == 0 || (self.chains[chain].is_whole && !self.window.was_dropped(previous))
    }

    fn set(&mut self, index: usize, targets: &Targets) {
        let same = |current: &Current| (usize::from(current.index), current.active) == (index, targets.active);
        if self.current.as_ref().is_some_and(same) {
            return;
        }
        let structure = &targets.structure;
        let parts = (0..structure.decode_targets.len()).filter(|&part| structure.includes(index, part));
        let mask = parts.fold(0, |mask, part| mask | 1u32 << part) & targets.active;
        self.was_limited |= mask != targets.active;
        self.current = Some(Current {
            index: index as u8,
            target: structure.decode_targets[index],
            mask: self.was_limited.then_some(mask),
            active: targets.active,
        });
    }

    pub fn stretch(&self) -> LayerStretch {
        let Some(current) = &self.current else {
            return LayerStretch::default();
        };
        LayerStretch {
            last_spatial: Some(current.target.spatial_id),
            mask: current.mask,
            ..LayerStretch::default()
        }
    }

    pub fn needs_keyframe(&self, limit: Limit, targets: Option<&Targets>) -> bool {
        let (Some(current), Some(targets)) = (&self.current, targets) else {
            return false;
        };
        let Some(target) = best(targets, limit).map(|index| targets.structure.decode_targets[index]) else {
            return false;
        };
        let chain = target.chain.and_then(|chain| self.chains.get(usize::from(chain)));
        let is_whole = chain.is_some_and(|chain| chain.is_whole && !self.window.was_dropped(chain.latest));
        target.spatial_id != current.target.spatial_id && !is_whole
    }
}

/// The highest active decode target within `limit`, spatial before temporal; the lowest active one where none is.
fn best(targets: &Targets, limit: Limit) -> Option<usize> {
    let key = |target: &DecodeTarget| (target.spatial_id, target.temporal_id);
    let all = targets.structure.decode_targets.iter().enumerate();
    let active = all.filter(|(index, _)| targets.active >> index & 1 == 1);
    let within = |target: &DecodeTarget| target.spatial_id <= limit.spatial && target.temporal_id <= limit.temporal;
    let fits = active.clone().filter(|(_, target)| within(target));
    let best = fits.max_by_key(|(_, target)| key(target));
    best.or_else(|| active.min_by_key(|(_, target)| key(target)))
        .map(|(index, _)| index)
}
