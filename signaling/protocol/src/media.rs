//! What signaling, the SFU and the client all say of tracks and receive slots.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

/// A participant, which is also one media session of the SFU: one id serves both.
/// Opaque, at most 32 characters of `[A-Za-z0-9_-]`.
pub type ParticipantId = String;

/// A published track. Unique in its meeting; written as the CSRC into every packet that the SFU
/// forwards of it, so that a receiver knows in-band whom a slot shows.
pub type TrackId = u32;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    Audio,
    Video,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum TrackSource {
    Microphone,
    /// A second, low voice of the microphone, for who listens over a weak link. Part of the microphone's track: only declared,
    /// never listed or shown.
    MicrophoneLow,
    Camera,
    Screen,
    ScreenAudio,
}

impl TrackSource {
    pub fn kind(self) -> MediaKind {
        match self {
            Self::Microphone | Self::MicrophoneLow | Self::ScreenAudio => MediaKind::Audio,
            Self::Camera | Self::Screen => MediaKind::Video,
        }
    }
}

/// What a client says of each media section in its offer on which it sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TrackDeclaration {
    /// The `a=mid` of the media section (at most 16 characters).
    pub mid: String,
    pub source: TrackSource,
    #[serde(default)]
    pub muted: bool,
}

/// How pages are asked to send their cameras. A browser that cannot sends VP8 in simulcast.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct CameraEncoding {
    pub codec: CameraCodec,
    /// Of WebRTC-SVC (W3C): one stream with these layers. None: simulcast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub scalability_mode: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CameraCodec {
    Vp8,
    H264,
    Vp9,
    Av1,
}

impl CameraCodec {
    /// Browsers send several layers of it in one stream (SVC).
    pub fn is_scalable(self) -> bool {
        matches!(self, Self::Vp9 | Self::Av1)
    }
}

/// A published track as others see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct TrackInfo {
    pub id: TrackId,
    pub source: TrackSource,
    pub muted: bool,
}

/// What a receive slot is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "show", rename_all = "snake_case")]
pub enum SlotTarget {
    /// Nothing: the slot is paused and costs no bandwidth.
    #[default]
    Nobody,
    /// The dominant speaker's camera (never the viewer's own); until someone has spoken, the first
    /// participant who publishes one.
    ActiveSpeaker,
    /// One source of one participant; empty while it is not published.
    Source {
        participant: ParticipantId,
        source: TrackSource,
    },
}

/// One video slot of a client's viewport. Audio slots are filled by the server with the loudest
/// speakers and are not asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SlotView {
    /// The `a=mid` of the receive-only media section.
    pub mid: String,
    #[serde(flatten)]
    pub target: SlotTarget,
    /// Height in physical pixels at which it is shown; the SFU picks the smallest simulcast layer
    /// that is at least as high. 0 pauses the slot.
    pub height: u16,
}

/// How much a receiver wants of what its slots show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ReceiveMode {
    /// All that the link carries.
    #[default]
    Full,
    /// No pictures, whatever the slots name.
    AudioOnly,
    /// At most 180 kbit/s, whatever the link carries: thrifty voices, and one small picture.
    SaveData,
}

/// How well a participant's link carries the meeting, as the server sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct LinkQuality {
    pub grade: QualityGrade,
    /// What it lacks most; none where it is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub cause: Option<QualityCause>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum QualityGrade {
    #[default]
    Good,
    Fair,
    Poor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum QualityCause {
    /// What the participant is to be sent does not fit.
    Downlink,
    /// What the participant sends does not fit.
    Uplink,
    Loss,
    Delay,
}

/// What a slot shows now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SlotState {
    pub mid: String,
    /// `None`: the slot is empty.
    pub track: Option<TrackId>,
}

/// Whether a slot stands still because the receiver's link does not carry it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct SlotPause {
    pub mid: String,
    pub paused: bool,
}

/// A slot that stays empty because the receiver did not offer the codec of its track.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct UnsupportedSlot {
    pub mid: String,
    pub track: TrackId,
}

/// What others can use of a published track: its publisher need not send more than that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WantedTrack {
    pub track: TrackId,
    /// Of a video, by simulcast layer: what is not named here is not wanted.
    #[serde(default)]
    pub layers: Vec<WantedLayer>,
    /// Of a microphone: a second, low voice is wanted.
    #[serde(default)]
    pub low_voice: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct WantedLayer {
    /// As in the offer's `a=rid`; empty where the track is one stream without it.
    pub rid: String,
    /// Bits per second at most.
    pub max_bitrate: u32,
}
