//! The internal port: requests of other instances, in the name of clients whose addresses they give.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;
use tianqiao_protocol::ErrorCode;

use crate::app::App;
use crate::refusal::Refusal;

/// The fleet's secret.
pub const SECRET_HEADER: &str = "tianqiao-fleet";
/// The client's address.
pub const CLIENT_HEADER: &str = "tianqiao-client";
/// On an answer: the instance that was asked does not own the meeting.
pub const NOT_OWNER_HEADER: &str = "tianqiao-not-owner";
/// The same of a WebSocket; a private-use close code (RFC 6455, section 7.4.2).
pub const CLOSE_NOT_OWNER: u16 = 4010;

/// Another instance passes the request on, of the client with this address. It has asked what is asked of strangers.
#[derive(Clone, Copy, Debug)]
pub struct FromMember(pub IpAddr);

/// Refuses all but other instances.
pub async fn admit_members(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    match client_of(&app, request.headers()) {
        Some(client) => {
            request.extensions_mut().insert(FromMember(client));
            next.run(request).await
        }
        None => Refusal::new(ErrorCode::Forbidden, "this port is for servers of the fleet").into_response(),
    }
}

fn client_of(app: &App, headers: &HeaderMap) -> Option<IpAddr> {
    let expected = app.fleet.as_ref()?.secrets.members.as_bytes();
    let shown = headers.get(SECRET_HEADER)?.as_bytes();
    let is_member: bool = shown.ct_eq(expected).into();
    is_member.then_some(())?;
    headers.get(CLIENT_HEADER)?.to_str().ok()?.parse().ok()
}

/// Tells the instance that has passed the request on to look anew.
pub fn not_owner() -> Response {
    let mut response = Refusal::new(ErrorCode::NotOwner, "another server owns the meeting").into_response();
    let is_it = axum::http::HeaderValue::from_static("1");
    response.headers_mut().insert(NOT_OWNER_HEADER, is_it);
    response
}
