//! Layers by VP9's own descriptor (RFC 9628, section 4.2), where there is no dependency descriptor.

use super::{LayerStretch, Limit, Verdict};
use crate::pool::Packet;

#[derive(Clone, Debug)]
pub struct Vp9Layers {
    spatial: u8,
    temporal: u8,
    /// RTP timestamp of the picture last decided about.
    picture: Option<u32>,
    /// Nothing of the lower spatial layers was left out since the last key frame, so one may go down to them.
    lower_intact: bool,
}

impl Default for Vp9Layers {
    fn default() -> Self {
        Self {
            spatial: 0,
            temporal: 0,
            picture: None,
            lower_intact: true,
        }
    }
}

impl Vp9Layers {
    pub fn select(&mut self, packet: &Packet, limit: Limit) -> Verdict {
        let frame = &packet.frame;
        let begins = match self.picture {
            None => true,
            Some(picture) => (packet.timestamp.wrapping_sub(picture) as i32) > 0,
        };
        if begins {
            self.picture = Some(packet.timestamp);
            self.on_picture(packet, limit);
        }
        let is_lower = frame.spatial_id < self.spatial;
        let unused = is_lower && frame.vp9.is_some_and(|vp9| vp9.not_spatial_reference);
        if unused {
            // L3T3_KEY between key frames: the layers do not refer to each other.
            self.lower_intact = false;
        }
        if unused || frame.spatial_id > self.spatial || frame.temporal_id > self.temporal {
            return Verdict::Drop;
        }
        Verdict::Forward
    }

    /// The first packet of a picture. Within one, nothing changes.
    fn on_picture(&mut self, packet: &Packet, limit: Limit) {
        let frame = &packet.frame;
        if frame.keyframe {
            (self.spatial, self.temporal) = (limit.spatial, limit.temporal);
            self.lower_intact = true;
            return;
        }
        if limit.spatial < self.spatial && self.lower_intact {
            self.spatial = limit.spatial;
        }
        let temporal = self.temporal_limit(limit);
        // U: no later picture of a higher temporal layer refers to one before this picture.
        let may_rise = frame.layer_sync && frame.temporal_id <= self.temporal;
        if temporal < self.temporal || may_rise {
            self.temporal = temporal;
        }
    }

    /// While only a key frame leads down, fewer pictures take the load off.
    fn temporal_limit(&self, limit: Limit) -> u8 {
        match limit.spatial < self.spatial {
            true => 0,
            false => limit.temporal,
        }
    }

    pub fn stretch(&self) -> LayerStretch {
        LayerStretch {
            last_spatial: Some(self.spatial),
            ..LayerStretch::default()
        }
    }

    pub fn needs_keyframe(&self, limit: Limit) -> bool {
        limit.spatial > self.spatial || (limit.spatial < self.spatial && !self.lower_intact)
    }
}
