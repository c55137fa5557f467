//! Why a client does not get what it asked for: a wire code, a sentence, and how it looks in HTTP.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_bus::BusError;
use tianqiao_protocol::proof::ProofOfWork;
use tianqiao_protocol::ws::WsError;
use tianqiao_protocol::{ErrorBody, ErrorCode};

/// When a media server that is busy may be asked again: its queues are seconds long at most.
const NODE_RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub code: ErrorCode,
    /// A sentence in English, for logs and developers.
    pub message: Cow<'static, str>,
    pub retry_after: Option<Duration>,
    /// With [`ErrorCode::ProofRequired`].
    pub proof: Option<ProofOfWork>,
    /// An HTTP status that says more than the code's own.
    pub status: Option<StatusCode>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            proof: None,
            status: None,
        }
    }

    pub fn rate_limited(message: &'static str, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::RateLimited, message)
        }
    }

    /// Something is full now and will not be for ever.
    pub fn busy(code: ErrorCode, message: &'static str, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(code, message)
        }
    }

    /// The request may be repeated with a proof of `work`, or without one after a time.
    pub fn proof_required(work: ProofOfWork, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            proof: Some(work),
            ..Self::new(
                ErrorCode::ProofRequired,
                "too many wrong tries: this one needs a proof of work",
            )
        }
    }

    pub fn api_key_required() -> Self {
        Self::new(
            ErrorCode::ApiKeyRequired,
            "meetings are made with an API key on this server",
        )
    }

    pub fn with_status(self, status: StatusCode) -> Self {
        Self {
            status: Some(status),
            ..self
        }
    }

    pub fn meeting_not_found() -> Self {
        Self::new(ErrorCode::MeetingNotFound, "there is no such meeting")
    }

    /// Another signaling instance has taken it over; who comes again finds it there.
    pub fn meeting_has_moved() -> Self {
        Self::busy(
            ErrorCode::Unavailable,
            "the meeting has moved to another server",
            NODE_RETRY,
        )
    }

    pub fn session_unknown() -> Self {
        Self::new(ErrorCode::SessionUnknown, "there is no such session")
    }

    /// Whole seconds, rounded up.
    fn wait_seconds(&self) -> Option<u32> {
        let wait = self.retry_after?;
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Some(u32::try_from(seconds.max(1)).unwrap_or(u32::MAX))
    }

    pub fn into_ws(self, offer: Option<u32>) -> WsError {
        WsError {
            code: self.code,
            retry_after: self.wait_seconds(),
            message: self.message.into_owned(),
            offer,
        }
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Refused(error) if error.code == ErrorCode::NotOwner => Self::meeting_has_moved(),
            BusError::Refused(error) => {
                let passes = matches!(error.code, ErrorCode::RateLimited | ErrorCode::Unavailable);
                Self {
                    retry_after: passes.then_some(NODE_RETRY),
                    ..Self::new(error.code, error.message)
                }
            }
            BusError::NoNode(_) | BusError::Overloaded | BusError::Gone | BusError::Away => {
                tracing::warn!(%error, "the media server did not answer");
                Self {
                    retry_after: Some(NODE_RETRY),
                    ..Self::new(ErrorCode::Unavailable, "the media server cannot be reached now")
                }
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.code.http_status()).expect("every code has a valid status");
        let status = self.status.unwrap_or(status);
        let wait = self.wait_seconds();
        let body = ErrorBody {
            code: self.code,
            message: self.message.into_owned(),
            retry_after: wait,
            proof: self.proof,
        };
        let mut response = (status, Json(body)).into_response();
        // For the counter of refusals.
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = wait {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        response
    }
}
