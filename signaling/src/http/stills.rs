//! `/api/v1/meetings/{id-or-code}/stills/{track}`: PUT by the presenter's page, GET by pages whose links do not carry the
//! video. Both show their session's secret as bearer token.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tianqiao_protocol::rest::StillTaken;
use tianqiao_protocol::{ErrorCode, ParticipantId, TrackId};
use tokio::time::Instant;

use super::extract::{ClientIp, too_large};
use crate::app::App;
use crate::auth::bearer;
use crate::meeting::{StillLink, is_webp};
use crate::meetings::{LiveMeeting, now};
use crate::metrics::Metrics;
use crate::refusal::Refusal;
use crate::session::SessionKey;

const WEBP: &str = "image/webp";
/// With the frames of HTTP/2 and TLS around it this keeps a link of 100 kbit/s busy for 60 ms, which a voice hardly feels.
const CHUNK: usize = 690;

/// The latest still of one of the client's own tracks → 200 [`StillTaken`].
pub async fn put(
    State(app): State<Arc<App>>,
    Path((meeting, track)): Path<(String, TrackId)>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<StillTaken>, Refusal> {
    let (live, owner) = session(&app, ip, &headers, &meeting)?;
    let mime = headers.get(header::CONTENT_TYPE);
    if mime.is_none_or(|mime| mime.as_bytes() != WEBP.as_bytes()) {
        let refusal = Refusal::new(ErrorCode::BadMessage, "the body must be image/webp");
        return Err(refusal.with_status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
    }
    let image = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => too_large(),
        _ => Refusal::new(ErrorCode::BadMessage, "the body cannot be read"),
    })?;
    if !is_webp(&image) {
        return Err(Refusal::new(ErrorCode::BadMessage, "the body is no WebP file"));
    }
    charge(&app, &live, &owner, image.len())?;
    let bytes = image.len() as u64;
    let next_bytes = live.put_still(&owner, track, image)?;
    app.metrics.stills.with_label_values(&["in"]).inc();
    app.metrics.still_bytes.with_label_values(&["in"]).inc_by(bytes);
    Ok(Json(StillTaken { next_bytes }))
}

/// The latest still of a track that one of the client's slots shows, at a pace that leaves voices alone. Another request
/// of the same session ends it.
pub async fn show(
    State(app): State<Arc<App>>,
    Path((meeting, track)): Path<(String, TrackId)>,
    ClientIp(ip): ClientIp,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let (live, viewer) = session(&app, ip, &headers, &meeting)?;
    charge(&app, &live, &viewer, 0)?;
    let still = live.still(&viewer, track);
    let (still, link) = still.ok_or_else(|| Refusal::new(ErrorCode::NotFound, "there is no still of it"))?;
    let headers = [
        (header::CONTENT_TYPE, WEBP.to_owned()),
        (header::CONTENT_LENGTH, still.image.len().to_string()),
        (header::ETAG, format!("\"{}\"", still.version)),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    let transfer = Transfer {
        rest: still.image,
        due: Instant::now(),
        number: link.begin(),
        link,
        most: app.config.still_bitrate.0,
        metrics: app.metrics.clone(),
    };
    Ok((headers, transfer.into_body()).into_response())
}

/// The meeting and the session whose secret the client shows.
fn session(
    app: &App,
    ip: IpAddr,
    headers: &HeaderMap,
    meeting: &str,
) -> Result<(Arc<LiveMeeting>, ParticipantId), Refusal> {
    let shown = SessionKey::parse(bearer(headers)?);
    let own = shown.and_then(
        |SessionKey {
             participant: id,
             secret,
             ..
         }| {
            let live = app.meetings.find_session(id)?;
            let is_own = (live.id == meeting || live.code == meeting) && live.is_session(id, secret);
            is_own.then(|| (live, id.to_owned()))
        },
    );
    if own.is_none() {
        // As with `resume`: the right secret is worth more than an address.
        app.gates.join(ip)?;
    }
    own.ok_or_else(Refusal::session_unknown)
}

/// Counts as a message of the client's token.
fn charge(app: &App, live: &LiveMeeting, session: &str, bytes: usize) -> Result<(), Refusal> {
    let identity = live.identity(session).ok_or_else(Refusal::session_unknown)?;
    let taken = app.budgets.of(&identity, now()).take(now(), bytes);
    taken.map_err(|wait| Refusal::rate_limited("too many messages, or too long ones", wait))
}

/// A still on its way to somebody.
struct Transfer {
    rest: Bytes,
    due: Instant,
    number: u32,
    link: Arc<StillLink>,
    /// Bits per second.
    most: u64,
    metrics: Arc<Metrics>,
}

impl Transfer {
    fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut transfer| async {
            let chunk = transfer.next().await?;
            Some((chunk, transfer))
        }))
    }

    /// What was held up is not made up for: after a loss the link has voices to catch up on.
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        if self.rest.is_empty() {
            return None;
        }
        tokio::time::sleep_until(self.due).await;
        let seconds = CHUNK as f64 * 8.0 / self.link.rate(self.most) as f64;
        self.due = Instant::now() + Duration::from_secs_f64(seconds);
        if !self.link.is_latest(self.number) {
            self.rest.clear();
            return Some(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        let chunk = self.rest.split_to(self.rest.len().min(CHUNK));
        let out = "out";
        self.metrics
            .still_bytes
            .with_label_values(&[out])
            .inc_by(chunk.len() as u64);
        if self.rest.is_empty() {
            self.metrics.stills.with_label_values(&[out]).inc();
        }
        Some(Ok(chunk))
    }
}
