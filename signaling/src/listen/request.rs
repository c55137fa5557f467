//! One request and its answer, entered in the table of connections until the client has taken it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::ConnectInfo;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::{Request, Response, Version};
use tower::ServiceExt;

use super::Connection;
use crate::meetings::now;

/// The handler finds the peer as [`ConnectInfo`] and the [`Connection`] among the request's extensions.
pub fn answer(
    request: Request<Incoming>,
    connection: &Arc<Connection>,
    router: &Router,
    peer: SocketAddr,
) -> impl Future<Output = Result<Response<AnswerBody>, Infallible>> + Send + use<> {
    let open = OpenRequest {
        number: connection.on_request(request.version() != Version::HTTP_2, now()),
        connection: connection.clone(),
    };
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(ConnectInfo(peer));
    request.extensions_mut().insert(connection.clone());
    let answer = router.clone().oneshot(request);
    async move {
        let response = answer.await?;
        Ok(response.map(|body| AnswerBody { body, _open: open }))
    }
}

struct OpenRequest {
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connection.on_answered(self.number, now());
    }
}

/// An answer's body; HTTP drops it when the last of it is handed over.
pub struct AnswerBody {
    body: Body,
    _open: OpenRequest,
}

impl HttpBody for AnswerBody {
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
