//! `POST /api/v1/meetings/{id-or-code}/tokens`: who may join, and under which name.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::rest::{CreateToken, JoinToken};

use super::extract::{Body, ClientIp, solution};
use crate::app::App;
use crate::fleet::{Passing, pass_on};
use crate::gates::Attempt;
use crate::refusal::Refusal;
use crate::text::{self, Lines};

/// Graphemes.
const MAX_NAME_LENGTH: usize = 64;

pub async fn create(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    passing: Passing,
    Body(body): Body<CreateToken>,
) -> Result<Response, Refusal> {
    app.gates.join(ip)?;
    let attempt = Attempt {
        ip,
        meeting: &meeting,
        passcode: body.passcode.as_deref(),
        solution: solution(&headers),
    };
    if app.fleet.is_some() {
        checked_name(&body.name)?;
        app.gates.look_up(&attempt)?;
        let body = serde_json::to_vec(&body).expect("wire types are plain values");
        if let Some(answer) = pass_on(&app, &meeting, &passing, body.into()).await? {
            return Ok(answer);
        }
    }
    let token = JoinToken {
        token: issue(&app, &attempt, &body.name)?,
    };
    Ok((StatusCode::CREATED, [(header::CACHE_CONTROL, "no-store")], Json(token)).into_response())
}

/// A token for who may come in.
pub fn issue(app: &App, attempt: &Attempt, name: &str) -> Result<String, Refusal> {
    let name = checked_name(name)?;
    let live = app.gates.find(&app.meetings, attempt)?;
    app.gates.passcode(&live, attempt)?;
    Ok(app.tokens.join(&live.id, &name))
}

/// As it is shown: 1 to 64 graphemes, without controls.
fn checked_name(name: &str) -> Result<String, Refusal> {
    text::clean(name, MAX_NAME_LENGTH, Lines::One)
        .map_err(|_| Refusal::new(ErrorCode::BadMessage, "a name has 1 to 64 characters"))
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
            ("a\nb", Some("a b")),
            ("Ann\u{202E}", Some("Ann")),
        ] {
            assert_eq!(checked_name(name).ok().as_deref(), expected, "{name:?}");
        }
    }
}
