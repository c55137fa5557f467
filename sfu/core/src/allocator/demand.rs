//! What goes into the allocator: the link of one subscriber, and what each of its slots is to show.
//! All bit rates are those on the wire, headers included, unless a field says otherwise.

use std::time::Duration;

use crate::negotiated::MAX_LAYERS;
use crate::units::{Bitrate, TrackId};

/// Temporal layers that are told apart; of a stream with more the third stands for all above it.
/// Browsers send three at most (L1T3, L3T3_KEY).
pub const MAX_TEMPORAL: usize = 3;

/// How the subscriber's link is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    /// What it is thought to carry.
    pub estimate: Bitrate,
    /// The same without what is held back to drain a queue, which is over in a second: pictures wait for that.
    pub undrained: Bitrate,
    /// What it would carry if it lost nothing: redundancy is the answer to losses, not less of it.
    pub lossless: Bitrate,
    /// Share of the packets that are lost on it, 0 to 1.
    pub loss: f32,
    /// Mean number of packets lost in a row; 1 or less where they are lost one by one.
    pub loss_burst: f32,
    pub round_trip: Duration,
    /// What goes over it beside RTP: still pictures, the page's own messages.
    pub reserved: Bitrate,
    /// How many earlier frames a packet of voice may repeat, 0–3; `None` where the subscriber has no RED (RFC 2198).
    pub red: Option<u8>,
    /// What is lost of voices is sent again, and waited for.
    pub resends: bool,
    /// Its estimator may look for what is desired, with padding.
    pub is_probed: bool,
    pub mode: Mode,
}

/// What the person at the other end has asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    #[default]
    Normal,
    AudioOnly,
    /// Never more than this, whatever the link would carry.
    SaveData {
        cap: Bitrate,
    },
}

/// What one slot is to show. A connection's slots come in the same order in every call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Demand {
    /// The slot has no source.
    #[default]
    Empty,
    Audio(AudioDemand),
    Video(VideoDemand),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AudioDemand {
    pub track: TrackId,
    /// 0 is the voice that must be heard before all others: the dominant speaker, then the loudest.
    pub order: u8,
    /// Frames come one after the other; not so in silence with DTX.
    pub is_flowing: bool,
    /// As its publisher sends it to everybody.
    pub full: VoiceRate,
    /// A second, thrifty stream of the same microphone.
    pub low: Option<LowVoice>,
}

/// A stream of voice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoiceRate {
    /// Of the codec's frames alone while somebody speaks, without any header.
    pub payload: Bitrate,
    /// From packet to packet.
    pub interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowVoice {
    pub rate: VoiceRate,
    pub state: LayerState,
}

/// Whether a layer can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerState {
    /// Its publisher does not have it, or was asked for it in vain.
    #[default]
    Absent,
    /// Its publisher sends it only while somebody wants it, and nobody does.
    OnRequest,
    Active,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoSource {
    Camera,
    Screen,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VideoDemand {
    pub track: TrackId,
    pub source: VideoSource,
    pub is_active_speaker: bool,
    /// Place in the viewport: 0 comes first.
    pub order: u16,
    /// Height in pixels at which it is shown; 0: not at all.
    pub height: u16,
    /// By spatial (SVC) or simulcast index.
    pub layers: [VideoLayer; MAX_LAYERS],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoLayer {
    pub state: LayerState,
    /// In pixels; 0: not known yet.
    pub height: u16,
    /// How many temporal layers it has, at least 1.
    pub temporal_layers: u8,
    /// The most that its publisher was told to send of it.
    pub ceiling: Option<Bitrate>,
    /// What goes to a subscriber that gets the temporal layers up to this one (with SVC: and the spatial
    /// layers below that it needs).
    pub rates: [MeasuredRate; MAX_TEMPORAL],
}

/// 0 where nothing was measured yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeasuredRate {
    /// Over about a second.
    pub smoothed: Bitrate,
    /// The highest smoothed value of the last ten seconds; of a screen, of the last thirty: slides are shown longer.
    pub peak: Bitrate,
}

impl Demand {
    pub fn track(&self) -> Option<TrackId> {
        match self {
            Self::Empty => None,
            Self::Audio(audio) => Some(audio.track),
            Self::Video(video) => Some(video.track),
        }
    }
}
