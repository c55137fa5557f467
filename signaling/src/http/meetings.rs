//! `/api/v1/meetings`

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::rest::{CreateMeeting, CreatedMeeting, MeetingInfo};

use super::extract::{Body, ClientIp, solution};
use crate::app::App;
use crate::auth::{Passcode, TokenType, bearer};
use crate::config::CreateMeetings;
use crate::gates::Attempt;
use crate::network::Network;
use crate::refusal::Refusal;
use crate::text::{self, Lines, TextError};

/// Graphemes.
const MAX_TITLE_LENGTH: usize = 200;
/// Characters.
const MAX_PASSCODE_LENGTH: usize = 64;

/// `POST /api/v1/meetings`
pub async fn create(
    State(app): State<Arc<App>>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    Body(body): Body<CreateMeeting>,
) -> Result<Response, Refusal> {
    let by_key = check_key(&app, ip, &headers)?;
    if !by_key {
        app.gates.create_meeting(ip)?;
    }
    let title = match body
        .title
        .as_deref()
        .map(|title| text::clean(title, MAX_TITLE_LENGTH, Lines::One))
    {
        None | Some(Err(TextError::Empty)) => None,
        Some(Ok(title)) => Some(title),
        Some(Err(TextError::TooLong)) => return Err(Refusal::new(ErrorCode::BadMessage, "the title is too long")),
    };
    let passcode = optional(
        body.passcode.as_deref(),
        MAX_PASSCODE_LENGTH,
        "the passcode is too long",
    )?;
    let from = (!by_key).then(|| Network::site(ip));
    let passcode = passcode.as_deref().map(Passcode::new);
    let live = match &app.fleet {
        Some(fleet) => fleet.create(title, passcode, from).await?,
        None => app.meetings.create(title, passcode, from)?,
    };
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
pub async fn show(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
) -> Result<Json<MeetingInfo>, Refusal> {
    if headers.contains_key(header::AUTHORIZATION) {
        let claims = app.tokens.verify(bearer(&headers)?, TokenType::Join)?;
        let live = app.meetings.find_for(&claims, &meeting)?;
        return Ok(Json(MeetingInfo {
            code: live.code.clone(),
            passcode_required: live.passcode.is_some(),
            camera: app.config.camera_encoding(),
            id: Some(live.id.clone()),
            title: live.title.clone(),
            participants: Some(live.listed() as u32),
        }));
    }
    let attempt = Attempt {
        ip,
        meeting: &meeting,
        passcode: None,
        solution: solution(&headers),
    };
    let live = app.gates.find(&app.meetings, &attempt)?;
    Ok(Json(MeetingInfo {
        code: live.code.clone(),
        passcode_required: live.passcode.is_some(),
        camera: app.config.camera_encoding(),
        id: None,
        title: None,
        participants: None,
    }))
}

/// Whether the request comes with an API key, which on some servers it must.
fn check_key(app: &App, ip: IpAddr, headers: &HeaderMap) -> Result<bool, Refusal> {
    if headers.contains_key(header::AUTHORIZATION) {
        let key = bearer(headers)?;
        app.gates.api_key(ip, || app.api_keys.owner(key).is_some())?;
        return Ok(true);
    }
    match app.config.create_meetings {
        CreateMeetings::Anyone => Ok(false),
        CreateMeetings::Token => Err(Refusal::api_key_required()),
    }
}

/// `DELETE /api/v1/meetings/{id-or-code}` with the host token: ends it for everybody.
pub async fn end(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let claims = app.tokens.verify(bearer(&headers)?, TokenType::Host)?;
    let live = app.meetings.find_for(&claims, &meeting)?;
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
