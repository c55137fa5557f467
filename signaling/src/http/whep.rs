//! `POST /whep/{id-or-code}[?participant=ID]`: watches the dominant speaker, or one participant.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tianqiao_protocol::control::AudioPolicy;
use tianqiao_protocol::{ErrorCode, SlotTarget, TrackSource};

use super::extract::ClientIp;
use super::media_session::{self, Sdp};
use crate::app::App;
use crate::meeting::Kind;
use crate::network::Network;
use crate::refusal::Refusal;

#[derive(Deserialize)]
pub struct Watched {
    participant: Option<String>,
}

pub async fn create(
    State(app): State<Arc<App>>,
    Path(meeting): Path<String>,
    watched: Result<Query<Watched>, QueryRejection>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    sdp: Result<Sdp, Refusal>,
) -> Result<Response, Refusal> {
    app.gates.join(ip)?;
    let (live, claims) = media_session::authorize(&app, &headers, &meeting)?;
    let sdp = sdp?;
    let Query(watched) = watched.map_err(|_| Refusal::new(ErrorCode::BadMessage, "the query cannot be read"))?;
    let target = match watched.participant {
        None => SlotTarget::ActiveSpeaker,
        Some(participant) if live.has_participant(&participant) => SlotTarget::Source {
            participant,
            source: TrackSource::Camera,
        },
        Some(_) => return Err(Refusal::session_unknown()),
    };
    let from = (app.origins.of(ip), Network::host(ip));
    media_session::create(app, live, claims, from, Kind::Whep, sdp, AudioPolicy::Follow(target)).await
}
