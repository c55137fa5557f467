//! `GET /api/v1/ws`

use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::response::Response;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::ws::SUBPROTOCOL;

use super::extract::ClientIp;
use crate::app::App;
use crate::refusal::Refusal;
use crate::session;

/// Most messages fit; longer ones are read piece by piece.
const READ_BUFFER: usize = 2 * 1024;
/// A message that is too long by less than this is read to its end before it is refused: unread bytes would reset the
/// connection, and the refusal would be lost with it.
const READ_BEYOND_LIMIT: usize = 128 * 1024;

pub async fn upgrade(
    State(app): State<Arc<App>>,
    ClientIp(ip): ClientIp,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Refusal> {
    let upgrade = upgrade.map_err(|rejection| {
        Refusal::new(ErrorCode::BadMessage, "not a WebSocket handshake").with_status(rejection.status())
    })?;
    if app.is_stopping() {
        return Err(Refusal::new(ErrorCode::Unavailable, "the server stops"));
    }
    let permit = app.websockets.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Refusal::new(ErrorCode::Unavailable, "there are too many WebSockets"))?;
    let limit = app.config.max_message_size.0 + READ_BEYOND_LIMIT;
    Ok(upgrade
        .protocols([SUBPROTOCOL])
        .max_message_size(limit)
        .max_frame_size(limit)
        // Held as long as the session lives, and 128 KiB by default.
        .read_buffer_size(READ_BUFFER)
        .on_upgrade(move |socket| async move {
            session::run(app, socket, ip).await;
            drop(permit);
        }))
}
