//! What a router needs to know of a packet's payload, the same for every codec.

use super::described_frame::{Described, DescribedFrame};
use super::vp8::Vp8Descriptor;
use super::vp9::Vp9Descriptor;
use super::{av1, h264};
use crate::negotiated::{Codec, MAX_LAYERS};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameInfo {
    /// A receiver may begin with this packet: the first of a key frame, or any of audio.
    pub keyframe: bool,
    /// The packet may be a frame's first. For H.264 and AV1 more than one packet of a frame may
    /// say so; a change of the RTP timestamp tells frames apart.
    pub start_of_frame: bool,
    /// The frame's last packet, where that is told: a marker bit ends a picture of all spatial layers.
    pub end_of_frame: bool,
    /// Width and height in pixels, where this packet tells of them.
    pub resolution: Option<(u16, u16)>,
    pub temporal_id: u8,
    /// Of SVC streams; 0 in simulcast.
    pub spatial_id: u8,
    /// One may switch up to the packet's temporal layer here.
    pub layer_sync: bool,
    pub vp8: Option<Vp8Descriptor>,
    pub vp9: Option<Vp9Layer>,
    /// By the dependency descriptor, which goes before what the payload tells.
    pub described: Option<DescribedFrame>,
}

/// What VP9's own descriptor tells of a frame's place among the spatial layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vp9Layer {
    /// The frame refers to earlier pictures.
    pub inter_picture_predicted: bool,
    /// No higher spatial layer of the same picture refers to it.
    pub not_spatial_reference: bool,
    /// Spatial layers that are sent from here on, and their heights in pixels; 0 where not told.
    pub spatial_layers: u8,
    pub heights: [u16; MAX_LAYERS],
}

impl FrameInfo {
    /// Takes over what a dependency descriptor tells: the payload may be encrypted end to end.
    pub fn describe(&mut self, described: Described) {
        self.keyframe = described.frame.has_structure;
        self.start_of_frame = described.start_of_frame;
        self.end_of_frame = described.end_of_frame;
        self.resolution = described.resolution.or(self.resolution);
        self.spatial_id = described.spatial_id;
        self.temporal_id = described.temporal_id;
        self.described = Some(described.frame);
    }
}

/// Payloads that cannot be read (or are encrypted end to end) give the default: neither a key
/// frame nor a frame's start, base layer.
pub fn describe(codec: Codec, payload: &[u8]) -> FrameInfo {
    match codec {
        Codec::Opus | Codec::Red => Some(FrameInfo {
            keyframe: true,
            start_of_frame: true,
            ..FrameInfo::default()
        }),
        Codec::Vp8 => Vp8Descriptor::parse(payload).map(FrameInfo::from),
        Codec::Vp9 { .. } => Vp9Descriptor::parse(payload).map(FrameInfo::from),
        Codec::H264 { .. } => h264::describe(payload).map(FrameInfo::from),
        Codec::Av1 { .. } => av1::describe(payload).map(FrameInfo::from),
    }
    .unwrap_or_default()
}

impl From<Vp8Descriptor> for FrameInfo {
    fn from(descriptor: Vp8Descriptor) -> Self {
        Self {
            keyframe: descriptor.keyframe,
            start_of_frame: descriptor.start_of_frame,
            resolution: descriptor.resolution,
            temporal_id: descriptor.temporal_id,
            spatial_id: 0,
            layer_sync: descriptor.layer_sync,
            vp8: Some(descriptor),
            ..Self::default()
        }
    }
}

impl From<Vp9Descriptor> for FrameInfo {
    fn from(descriptor: Vp9Descriptor) -> Self {
        Self {
            keyframe: descriptor.is_keyframe(),
            start_of_frame: descriptor.start_of_frame,
            resolution: descriptor.resolution,
            temporal_id: descriptor.temporal_id,
            spatial_id: descriptor.spatial_id,
            layer_sync: descriptor.switching_up,
            end_of_frame: descriptor.end_of_frame,
            vp9: Some(Vp9Layer {
                inter_picture_predicted: descriptor.inter_picture_predicted,
                not_spatial_reference: descriptor.not_spatial_reference,
                spatial_layers: descriptor.spatial_layers,
                heights: descriptor.heights,
            }),
            ..Self::default()
        }
    }
}

impl From<h264::H264Info> for FrameInfo {
    fn from(info: h264::H264Info) -> Self {
        Self {
            keyframe: info.keyframe,
            start_of_frame: info.start_of_frame,
            resolution: info.resolution,
            ..Self::default()
        }
    }
}

impl From<av1::Av1Info> for FrameInfo {
    fn from(info: av1::Av1Info) -> Self {
        Self {
            keyframe: info.keyframe,
            start_of_frame: info.start_of_frame,
            resolution: info.resolution,
            temporal_id: info.temporal_id,
            spatial_id: info.spatial_id,
            ..Self::default()
        }
    }
}
