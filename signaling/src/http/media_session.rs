//! What WHIP (RFC 9725) and WHEP share: offer in, answer out, a resource per session with ICE
//! restart by PATCH and the end by DELETE.

use std::sync::Arc;

use axum::extract::{FromRequest, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::control::{AudioPolicy, Origin, SfuReply, SfuRequest};
use tianqiao_protocol::ws::EndReason;

use super::extract::too_large;
use super::sdp_fragment;
use crate::app::App;
use crate::auth::{Claims, TokenType, bearer};
use crate::meeting::Kind;
use crate::meetings::{LiveMeeting, MeetingEntry, Offered};
use crate::network::Network;
use crate::refusal::Refusal;

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// A body of `application/sdp`.
pub struct Sdp(String);

impl FromRequest<Arc<App>> for Sdp {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        text_body(request, app, SDP).await.map(Self)
    }
}

/// A body of `application/trickle-ice-sdpfrag`.
pub struct Fragment(String);

impl FromRequest<Arc<App>> for Fragment {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        text_body(request, app, FRAGMENT).await.map(Self)
    }
}

async fn text_body(request: Request, app: &Arc<App>, mime: &'static str) -> Result<String, Refusal> {
    let given = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.split(';').next()).map(str::trim);
    if !given.is_some_and(|given| given.eq_ignore_ascii_case(mime)) {
        let refusal = Refusal::new(ErrorCode::BadMessage, format!("the body must be {mime}"));
        return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    String::from_request(request, app)
        .await
        .map_err(|rejection| match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => too_large(),
            _ => Refusal::new(ErrorCode::SdpInvalid, "the body is not text"),
        })
}

/// The meeting of the path, and the claims of a join token for it.
pub fn authorize(app: &App, headers: &HeaderMap, meeting: &str) -> Result<(Arc<LiveMeeting>, Claims), Refusal> {
    let claims = app.tokens.verify(bearer(headers)?, TokenType::Join)?;
    let live = app.meetings.find_for(&claims, meeting)?;
    Ok((live, claims))
}

/// Opens a session: 201 with the answer.
pub async fn create(
    app: Arc<App>,
    live: Arc<LiveMeeting>,
    claims: Claims,
    (origin, network): (Origin, Network),
    kind: Kind,
    Sdp(sdp): Sdp,
    audio: AudioPolicy,
) -> Result<Response, Refusal> {
    let offered = Offered {
        sdp,
        ..Offered::default()
    };
    offered.check(&app.config)?;
    let entry = MeetingEntry {
        claims,
        kind,
        has_websocket: false,
        offered,
        audio,
        origin,
        network,
    };
    let meeting = live.id.clone();
    // A client that hangs up drops this future, and its place with it.
    let entered = live.enter(entry).await?;
    tracing::info!(
        room = meeting,
        session = entered.participant,
        kind = kind.label(),
        "joined"
    );
    let headers = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        (
            header::LOCATION,
            format!("/{}/{meeting}/{}", kind.label(), entered.participant),
        ),
        (header::ETAG, etag(0)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, entered.sdp).into_response())
}

/// `PATCH`: ICE restart with `If-Match: *` (RFC 9725, section 4.3.3), or a trickled candidate,
/// which an ICE-lite server has no use for.
pub async fn change(
    State(app): State<Arc<App>>,
    Path((meeting, session)): Path<(String, String)>,
    headers: HeaderMap,
    fragment: Result<Fragment, Refusal>,
) -> Result<Response, Refusal> {
    let live = own_session(&app, &headers, &meeting, &session)?;
    let Fragment(fragment) = fragment?;
    let condition = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok());
    let condition = condition.ok_or_else(|| {
        let refusal = Refusal::new(
            ErrorCode::BadMessage,
            "If-Match is needed: the ETag, or * to restart ICE",
        );
        refusal.with_status(StatusCode::PRECONDITION_REQUIRED)
    })?;
    if condition.trim() != "*" {
        if condition.trim() == etag(live.ice_generation(&session)) {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        let refusal = Refusal::new(ErrorCode::BadMessage, "the ETag is not of the current ICE session");
        return Err(refusal.with_status(StatusCode::PRECONDITION_FAILED));
    }
    let credentials = sdp_fragment::credentials(&fragment)
        .ok_or_else(|| Refusal::new(ErrorCode::SdpInvalid, "the fragment has no valid ice-ufrag and ice-pwd"))?;
    let request = SfuRequest::RestartIce {
        session: session.clone(),
        ufrag: credentials.ufrag.to_owned(),
        pwd: credentials.pwd.to_owned(),
    };
    let SfuReply::IceRestarted { sdpfrag } = live.request(&session, request).await? else {
        return Err(Refusal::new(
            ErrorCode::Internal,
            "the media server answered something else",
        ));
    };
    let etag = etag(live.on_ice_restarted(&session));
    let headers = [
        (header::CONTENT_TYPE, FRAGMENT.to_owned()),
        (header::ETAG, etag),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, sdpfrag).into_response())
}

/// `DELETE`: ends the session.
pub async fn end(
    State(app): State<Arc<App>>,
    Path((meeting, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    let live = own_session(&app, &headers, &meeting, &session)?;
    live.leave(&session, EndReason::Left);
    tracing::info!(room = live.id, session, "left");
    Ok(StatusCode::OK)
}

/// The meeting of a session that the bearer of the token has opened over HTTP.
fn own_session(app: &App, headers: &HeaderMap, meeting: &str, session: &str) -> Result<Arc<LiveMeeting>, Refusal> {
    let (live, claims) = authorize(app, headers, meeting)?;
    if !live.is_own_http_session(session, &claims.sub) {
        return Err(Refusal::session_unknown());
    }
    Ok(live)
}

/// Strong, as RFC 9725 wants it, and new with each ICE session.
fn etag(ice_generation: u32) -> String {
    format!("\"ice-{ice_generation}\"")
}

/// `OPTIONS` of an endpoint, also a browser's preflight.
pub async fn endpoint_options() -> Response {
    options("POST, OPTIONS", "accept-post", SDP)
}

/// `OPTIONS` of a session.
pub async fn session_options() -> Response {
    options("PATCH, DELETE, OPTIONS", "accept-patch", FRAGMENT)
}

fn options(methods: &'static str, accepts: &'static str, mime: &'static str) -> Response {
    let headers = [
        (header::ALLOW.as_str(), methods),
        (accepts, mime),
        (
            header::ACCESS_CONTROL_ALLOW_METHODS.as_str(),
            "POST, PATCH, DELETE, OPTIONS",
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS.as_str(),
            "authorization, content-type, if-match",
        ),
        (header::ACCESS_CONTROL_MAX_AGE.as_str(), "86400"),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// Pages of any origin may use WHIP and WHEP: a token is needed and no cookie is read.
pub async fn allow_origins(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static("location, etag, link, accept-post, accept-patch"),
    );
    response
}
