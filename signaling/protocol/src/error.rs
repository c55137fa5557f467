//! Typed errors of REST and WebSocket.

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::proof::ProofOfWork;

/// Every error that a client can be told, with its HTTP status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    BadMessage,
    TooLarge,
    RateLimited,
    TokenInvalid,
    TokenExpired,
    PasscodeRequired,
    PasscodeWrong,
    MeetingNotFound,
    MeetingEnded,
    MeetingFull,
    SessionUnknown,
    NotJoined,
    AlreadyJoined,
    SdpInvalid,
    SdpUnsupported,
    TooManyTracks,
    /// Of the session, in its life: join anew.
    SlotsUsedUp,
    TrackUnknown,
    Forbidden,
    NotFound,
    Misdirected,
    Unavailable,
    Internal,
    /// A proof of work is needed: the body says which, and the request may then be sent again.
    ProofRequired,
    /// Meetings are made with an API key on this server.
    ApiKeyRequired,
    /// Between servers: another signaling instance owns the meeting.
    NotOwner,
}

impl ErrorCode {
    pub fn http_status(self) -> u16 {
        match self {
            Self::BadMessage | Self::SdpInvalid => 400,
            Self::TokenInvalid | Self::TokenExpired | Self::PasscodeRequired | Self::ApiKeyRequired => 401,
            Self::PasscodeWrong | Self::Forbidden => 403,
            Self::MeetingNotFound | Self::SessionUnknown | Self::TrackUnknown | Self::NotFound => 404,
            Self::NotJoined | Self::AlreadyJoined | Self::SlotsUsedUp => 409,
            Self::MeetingEnded => 410,
            Self::TooLarge => 413,
            Self::Misdirected | Self::NotOwner => 421,
            Self::SdpUnsupported => 422,
            Self::RateLimited | Self::ProofRequired => 429,
            Self::Internal => 500,
            Self::MeetingFull | Self::TooManyTracks | Self::Unavailable => 503,
        }
    }
}

/// JSON body of every REST answer that is not 2xx.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct ErrorBody {
    pub code: ErrorCode,
    pub message: String,
    /// Seconds after which another try may succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub retry_after: Option<u32>,
    /// With [`ErrorCode::ProofRequired`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[ts(optional)]
    pub proof: Option<ProofOfWork>,
}
