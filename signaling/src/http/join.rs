//! `POST /api/v1/meetings/{id-or-code}/join`: joins on the page's own connection, while the WebSocket comes up.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::frame::{InflateError, deflate_as_gzip, inflate_gzip};
use tianqiao_protocol::rest::{JoinMeeting, JoinedMeeting};
use tianqiao_protocol::ws::Join;

use super::extract::{ClientIp, accepts, solution, too_large};
use super::tokens;
use crate::app::App;
use crate::fleet::{Passing, pass_on};
use crate::gates::Attempt;
use crate::meetings::now;
use crate::refusal::Refusal;
use crate::session::Joiner;

const JSON: &str = "application/json";

/// Body and answer are each in gzip where the sender likes.
pub async fn create(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    passing: Passing,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Refusal> {
    app.gates.join(ip)?;
    if app.is_stopping() {
        return Err(Refusal::new(ErrorCode::Unavailable, "the server stops"));
    }
    let raw = body.as_ref().cloned().unwrap_or_default();
    let text = text(&headers, body, app.config.max_message_size.0)?;
    let body: JoinMeeting = serde_json::from_str(&text).map_err(|error| {
        // The parser's words tell the place, never the content.
        let place = format!("not a join: line {}, column {}", error.line(), error.column());
        Refusal::new(ErrorCode::BadMessage, place)
    })?;
    if app.fleet.is_some()
        && let Some(answer) = elsewhere(&app, &meeting, &body, &passing, raw).await?
    {
        return Ok(answer);
    }
    let (token, is_new) = match (body.token, &body.name) {
        (Some(token), None) => (token, false),
        (None, Some(name)) => {
            let attempt = Attempt {
                ip,
                meeting: &meeting,
                passcode: body.passcode.as_deref(),
                solution: solution(&headers),
            };
            (tokens::issue(&app, &attempt, name)?, true)
        }
        (..) => {
            return Err(Refusal::new(
                ErrorCode::BadMessage,
                "either a token or a name says who joins",
            ));
        }
    };
    let joiner = Joiner::admit(&app, ip, &token)?;
    app.meetings.find_for(&joiner.claims, &meeting)?;
    let budget = app.budgets.of(&joiner.claims.sub, now());
    let taken = budget.take(now(), text.len());
    taken.map_err(|wait| Refusal::rate_limited("too many messages, or too long ones", wait))?;
    // A client that hangs up drops this future, and its place with it.
    let message = Join {
        token: token.clone(),
        sdp: body.sdp,
        tracks: body.tracks,
        slots: body.slots,
    };
    let (joined, _) = joiner.enter(&app, message, false).await?;
    let token = is_new.then_some(token);
    Ok(answer(&headers, &JoinedMeeting { token, joined }))
}

/// The answer of the instance that owns the meeting, if that is another one.
async fn elsewhere(
    app: &App,
    meeting: &str,
    body: &JoinMeeting,
    passing: &Passing,
    raw: Bytes,
) -> Result<Option<Response>, Refusal> {
    let of_token = body.token.as_deref().map(|token| app.tokens.meeting_of(token));
    match of_token {
        // Refused here as well as there.
        Some(None) => Ok(None),
        Some(Some(meeting)) => pass_on(app, &meeting, passing, raw).await,
        None => {
            app.gates.look_up(&Attempt {
                ip: passing.ip,
                meeting,
                passcode: body.passcode.as_deref(),
                solution: solution(&passing.headers),
            })?;
            pass_on(app, meeting, passing, raw).await
        }
    }
}

fn text(headers: &HeaderMap, body: Result<Bytes, BytesRejection>, limit: usize) -> Result<String, Refusal> {
    let value = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let mime = value(header::CONTENT_TYPE).and_then(|mime| mime.split(';').next());
    if !mime.is_some_and(|mime| mime.trim().eq_ignore_ascii_case(JSON)) {
        let refusal = Refusal::new(ErrorCode::BadMessage, "the body must be application/json");
        return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refusal::new(ErrorCode::BadMessage, "the body cannot be read"),
    })?;
    match value(header::CONTENT_ENCODING) {
        None => String::from_utf8(body.into()).map_err(|_| Refusal::new(ErrorCode::BadMessage, "the body is not text")),
        Some(encoding) if encoding.eq_ignore_ascii_case("gzip") => {
            inflate_gzip(&body, limit).map_err(|error| match error {
                InflateError::TooLarge { .. } => too_large(),
                InflateError::Malformed => Refusal::new(ErrorCode::BadMessage, "the body is not gzip of text"),
            })
        }
        Some(_) => {
            let refusal = Refusal::new(ErrorCode::BadMessage, "the body may be plain or in gzip");
            Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE))
        }
    }
}

fn answer(request: &HeaderMap, joined: &JoinedMeeting) -> Response {
    let text = serde_json::to_string(joined).expect("wire types are plain values");
    let headers = [
        (header::CONTENT_TYPE, JSON),
        (header::CACHE_CONTROL, "no-store"),
        (header::VARY, "accept-encoding"),
    ];
    if !accepts(request, "gzip") {
        return (StatusCode::CREATED, headers, text).into_response();
    }
    let encoding = [(header::CONTENT_ENCODING, "gzip")];
    (StatusCode::CREATED, headers, encoding, deflate_as_gzip(&text)).into_response()
}
