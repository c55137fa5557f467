//! The wire types of Tianqiao, defined once: the REST bodies ([`rest`]), the messages of a
//! participant's WebSocket ([`ws`]) and the requests and events between signaling and an SFU node
//! ([`control`]). The TypeScript of the web client is generated from [`rest`], [`ws`] and [`media`].

pub mod control;
pub mod error;
pub mod fleet;
pub mod frame;
#[doc(hidden)]
pub mod fuzz_bodies;
pub mod media;
pub mod proof;
pub mod rest;
pub mod typescript;
pub mod ws;

pub use error::{ErrorBody, ErrorCode};
pub use media::{
    LinkQuality, MediaKind, ParticipantId, QualityCause, QualityGrade, ReceiveMode, SlotPause, SlotState, SlotTarget,
    SlotView, TrackDeclaration, TrackId, TrackInfo, TrackSource, UnsupportedSlot, WantedLayer, WantedTrack,
};
