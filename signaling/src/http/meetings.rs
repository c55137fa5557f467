//! `/api/v1/meetings`

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::rest::{CreateMeeting, CreatedMeeting, MeetingInfo};

use super::extract::{Body, ClientIp};
use crate::app::App;
use crate::auth::{Passcode, TokenType, bearer};
use crate::refusal::Refusal;

/// Characters.
const MAX_TITLE_LENGTH: usize = 200;
const MAX_PASSCODE_LENGTH: usize = 64;

/// `POST /api/v1/meetings`
pub async fn create(
    State(app): State<Arc<App>>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Body(body): Body<CreateMeeting>,
) -> Result<Response, Refusal> {
    app.gates.create_meeting(ip)?;
    let title = optional(body.title.as_deref(), MAX_TITLE_LENGTH, "the title is too long")?;
    let passcode = optional(
        body.passcode.as_deref(),
        MAX_PASSCODE_LENGTH,
        "the passcode is too long",
    )?;
    let live = app.meetings.create(title, passcode.as_deref().map(Passcode::new))?;
    tracing::info!(room = live.id, passcode = live.passcode.is_some(), "meeting created");
    let created = CreatedMeeting {
        id: live.id.clone(),
        code: live.code.clone(),
        join_url: format!("{}/m/{}", origin(&app, &headers), live.code),
        host_token: app.tokens.host(&live.id),
    };
    let location = format!("/api/v1/meetings/{}", live.id);
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, Json(created)).into_response())
}

/// `GET /api/v1/meetings/{id-or-code}`
pub async fn show(State(app): State<Arc<App>>, Path(meeting): Path<String>) -> Result<Json<MeetingInfo>, Refusal> {
    let live = app.meetings.find(&meeting)?;
    Ok(Json(MeetingInfo {
        id: live.id.clone(),
        code: live.code.clone(),
        title: live.title.clone(),
        passcode_required: live.passcode.is_some(),
        participants: live.listed() as u32,
    }))
}

/// `DELETE /api/v1/meetings/{id-or-code}` with the host token: ends it for everybody.
pub async fn end(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let claims = app.tokens.verify(bearer(&headers)?, TokenType::Host)?;
    let live = app.meetings.find(&meeting)?;
    if claims.meeting != live.id {
        return Err(Refusal::new(ErrorCode::Forbidden, "the token is for another meeting"));
    }
    app.meetings.end(&live);
    tracing::info!(room = live.id, "meeting ended by its host");
    Ok(StatusCode::NO_CONTENT)
}

/// A trimmed text of at most `max` characters; an empty one counts as none.
fn optional(text: Option<&str>, max: usize, too_long: &'static str) -> Result<Option<String>, Refusal> {
    let text = text.map(str::trim).filter(|text| !text.is_empty());
    match text {
        Some(text) if text.chars().count() > max => Err(Refusal::new(ErrorCode::BadMessage, too_long)),
        text => Ok(text.map(str::to_owned)),
    }
}

/// The origin of links: as set, else the host that the request names.
fn origin(app: &App, headers: &HeaderMap) -> String {
    if let Some(url) = &app.config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.filter(|host| host.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]_".contains(c)));
    match host {
        Some(host) => format!("{}://{host}", app.scheme),
        None => format!("{}://{}", app.scheme, app.config.listen),
    }
}
