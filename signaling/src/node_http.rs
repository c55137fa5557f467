//! What a media server of a fleet serves over HTTP: metrics, probes, and draining for operators.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{Registry, TEXT_FORMAT, TextEncoder};
use serde::{Deserialize, Serialize};
use tianqiao_sfu::node::NodeStatus;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::operator_token::OperatorToken;

/// A control task that has not told of itself for so long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// What the node's shell gives to be served.
pub struct NodeHttp {
    pub registry: Registry,
    pub status: watch::Receiver<NodeStatus>,
    /// Whether the bus carries anything.
    pub connected: watch::Receiver<bool>,
    pub set_draining: Box<dyn Fn(bool) + Send + Sync>,
    pub token: Option<OperatorToken>,
    /// Only this machine reaches the port.
    pub is_local: bool,
}

/// Answer of `/drain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainStatus {
    pub draining: bool,
    /// For how long, in seconds.
    pub since: u64,
    /// That are left on the node.
    pub sessions: usize,
}

/// Serves on `listener` until the task is aborted.
pub fn serve(listener: TcpListener, node: NodeHttp) -> JoinHandle<()> {
    let router = router(Arc::new(node));
    tianqiao_bus::vital::spawn("node HTTP", async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "the HTTP port of the node failed");
        }
    })
}

/// Listens on the first of both that is free.
pub async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("metrics-listen: cannot listen on {address}"))
}

fn router(node: Arc<NodeHttp>) -> Router {
    let drain = Router::new()
        .route("/drain", get(drain_status).post(drain).delete(undrain))
        .layer(middleware::from_fn_with_state(node.clone(), for_operators));
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .merge(drain)
        .with_state(node)
}

async fn for_operators(State(node): State<Arc<NodeHttp>>, request: Request, next: Next) -> Response {
    let allowed = match &node.token {
        Some(token) => token.is_shown(request.headers()),
        None => node.is_local,
    };
    match allowed {
        true => next.run(request).await,
        false => (StatusCode::UNAUTHORIZED, "the operator's token is needed\n").into_response(),
    }
}

/// The control task is at work. Says nothing of the bus: without it media still flows.
async fn alive(State(node): State<Arc<NodeHttp>>) -> (StatusCode, &'static str) {
    let told = node.status.borrow().at;
    match told.is_some_and(|at| at.elapsed() < HANGS_AFTER) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the control task does not answer\n"),
    }
}

/// New rooms may be placed here.
async fn ready(State(node): State<Arc<NodeHttp>>) -> (StatusCode, &'static str) {
    if node.status.borrow().draining.is_some() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !*node.connected.borrow() {
        (StatusCode::SERVICE_UNAVAILABLE, "the bus is away\n")
    } else {
        alive(State(node)).await
    }
}

async fn metrics(State(node): State<Arc<NodeHttp>>) -> Response {
    match TextEncoder::new().encode_to_string(&node.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn drain_status(State(node): State<Arc<NodeHttp>>) -> Json<DrainStatus> {
    let status = *node.status.borrow();
    Json(DrainStatus {
        draining: status.draining.is_some(),
        since: status.draining.map_or(0, |since: Instant| since.elapsed().as_secs()),
        sessions: status.sessions,
    })
}

async fn drain(State(node): State<Arc<NodeHttp>>) -> (StatusCode, Json<DrainStatus>) {
    set(node, true).await
}

async fn undrain(State(node): State<Arc<NodeHttp>>) -> (StatusCode, Json<DrainStatus>) {
    set(node, false).await
}

async fn set(node: Arc<NodeHttp>, draining: bool) -> (StatusCode, Json<DrainStatus>) {
    (node.set_draining)(draining);
    let mut status = node.status.clone();
    let took = status.wait_for(|status| status.draining.is_some() == draining);
    // A control task that hangs is the liveness probe's affair.
    let took = tokio::time::timeout(Duration::from_secs(2), took).await.is_ok();
    let code = if took { StatusCode::OK } else { StatusCode::ACCEPTED };
    (code, drain_status(State(node)).await)
}
