//! `POST /api/v1/meetings/{id-or-code}/tokens`: who may join, and under which name.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::rest::{CreateToken, JoinToken};

use super::extract::{Body, ClientIp};
use crate::app::App;
use crate::refusal::Refusal;

/// Characters.
const MAX_NAME_LENGTH: usize = 64;

pub async fn create(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    ClientIp(ip): ClientIp,
    Body(body): Body<CreateToken>,
) -> Result<Response, Refusal> {
    app.gates.join(ip)?;
    let name = checked_name(&body.name)?;
    let live = app.meetings.find(&meeting)?;
    app.gates.passcode(&live, ip, body.passcode.as_deref())?;
    let token = JoinToken {
        token: app.tokens.join(&live.id, name),
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(token)).into_response())
}

/// Trimmed, 1 to 64 characters, none of them a control character.
fn checked_name(name: &str) -> Result<&str, Refusal> {
    let name = name.trim();
    let length = name.chars().count();
    if !(1..=MAX_NAME_LENGTH).contains(&length) || name.chars().any(char::is_control) {
        return Err(Refusal::new(ErrorCode::BadMessage, "a name has 1 to 64 characters"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_bounded() {
        let long = "天".repeat(64);
        let longer = "天".repeat(65);
        for (name, expected) in [
            (" Ann ", Some("Ann")),
            (long.as_str(), Some(long.as_str())),
            (longer.as_str(), None),
            ("   ", None),
            ("a\nb", None),
        ] {
            assert_eq!(checked_name(name).ok(), expected, "{name:?}");
        }
    }
}
