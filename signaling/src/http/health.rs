//! For the machines that watch the server.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use prometheus::{TEXT_FORMAT, TextEncoder};

use crate::app::App;

/// `GET /healthz`: the process answers.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: meetings can be held, as a media server has shown within the last second.
pub async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    if app.is_stopping() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else if !app.meetings.has_node() {
        (StatusCode::SERVICE_UNAVAILABLE, "no media server\n")
    } else if !app.readiness.is_ready().await {
        (StatusCode::SERVICE_UNAVAILABLE, "the media server does not answer\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

/// `GET /metrics`: Prometheus text.
pub async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    match TextEncoder::new().encode_to_string(&app.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
