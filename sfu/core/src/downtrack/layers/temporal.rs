//! Temporal layers by VP8's own descriptor (RFC 7741, section 4.2): TID, and Y where one may go up.

use super::{Limit, Verdict};
use crate::pool::Packet;

#[derive(Clone, Debug, Default)]
pub struct Temporal {
    current: u8,
    /// RTP timestamp of the picture last decided about.
    picture: Option<u32>,
}

impl Temporal {
    pub fn select(&mut self, packet: &Packet, limit: Limit) -> Verdict {
        let frame = &packet.frame;
        let begins = match self.picture {
            None => true,
            // A picture keeps to one choice; packets that come late are of an earlier one.
            Some(picture) => (packet.timestamp.wrapping_sub(picture) as i32) > 0,
        };
        if begins {
            self.picture = Some(packet.timestamp);
            self.current = if frame.keyframe {
                limit.temporal
            } else if frame.layer_sync && frame.temporal_id == self.current.saturating_add(1) {
                // One step at a time: a frame with Y refers to the base layer only, but those of the layers between
                // that follow it may refer to frames that were left out.
                (self.current + 1).min(limit.temporal)
            } else {
                self.current.min(limit.temporal)
            };
        }
        match frame.temporal_id <= self.current {
            true => Verdict::Forward,
            false => Verdict::Drop,
        }
    }
}
