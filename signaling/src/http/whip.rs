//! `POST /whip/{id-or-code}` (RFC 9725): any WHIP client takes part as a participant that publishes.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tianqiao_protocol::control::AudioPolicy;

use super::extract::ClientIp;
use super::media_session::{self, Sdp};
use crate::app::App;
use crate::meeting::Kind;
use crate::network::Network;
use crate::refusal::Refusal;

pub async fn create(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    sdp: Result<Sdp, Refusal>,
) -> Result<Response, Refusal> {
    app.gates.join(ip)?;
    let (live, claims) = media_session::authorize(&app, &headers, &meeting)?;
    let from = (app.origins.of(ip), Network::host(ip));
    media_session::create(app, live, claims, from, Kind::Whip, sdp?, AudioPolicy::Loudest).await
}
