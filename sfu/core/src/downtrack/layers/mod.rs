//! Which packets of one stream a subscriber gets: spatial layers of SVC and temporal layers, so that what is sent can
//! always be decoded. `docs/layers.md` tells the rules.

mod decode_targets;
mod frame_numbers;
mod temporal;
mod vp9;
mod window;

pub use decode_targets::DecodeTargets;
pub use frame_numbers::{DescriptorEdit, FrameNumbers, MAX_GROWTH};

use crate::pool::Packet;
use crate::track::Layer;
use temporal::Temporal;
use vp9::Vp9Layers;

/// Up to which layers of a stream a slot is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    pub spatial: u8,
    pub temporal: u8,
}

impl Limit {
    pub const ALL: Self = Self {
        spatial: u8::MAX,
        temporal: u8::MAX,
    };

    fn within(self, layer: &Layer) -> Self {
        Self {
            spatial: self.spatial.min(layer.spatial.count() as u8 - 1),
            ..self
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Drop,
    Forward,
}

/// What is written alike into the packets of a stretch, also when they are sent again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LayerStretch {
    /// A frame of this spatial layer ends its picture.
    pub last_spatial: Option<u8>,
    /// The active decode targets, where they are fewer than those of the publisher.
    pub mask: Option<u32>,
    /// Every frame ends a picture of its own.
    pub splits_pictures: bool,
}

impl LayerStretch {
    /// Is it the last packet of its picture, as the subscriber gets it?
    pub fn marker(&self, packet: &Packet) -> bool {
        let ends = self.splits_pictures || self.last_spatial == Some(packet.frame.spatial_id);
        packet.marker || (packet.frame.end_of_frame && ends)
    }
}

/// One for each way in which a stream tells of its layers.
#[derive(Clone, Debug)]
pub enum LayerSelector {
    /// It does not: everything is forwarded.
    Whole,
    Temporal(Temporal),
    Vp9(Vp9Layers),
    Descriptor(DecodeTargets),
}

impl LayerSelector {
    /// For a stream that begins with the key frame of `packet`.
    pub fn starting(packet: &Packet, layer: &Layer) -> Self {
        if packet.frame.described.is_some() && layer.spatial.targets.is_some() {
            Self::Descriptor(DecodeTargets::default())
        } else if packet.frame.vp9.is_some() {
            Self::Vp9(Vp9Layers::default())
        } else if packet.frame.vp8.is_some() {
            Self::Temporal(Temporal::default())
        } else {
            Self::Whole
        }
    }

    // Inlined, what has no layers costs a comparison.
    #[inline]
    pub fn select(&mut self, packet: &Packet, limit: Limit, layer: &Layer) -> Verdict {
        match self {
            Self::Whole => Verdict::Forward,
            Self::Temporal(temporal) => temporal.select(packet, limit),
            Self::Vp9(vp9) => vp9.select(packet, limit.within(layer)),
            Self::Descriptor(targets) => targets.select(packet, limit, layer.spatial.targets.as_ref()),
        }
    }

    pub fn stretch(&self) -> LayerStretch {
        match self {
            Self::Whole | Self::Temporal(_) => LayerStretch::default(),
            Self::Vp9(vp9) => vp9.stretch(),
            Self::Descriptor(targets) => targets.stretch(),
        }
    }

    /// Whether only a key frame leads to `limit`.
    pub fn needs_keyframe(&self, limit: Limit, layer: &Layer) -> bool {
        match self {
            Self::Whole | Self::Temporal(_) => false,
            Self::Vp9(vp9) => vp9.needs_keyframe(limit.within(layer)),
            Self::Descriptor(targets) => targets.needs_keyframe(limit, layer.spatial.targets.as_ref()),
        }
    }
}
