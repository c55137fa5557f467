//! A body that does not come to its end in time is not waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tianqiao_protocol::ErrorCode;

use crate::app::App;
use crate::held_body::HeldBody;
use crate::refusal::Refusal;

/// Answers 408 where the handler still waits for the body after `body-timeout`.
pub async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let wanted = Arc::new(AtomicBool::new(true));
    let request = request.map(|body| Body::new(HeldBody::new(body, Wanted(wanted.clone()))));
    let answer = next.run(request);
    tokio::pin!(answer);
    match tokio::time::timeout(app.config.body_timeout, answer.as_mut()).await {
        Ok(answer) => answer,
        Err(_) if wanted.load(Ordering::Relaxed) => {
            let refusal = Refusal::new(ErrorCode::BadMessage, "the body did not come in time");
            refusal.with_status(StatusCode::REQUEST_TIMEOUT).into_response()
        }
        Err(_) => answer.await,
    }
}

/// The body has neither ended nor been dropped.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}
