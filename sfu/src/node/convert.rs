//! The bus's words and the core's: the protocol crate names sessions and media sections by strings
//! of any length, the core by bounded ones.

use tianqiao_protocol as protocol;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::{self, SfuError, SfuEvent};
use tianqiao_sfu_core::allocator::Mode;
use tianqiao_sfu_core::quality;
use tianqiao_sfu_core::rooms::{self, RoomsError, RoomsEvent};
use tianqiao_sfu_core::sdp::SdpError;
use tianqiao_sfu_core::units::{Bitrate, Mid, TrackId};
use tianqiao_sfu_core::worker_api;

/// Longest name of a session or room.
const MAX_NAME: usize = 64;

pub fn name<T: for<'a> From<&'a str>>(text: &str) -> Result<T, SfuError> {
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(bad_message(format!("a name has 1 to {MAX_NAME} bytes")));
    }
    Ok(T::from(text))
}

pub fn mid(text: &str) -> Result<Mid, SfuError> {
    Mid::from(text).map_err(|_| bad_message("a mid has at most 16 bytes"))
}

pub fn source(source: protocol::TrackSource) -> rooms::TrackSource {
    match source {
        protocol::TrackSource::Microphone => rooms::TrackSource::Microphone,
        protocol::TrackSource::MicrophoneLow => rooms::TrackSource::MicrophoneLow,
        protocol::TrackSource::Camera => rooms::TrackSource::Camera,
        protocol::TrackSource::Screen => rooms::TrackSource::Screen,
        protocol::TrackSource::ScreenAudio => rooms::TrackSource::ScreenAudio,
    }
}

pub fn target(target: &protocol::SlotTarget) -> Result<rooms::SlotTarget, SfuError> {
    Ok(match target {
        protocol::SlotTarget::Nobody => rooms::SlotTarget::Nobody,
        protocol::SlotTarget::ActiveSpeaker => rooms::SlotTarget::ActiveSpeaker,
        protocol::SlotTarget::Source {
            participant,
            source: of,
        } => rooms::SlotTarget::Source {
            participant: name(participant)?,
            source: source(*of),
        },
    })
}

pub fn views(views: &[protocol::SlotView]) -> Result<Vec<rooms::SlotView>, SfuError> {
    let view = |view: &protocol::SlotView| {
        Ok(rooms::SlotView {
            mid: mid(&view.mid)?,
            target: target(&view.target)?,
            height: view.height,
        })
    };
    views.iter().map(view).collect()
}

/// With [`protocol::ReceiveMode::SaveData`]: a thrifty voice (43 kbit/s) and one small picture at half its
/// frame rate (some 100), at most 81 MB an hour.
const SAVE_DATA: Bitrate = Bitrate::kbps(180);

pub fn mode(mode: protocol::ReceiveMode) -> Mode {
    match mode {
        protocol::ReceiveMode::Full => Mode::Normal,
        protocol::ReceiveMode::AudioOnly => Mode::AudioOnly,
        protocol::ReceiveMode::SaveData => Mode::SaveData { cap: SAVE_DATA },
    }
}

pub fn declarations(tracks: &[protocol::TrackDeclaration]) -> Result<Vec<rooms::TrackDeclaration>, SfuError> {
    let declaration = |track: &protocol::TrackDeclaration| {
        Ok(rooms::TrackDeclaration {
            mid: mid(&track.mid)?,
            source: source(track.source),
            muted: track.muted,
        })
    };
    tracks.iter().map(declaration).collect()
}

pub fn audio_policy(policy: &control::AudioPolicy) -> Result<rooms::AudioPolicy, SfuError> {
    Ok(match policy {
        control::AudioPolicy::Loudest => rooms::AudioPolicy::Loudest,
        control::AudioPolicy::Follow(followed) => rooms::AudioPolicy::Follow(target(followed)?),
    })
}

/// The other way round.
pub fn track_info(track: &protocol::TrackInfo) -> rooms::TrackInfo {
    rooms::TrackInfo {
        id: TrackId(track.id),
        source: source(track.source),
        muted: track.muted,
    }
}

pub fn track_infos(tracks: &[rooms::TrackInfo]) -> Vec<protocol::TrackInfo> {
    let info = |track: &rooms::TrackInfo| protocol::TrackInfo {
        id: track.id.0,
        source: match track.source {
            rooms::TrackSource::Microphone => protocol::TrackSource::Microphone,
            rooms::TrackSource::MicrophoneLow => protocol::TrackSource::MicrophoneLow,
            rooms::TrackSource::Camera => protocol::TrackSource::Camera,
            rooms::TrackSource::Screen => protocol::TrackSource::Screen,
            rooms::TrackSource::ScreenAudio => protocol::TrackSource::ScreenAudio,
        },
        muted: track.muted,
    };
    tracks.iter().map(info).collect()
}

pub fn slot_states(slots: &[rooms::SlotState]) -> Vec<protocol::SlotState> {
    let state = |slot: &rooms::SlotState| protocol::SlotState {
        mid: slot.mid.to_string(),
        track: slot.track.map(|track| track.0),
    };
    slots.iter().map(state).collect()
}

fn slot_pauses(pauses: &[worker_api::SlotPause]) -> Vec<protocol::SlotPause> {
    let pause = |pause: &worker_api::SlotPause| protocol::SlotPause {
        mid: pause.mid.to_string(),
        paused: pause.is_paused,
    };
    pauses.iter().map(pause).collect()
}

fn wanted_track(wanted: &rooms::WantedTrack) -> protocol::WantedTrack {
    let layer = |layer: &rooms::WantedLayer| protocol::WantedLayer {
        rid: layer.rid.to_string(),
        max_bitrate: u32::try_from(layer.max_bitrate.0).unwrap_or(u32::MAX),
    };
    protocol::WantedTrack {
        track: wanted.track.0,
        layers: wanted.layers.iter().map(layer).collect(),
        low_voice: wanted.low_voice,
    }
}

pub fn event(event: RoomsEvent) -> SfuEvent {
    match event {
        RoomsEvent::Connected { session } => SfuEvent::Connected {
            session: session.to_string(),
        },
        RoomsEvent::Closed { session, reason } => SfuEvent::Closed {
            session: session.to_string(),
            reason: close_reason(reason),
        },
        RoomsEvent::Slots { session, slots } => SfuEvent::Slots {
            session: session.to_string(),
            slots: slot_states(&slots),
        },
        RoomsEvent::Speakers {
            room,
            dominant,
            speaking,
        } => SfuEvent::Speakers {
            room: room.to_string(),
            dominant: dominant.map(|session| session.to_string()),
            speaking: speaking.iter().map(|session| session.to_string()).collect(),
        },
        RoomsEvent::SlotsPaused { session, pauses } => SfuEvent::SlotsPaused {
            session: session.to_string(),
            slots: slot_pauses(&pauses),
        },
        RoomsEvent::Wanted { session, tracks } => SfuEvent::Wanted {
            session: session.to_string(),
            tracks: tracks.iter().map(wanted_track).collect(),
        },
        RoomsEvent::Quality { session, quality } => SfuEvent::Quality {
            session: session.to_string(),
            quality: link_quality(quality),
        },
        RoomsEvent::Link { room, link, is_up } => SfuEvent::Link {
            room: room.to_string(),
            link: link.0,
            up: is_up,
        },
        RoomsEvent::Spare { session, spare } => SfuEvent::Spare {
            session: session.to_string(),
            bits_per_second: spare.0,
        },
        RoomsEvent::CodecUnsupported { session, mid, track } => SfuEvent::CodecUnsupported {
            session: session.to_string(),
            slot: protocol::UnsupportedSlot {
                mid: mid.to_string(),
                track: track.0,
            },
        },
    }
}

fn link_quality(quality: quality::Quality) -> protocol::LinkQuality {
    use quality::{Cause, Grade};
    protocol::LinkQuality {
        grade: match quality.grade {
            Grade::Good => protocol::QualityGrade::Good,
            Grade::Fair => protocol::QualityGrade::Fair,
            Grade::Poor => protocol::QualityGrade::Poor,
        },
        cause: quality.cause.map(|cause| match cause {
            Cause::Downlink => protocol::QualityCause::Downlink,
            Cause::Uplink => protocol::QualityCause::Uplink,
            Cause::Loss => protocol::QualityCause::Loss,
            Cause::Delay => protocol::QualityCause::Delay,
        }),
    }
}

fn close_reason(reason: rooms::EndReason) -> control::CloseReason {
    use worker_api::CloseReason;
    match reason {
        rooms::EndReason::Connection(CloseReason::IceTimeout) => control::CloseReason::IceTimeout,
        rooms::EndReason::Connection(CloseReason::DtlsFailed) => control::CloseReason::DtlsFailed,
        rooms::EndReason::Connection(CloseReason::PeerClosed) => control::CloseReason::PeerClosed,
        rooms::EndReason::Shutdown => control::CloseReason::Shutdown,
    }
}

pub fn bad_message(message: impl Into<String>) -> SfuError {
    SfuError {
        code: ErrorCode::BadMessage,
        message: message.into(),
    }
}

pub fn rooms_error(error: RoomsError) -> SfuError {
    let code = match error {
        RoomsError::SessionExists(_) => ErrorCode::AlreadyJoined,
        RoomsError::SessionUnknown(_) => ErrorCode::SessionUnknown,
        RoomsError::TrackUnknown(_) => ErrorCode::TrackUnknown,
        RoomsError::TrackKind { .. } | RoomsError::LowVoiceAlone { .. } => ErrorCode::BadMessage,
        RoomsError::TooManyTracks { .. } | RoomsError::TooManySlots { .. } => ErrorCode::TooManyTracks,
        RoomsError::TooManyLinks { .. } => ErrorCode::Unavailable,
        RoomsError::LinkTaken | RoomsError::LinkUnknown | RoomsError::TrackTaken(_) => ErrorCode::BadMessage,
        RoomsError::SlotsUsedUp { .. } => ErrorCode::SlotsUsedUp,
        RoomsError::RoomFull { .. } => ErrorCode::MeetingFull,
        RoomsError::NodeFull { .. } => ErrorCode::Unavailable,
    };
    SfuError {
        code,
        message: error.to_string(),
    }
}

pub fn sdp_error(error: SdpError) -> SfuError {
    let code = match error {
        SdpError::Invalid(_) => ErrorCode::SdpInvalid,
        SdpError::Unsupported(_) => ErrorCode::SdpUnsupported,
        SdpError::TooLarge(_) => ErrorCode::TooLarge,
    };
    SfuError {
        code,
        message: error.to_string(),
    }
}
