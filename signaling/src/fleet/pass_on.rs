//! HTTP requests of meetings that other instances own are passed on to these, and the answers back.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequestParts, OriginalUri, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tianqiao_protocol::ErrorCode;
use tokio::time::Instant;

use super::Fleet;
use super::internal::{CLIENT_HEADER, FromMember, NOT_OWNER_HEADER, SECRET_HEADER, not_owner};
use super::locate::{Peer, Place};
use crate::app::App;
use crate::auth::bearer;
use crate::gates::Attempt;
use crate::http::{ClientIp, requested_host, solution, too_large};
use crate::refusal::Refusal;
use crate::session::SessionKey;

pub type Client = hyper_util::client::legacy::Client<HttpConnector, Body>;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// The owner asks a media server before it answers.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// For so long a request waits for its meeting to get another owner.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);
pub(super) const PAUSE: Duration = Duration::from_millis(150);
/// When somebody may try again whose meeting has no owner still.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// Headers of one connection (RFC 9110, section 7.6.1), and those that are made anew.
const OF_CONNECTION: [&str; 11] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    SECRET_HEADER,
    CLIENT_HEADER,
];

pub fn client() -> Client {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_nodelay(true);
    hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector)
}

/// A request as its handler passes it on.
pub struct Passing {
    pub method: Method,
    pub uri: Uri,
    pub headers: HeaderMap,
    pub ip: IpAddr,
    /// It was passed on to us.
    from_member: bool,
}

impl Passing {
    pub fn is_from_member(&self) -> bool {
        self.from_member
    }
}

impl FromRequestParts<Arc<App>> for Passing {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let ClientIp(ip) = ClientIp::from_request_parts(parts, app).await?;
        let original = parts.extensions.get::<OriginalUri>();
        Ok(Self {
            method: parts.method.clone(),
            uri: original.map_or_else(|| parts.uri.clone(), |OriginalUri(uri)| uri.clone()),
            headers: parts.headers.clone(),
            ip,
            from_member: parts.extensions.get::<FromMember>().is_some(),
        })
    }
}

/// The answer of the meeting's owner; `None`: it is to be answered here.
pub async fn pass_on(app: &App, meeting: &str, passing: &Passing, body: Bytes) -> Result<Option<Response>, Refusal> {
    let Some(fleet) = &app.fleet else {
        return Ok(None);
    };
    if passing.from_member {
        return Ok(match fleet.locate(meeting).await? {
            Place::There(_) => Some(not_owner()),
            Place::Here | Place::Nowhere => None,
        });
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let peer = match fleet.locate(meeting).await? {
            Place::Here | Place::Nowhere => return Ok(None),
            Place::There(peer) => peer,
        };
        if let Some(response) = fleet.ask(&peer, meeting, passing, body.clone()).await? {
            return Ok(Some(response));
        }
        if Instant::now() >= until {
            let refusal = "the server of the meeting cannot be reached now";
            return Err(Refusal::busy(ErrorCode::Unavailable, refusal, RETRY));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Passes on what tells its meeting without its body. Who gives a name or a passcode in the body is for the handlers.
pub async fn route(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if app.fleet.is_none() {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(passing) = Passing::from_request_parts(&mut parts, &app).await;
    let meeting = match target(&app, &passing) {
        Ok(Some(meeting)) => meeting,
        Ok(None) => return next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => return refusal.into_response(),
    };
    let limits = [app.config.max_still_size.0, app.config.max_sdp_size.0];
    let limit = limits.into_iter().max().unwrap_or_default();
    if body.size_hint().lower() > limit as u64 {
        return too_large().into_response();
    }
    let Ok(bytes) = axum::body::to_bytes(body, limit).await else {
        return too_large().into_response();
    };
    match pass_on(&app, &meeting, &passing, bytes.clone()).await {
        Ok(Some(response)) => response,
        Ok(None) => next.run(Request::from_parts(parts, Body::from(bytes))).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// The meeting that a request is for, where another instance may own it. Whoever shows a token for a meeting means that
/// one; who shows none has to pay for guesses of codes here as at the owner's, or guessing would be cheap by the detour.
fn target(app: &App, passing: &Passing) -> Result<Option<String>, Refusal> {
    let Some(meeting) = of_path(passing.uri.path()) else {
        return Ok(None);
    };
    if passing.method == Method::OPTIONS {
        return Ok(None);
    }
    if passing.headers.contains_key(header::AUTHORIZATION) {
        let shown = bearer(&passing.headers)?;
        let of_session = || SessionKey::parse(shown).and_then(|key| key.meeting.map(str::to_owned));
        let of_token = app.tokens.meeting_of(shown);
        return Ok(of_token.or_else(of_session));
    }
    if !passing.from_member {
        app.gates.look_up(&Attempt {
            ip: passing.ip,
            meeting: &meeting,
            passcode: None,
            solution: solution(&passing.headers),
        })?;
    }
    Ok(Some(meeting))
}

/// The meeting that a path names, where its handler does not see to it itself.
fn of_path(path: &str) -> Option<String> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let meeting = match segments.as_slice() {
        ["api", "v1", "meetings", _, "join" | "tokens"] => return None,
        ["api", "v1", "meetings", meeting, ..] | ["whip" | "whep", meeting, ..] => meeting,
        _ => return None,
    };
    // Ids and codes need no escapes but that of a space.
    Some(meeting.replace("%20", " ")).filter(|meeting| !meeting.is_empty())
}

impl Fleet {
    /// `None`: it owns the meeting no longer, or cannot be reached, and the request was not carried out.
    async fn ask(
        &self,
        peer: &Peer,
        meeting: &str,
        passing: &Passing,
        body: Bytes,
    ) -> Result<Option<Response>, Refusal> {
        let count = |result: &str| self.metrics.proxied.with_label_values(&["http", result]).inc();
        let Some(request) = self.request_to(peer, passing, body) else {
            return Err(Refusal::new(ErrorCode::BadMessage, "the request cannot be passed on"));
        };
        let asked = tokio::time::timeout(ANSWER_TIMEOUT, self.client.request(request)).await;
        let Ok(answered) = asked else {
            count("failed");
            self.forget_owner(meeting);
            let refusal = "the server of the meeting did not answer in time";
            return Err(Refusal::busy(ErrorCode::Unavailable, refusal, RETRY));
        };
        match answered {
            Ok(response) if response.headers().contains_key(NOT_OWNER_HEADER) => {
                count("moved");
                self.forget_owner(meeting);
                Ok(None)
            }
            Ok(response) => {
                count("passed");
                let (mut parts, body) = response.into_parts();
                for name in OF_CONNECTION {
                    parts.headers.remove(name);
                }
                Ok(Some(Response::from_parts(parts, Body::new(body))))
            }
            Err(error) if error.is_connect() => {
                count("unreachable");
                self.on_unreachable(peer, meeting);
                Ok(None)
            }
            Err(error) => {
                count("failed");
                tracing::info!(%error, instance = peer.id, "a request that was passed on was not answered");
                self.forget_owner(meeting);
                let refusal = "the server of the meeting did not answer";
                Err(Refusal::busy(ErrorCode::Unavailable, refusal, RETRY))
            }
        }
    }

    /// A port that refuses, or does not answer: the registry says what that means.
    pub(super) fn on_unreachable(&self, peer: &Peer, meeting: &str) {
        self.forget_owner(meeting);
        tracing::debug!(instance = peer.id, "the server of a meeting cannot be reached");
    }

    pub(super) fn secret(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.secrets.members).ok()
    }

    fn request_to(&self, peer: &Peer, passing: &Passing, body: Bytes) -> Option<axum::http::Request<Body>> {
        let path = passing.uri.path_and_query().map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", peer.url).parse().ok()?;
        let mut headers = passing.headers.clone();
        for name in OF_CONNECTION {
            headers.remove(name);
        }
        // Links are made of it.
        let host = requested_host(&passing.uri, &passing.headers);
        if let Some(host) = host.and_then(|host| HeaderValue::from_str(&host).ok()) {
            headers.insert(header::HOST, host);
        }
        headers.insert(HeaderName::from_static(SECRET_HEADER), self.secret()?);
        let ip = HeaderValue::from_str(&passing.ip.to_string()).ok()?;
        headers.insert(HeaderName::from_static(CLIENT_HEADER), ip);
        let mut request = axum::http::Request::new(Body::from(body));
        *request.method_mut() = passing.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        Some(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meeting_is_read_from_the_path() {
        for (path, expected) in [
            ("/api/v1/meetings/123-456-789", Some("123-456-789")),
            ("/api/v1/meetings/m1/stills/7", Some("m1")),
            ("/whip/m1", Some("m1")),
            ("/whep/m1/session", Some("m1")),
            ("/api/v1/meetings/123%20456%20789", Some("123 456 789")),
            ("/api/v1/meetings/m1/join", None),
            ("/api/v1/meetings/m1/tokens", None),
            ("/api/v1/meetings", None),
            ("/api/v1/meetings/", None),
            ("/m/123", None),
            ("/", None),
        ] {
            assert_eq!(of_path(path).as_deref(), expected, "{path}");
        }
    }
}
