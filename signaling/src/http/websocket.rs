//! `GET /api/v1/ws`, and `CONNECT` to it over HTTP/2 (RFC 8441).

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::ws::SUBPROTOCOL;
use tokio::sync::OwnedSemaphorePermit;

use super::extract::ClientIp;
use crate::app::App;
use crate::fleet::Passing;
use crate::listen::Connection;
use crate::meetings::now;
use crate::network::Network;
use crate::refusal::Refusal;
use crate::session;

/// Most messages fit; longer ones are read piece by piece.
const READ_BUFFER: usize = 2 * 1024;
/// A message that is too long by less than this is read to its end before it is refused: unread bytes would reset the
/// connection, and the refusal would be lost with it.
/// More would be memory that each WebSocket can hold with a message that never ends.
const READ_BEYOND_LIMIT: usize = 16 * 1024;
/// What waits in a WebSocket's send buffer beside the largest message.
const WRITE_BEYOND: usize = 256 * 1024;
/// Bytes that one participant takes in the list at most: a name, an id and its tracks.
const PARTICIPANT_SIZE: usize = 1024;
/// A WebSocket that was closed for a newcomer gives its place back within this time.
const EVICTION_TIME: Duration = Duration::from_secs(1);
/// Where all WebSockets are in meetings.
const RETRY_AFTER: Duration = Duration::from_secs(10);

pub async fn upgrade(
    State(app): State<Arc<App>>,
    ClientIp(ip): ClientIp,
    Extension(connection): Extension<Arc<Connection>>,
    passing: Passing,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(|rejection| {
        Refusal::new(ErrorCode::BadMessage, "not a WebSocket handshake").with_status(rejection.status())
    })?;
    if app.is_stopping() {
        return Err(Refusal::new(ErrorCode::Unavailable, "the server stops"));
    }
    let permit = match app.websockets.clone().try_acquire_owned() {
        Ok(permit) => permit,
        Err(_) => place_of_another(&app).await?,
    };
    let carried = connection.on_upgraded(Network::site(ip), now());
    let carried = carried.ok_or_else(|| {
        let refusal = "the connection carries enough WebSockets";
        Refusal::busy(ErrorCode::RateLimited, refusal, RETRY_AFTER)
    })?;
    let from_member = passing.is_from_member();
    let limit = app.config.max_message_size.0 + READ_BEYOND_LIMIT;
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(limit)
        .max_frame_size(limit)
        .max_write_buffer_size(
            WRITE_BEYOND + 2 * app.config.chat_page_size.0 + app.config.max_participants * PARTICIPANT_SIZE,
        )
        // Held as long as the session lives, and 128 KiB by default.
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(move |socket| async move {
            session::run(app, socket, ip, carried, from_member).await;
            drop(permit);
        }))
}

/// All are taken: the one that has waited longest for its `join` makes room.
async fn place_of_another(app: &App) -> Result<OwnedSemaphorePermit, Refusal> {
    let refusal = || Refusal {
        retry_after: Some(RETRY_AFTER),
        ..Refusal::new(ErrorCode::Unavailable, "there are too many WebSockets")
    };
    if !app.connections.evict_waiting() {
        return Err(refusal());
    }
    let freed = tokio::time::timeout(EVICTION_TIME, app.websockets.clone().acquire_owned()).await;
    freed.ok().and_then(Result::ok).ok_or_else(refusal)
}
