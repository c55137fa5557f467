//! What every answer goes through.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, Response, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response as Answer};
use tianqiao_protocol::ErrorCode;

use super::own_names::{OwnNames, bare, is_local_or_address, requested_host};
use crate::app::App;
use crate::fleet::FromMember;
use crate::refusal::Refusal;

/// Counts and times requests by route; paths and methods of strangers never become labels.
pub async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Answer {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("other", MatchedPath::as_str);
    let method = request.method().clone();
    let start = Instant::now();
    let response = next.run(request).await;
    let status = response.status();
    if let Some(code) = response.extensions().get::<ErrorCode>() {
        app.metrics.on_refused(*code);
    }
    app.metrics
        .http_requests
        .with_label_values(&[route, method_label(&method), status.as_str()])
        .inc();
    let seconds = start.elapsed().as_secs_f64();
    app.metrics.http_seconds.with_label_values(&[route]).observe(seconds);
    tracing::debug!(
        route,
        method = method_label(&method),
        status = status.as_u16(),
        seconds,
        "request"
    );
    response
}

/// A method is any word that a client makes up, and a label is kept for ever.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// Pages of other servers must not act here by their visitor's browser, from the visitor's place in the network.
pub async fn refuse_strange_origins(State(app): State<Arc<App>>, request: Request, next: Next) -> Answer {
    let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let is_websocket = request.headers().contains_key(header::UPGRADE);
    let is_passed_on = request.extensions().get::<FromMember>().is_some();
    if is_passed_on || (changes_nothing && !is_websocket) || app.names.is_own_origin(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    let message = "the page that asks is of another server; its origin can be named in allowed-origins";
    Refusal::new(ErrorCode::Forbidden, message).into_response()
}

/// A name that was pointed at this server to get at it through a visitor's browser (DNS rebinding).
pub async fn refuse_strange_hosts(State(app): State<Arc<App>>, request: Request, next: Next) -> Answer {
    let is_passed_on = request.extensions().get::<FromMember>().is_some();
    if is_passed_on || app.names.is_own_host(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    misdirected()
}

/// As [`refuse_strange_hosts`], on a socket that has no name but this machine's.
pub async fn refuse_all_but_local_hosts(request: Request, next: Next) -> Answer {
    if OwnNames::of_this_machine().is_own_host(request.uri(), request.headers()) {
        return next.run(request).await;
    }
    misdirected()
}

fn misdirected() -> Answer {
    let message = "the server does not know this name as its own; it can be named in public-url or allowed-hosts";
    Refusal::new(ErrorCode::Misdirected, message).into_response()
}

/// HSTS (RFC 6797), where the certificate is the operator's and the host has a name.
pub async fn announce_https(State(app): State<Arc<App>>, request: Request, next: Next) -> Answer {
    let max_age = app.config.hsts_max_age.as_secs();
    let host = requested_host(request.uri(), request.headers());
    let named = host.is_some_and(|host| !is_local_or_address(&bare(&host)));
    let announced = app.config.tls_cert.is_some() && max_age > 0 && named;
    let mut response = next.run(request).await;
    if announced && let Ok(value) = HeaderValue::try_from(format!("max-age={max_age}")) {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, value);
    }
    response
}

/// For the page: what it may load, and that only it may use camera and microphone.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; \
    media-src 'self' blob: mediastream:; font-src 'self'; connect-src 'self'; manifest-src 'self'; worker-src 'self' blob:; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";
const PERMISSIONS_POLICY: &str =
    "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), geolocation=(), payment=(), usb=()";

pub async fn harden<B>(mut response: Response<B>) -> Response<B> {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let html = headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|mime| mime.as_bytes().starts_with(b"text/html"));
    if html {
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(CONTENT_SECURITY_POLICY),
        );
        headers.insert("permissions-policy", HeaderValue::from_static(PERMISSIONS_POLICY));
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
    }
    response
}
