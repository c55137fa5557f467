//! What handlers take from a request, with refusals of ours where it is wrong.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{ConnectInfo, FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use tianqiao_protocol::{ErrorCode, proof};

use super::forwarded::client_ip;
use crate::app::App;
use crate::fleet::FromMember;
use crate::refusal::Refusal;

/// A JSON body.
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Refusal> {
        match Json::from_request(request, app).await {
            Ok(Json(value)) => Ok(Self(value)),
            Err(rejection) => Err(refusal(&rejection)),
        }
    }
}

fn refusal(rejection: &JsonRejection) -> Refusal {
    let status = rejection.status();
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    let message = match rejection {
        JsonRejection::MissingJsonContentType(_) => "the body must be application/json",
        JsonRejection::JsonSyntaxError(_) => "the body is not JSON",
        JsonRejection::JsonDataError(_) => "the body lacks a field, or has one that is unknown or of another type",
        _ => "the body cannot be read",
    };
    let refusal = Refusal::new(ErrorCode::BadMessage, message);
    match status {
        StatusCode::UNSUPPORTED_MEDIA_TYPE => refusal.with_status(status),
        _ => refusal,
    }
}

pub fn too_large() -> Refusal {
    Refusal::new(ErrorCode::TooLarge, "the body is too large")
}

/// A proof of work that comes with the request.
pub fn solution(headers: &HeaderMap) -> Option<&str> {
    headers.get(proof::HEADER)?.to_str().ok()
}

/// Whether the client takes an answer in that content coding (RFC 9110, section 12.5.3).
pub fn accepts(request: &HeaderMap, encoding: &str) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter();
    let mut items = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    items.any(|item| {
        let (name, weight) = item.split_once(';').unwrap_or((item, ""));
        let weight = weight.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        name.trim().eq_ignore_ascii_case(encoding) && weight.is_ok_and(|weight| weight > 0.0)
    })
}

/// The client's address: the peer's, or what a trusted proxy says.
pub struct ClientIp(pub IpAddr);

impl FromRequestParts<Arc<App>> for ClientIp {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        if let Some(FromMember(client)) = parts.extensions.get() {
            return Ok(Self(*client));
        }
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |ConnectInfo(peer)| peer.ip());
        Ok(Self(client_ip(peer, &parts.headers, &app.config.trusted_proxies)))
    }
}
