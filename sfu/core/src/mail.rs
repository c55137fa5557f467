//! What workers of one node say to each other: the packets of a track, and what its subscribers
//! elsewhere ask of its publisher. A relay to another node carries the same.

use arrayvec::ArrayVec;

use crate::negotiated::{Codec, MAX_LAYERS};
use crate::pool::PacketRef;
use crate::track::MappedReport;
use crate::units::TrackId;

/// A frame of video is a mail or two; an audio packet wastes the rest of its place in the queue.
pub const PACKETS_PER_MAIL: usize = 8;

#[derive(Debug)]
pub enum Mail {
    /// To the track's home: its packets are wanted here.
    Subscribe { track: TrackId },
    /// To the track's home: no longer.
    Unsubscribe { track: TrackId },
    /// To the home of another node's track: the layers that somebody here has a use for.
    Wanted { track: TrackId, layers: u8 },
    /// To the track's home: a subscriber cannot decode without a key frame of this layer.
    Keyframe { track: TrackId, layer: u8 },
    /// From the track's home, in the order of their arrival.
    Packets {
        track: TrackId,
        packets: ArrayVec<PacketRef, PACKETS_PER_MAIL>,
    },
    SenderReport {
        track: TrackId,
        layer: u8,
        report: MappedReport,
    },
    /// From the track's home, to a new subscriber or of a new track: what is known of the layers so far.
    Layers {
        track: TrackId,
        layers: ArrayVec<LayerState, MAX_LAYERS>,
        /// How many of them were negotiated.
        streams: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerState {
    pub codec: Option<Codec>,
    pub resolution: Option<(u16, u16)>,
    pub last_packet: Option<std::time::Instant>,
    pub report: Option<MappedReport>,
}
