//! Why a client does not get what it asked for: a wire code, a sentence, and how it looks in HTTP.

use std::borrow::Cow;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_bus::BusError;
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
    /// An HTTP status that says more than the code's own.
    pub status: Option<StatusCode>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            status: None,
        }
    }

    pub fn rate_limited(message: &'static str, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::RateLimited, message)
        }
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

    pub fn session_unknown() -> Self {
        Self::new(ErrorCode::SessionUnknown, "there is no such session")
    }

    pub fn into_ws(self, offer: Option<u32>) -> WsError {
        WsError {
            code: self.code,
            message: self.message.into_owned(),
            offer,
        }
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        match error {
            BusError::Refused(error) => {
                let passes = matches!(error.code, ErrorCode::RateLimited | ErrorCode::Unavailable);
                Self {
                    retry_after: passes.then_some(NODE_RETRY),
                    ..Self::new(error.code, error.message)
                }
            }
            BusError::NoNode(_) | BusError::Overloaded | BusError::Gone => {
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
        let body = ErrorBody {
            code: self.code,
            message: self.message.into_owned(),
        };
        let mut response = (status, Json(body)).into_response();
        // For the counter of refusals.
        response.extensions_mut().insert(self.code);
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs().max(1)));
        }
        response
    }
}
