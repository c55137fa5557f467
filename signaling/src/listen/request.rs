//! One request and its answer, entered in the table of connections until the client has taken it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::{Request, Response, Version};
use tower::ServiceExt;

use super::Connection;
use crate::held_body::HeldBody;
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
        Ok(response.map(|body| HeldBody::new(body, open)))
    }
}

pub struct OpenRequest {
    number: u64,
    connection: Arc<Connection>,
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.connection.on_answered(self.number, now());
    }
}

/// An answer's body; with it the request ends.
pub type AnswerBody = HeldBody<OpenRequest>;
