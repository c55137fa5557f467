//! What may be asked of a slot's voice, and what its subscriber negotiated.

use crate::allocator;
use crate::downtrack::SlotFormat;
use crate::negotiated::{Codec, MAX_LAYERS};
use crate::units::PayloadType;

use super::resend_ring::Repeats;

/// How a slot's voice is sent. The default is as it comes: each frame in a packet of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioFormat {
    /// Earlier packets whose frames each packet carries again, 0–3. Nothing without RED in the subscriber's answer.
    pub redundancy: u8,
    /// How many packets earlier the first of them is, and each next one to it, 1–5: losses that last for up to
    /// `redundancy` × `distance` packets are made good. RED reaches back 341 ms and no further.
    pub distance: u8,
    /// Frames that go in one packet, 1–3 and 60 ms at most. 1 without RED.
    pub frames_per_packet: u8,
    /// The layer of the voice, 0 the full one; another one where that is not being sent.
    pub layer: u8,
    /// Keep what was sent, for [`Downtrack::resend_audio`](crate::downtrack::Downtrack::resend_audio).
    pub resend: bool,
}

impl Default for AudioFormat {
    fn default() -> Self {
        Self {
            redundancy: 0,
            distance: 1,
            frames_per_packet: 1,
            layer: 0,
            resend: false,
        }
    }
}

impl From<allocator::Voice> for AudioFormat {
    fn from(voice: allocator::Voice) -> Self {
        Self {
            redundancy: voice.redundancy,
            distance: voice.distance,
            frames_per_packet: voice.bundle,
            layer: match voice.layer {
                allocator::VoiceLayer::Full => 0,
                allocator::VoiceLayer::Low => 1,
            },
            resend: false,
        }
        .bounded()
    }
}

impl AudioFormat {
    pub(super) fn repeats(&self) -> Repeats {
        Repeats {
            frames: self.redundancy,
            distance: self.distance,
        }
    }

    pub(super) fn bounded(self) -> Self {
        Self {
            redundancy: self.redundancy.min(3),
            distance: self.distance.clamp(1, 5),
            frames_per_packet: self.frames_per_packet.clamp(1, 3),
            layer: self.layer.min(MAX_LAYERS as u8 - 1),
            ..self
        }
    }
}

/// Payload types of RED and of the Opus in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RedFormat {
    pub red: PayloadType,
    pub opus: PayloadType,
}

impl RedFormat {
    /// `None` where it is not in the answer.
    pub fn of(format: &SlotFormat) -> Option<Self> {
        Some(Self {
            red: format.outgoing(Codec::Red)?.payload_type,
            opus: format.outgoing(Codec::Opus)?.payload_type,
        })
    }
}
