//! A body that does not come to its end in time is not waited for.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use tianqiao_protocol::ErrorCode;

use crate::app::App;
use crate::refusal::Refusal;

/// Answers 408 where the handler still waits for the body after `body-timeout`.
pub async fn watch(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let wanted = Arc::new(AtomicBool::new(true));
    let request = request.map(|body| {
        Body::new(WatchedBody {
            body,
            wanted: wanted.clone(),
        })
    });
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

struct WatchedBody {
    body: Body,
    /// It has neither ended nor been dropped.
    wanted: Arc<AtomicBool>,
}

impl HttpBody for WatchedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for WatchedBody {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
    }
}
