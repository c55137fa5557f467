//! The web client.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, Method, Uri};
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;

use crate::app::App;
use crate::refusal::Refusal;

/// `GET /` and `GET /m/{code}`: the page finds its meeting in its own address.
pub async fn index(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    serve(&app, "index.html", &headers)
}

/// Any other path: a file of the page, or nothing.
pub async fn file(State(app): State<Arc<App>>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return not_found().into_response();
    }
    serve(&app, uri.path().trim_start_matches('/'), &headers)
}

fn serve(app: &App, path: &str, headers: &HeaderMap) -> Response {
    app.assets
        .serve(path, headers)
        .unwrap_or_else(|| not_found().into_response())
}

fn not_found() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is nothing here")
}
