//! Everything that is served over HTTP: a file per resource.

mod body_deadline;
mod extract;
mod forwarded;
mod health;
mod join;
mod layers;
mod media_session;
mod meetings;
mod operator;
mod own_names;
mod page;
mod sdp_fragment;
mod stills;
mod tokens;
mod websocket;
mod whep;
mod whip;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware;
use axum::routing::{get, patch, post};
use tianqiao_protocol::ErrorCode;

use crate::app::App;
use crate::fleet;
use crate::refusal::Refusal;
pub use extract::{ClientIp, accepts, solution, too_large};
pub use own_names::{OwnNames, requested_host};

/// Bodies of REST are a title, a name, a passcode.
const MAX_JSON_BODY: usize = 16 * 1024;

pub fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/meetings", post(meetings::create))
        .route("/meetings/{meeting}", get(meetings::show).delete(meetings::end))
        .route("/meetings/{meeting}/tokens", post(tokens::create))
        .route(
            "/meetings/{meeting}/join",
            post(join::create).layer(DefaultBodyLimit::max(app.config.max_message_size.0)),
        )
        .route(
            "/meetings/{meeting}/stills/{track}",
            get(stills::show)
                .put(stills::put)
                .layer(DefaultBodyLimit::max(app.config.max_still_size.0)),
        )
        .route("/operator/nodes", get(operator::nodes))
        .route("/operator/rooms", get(operator::rooms))
        // GET over HTTP/1, CONNECT over HTTP/2.
        .route("/ws", get(websocket::upgrade).connect(websocket::upgrade))
        .layer(DefaultBodyLimit::max(MAX_JSON_BODY))
        .layer(middleware::from_fn_with_state(app.clone(), fleet::route))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            layers::refuse_strange_origins,
        ));
    let session = patch(media_session::change)
        .delete(media_session::end)
        .options(media_session::session_options);
    let media = Router::new()
        .route(
            "/whip/{meeting}",
            post(whip::create).options(media_session::endpoint_options),
        )
        .route(
            "/whep/{meeting}",
            post(whep::create).options(media_session::endpoint_options),
        )
        .route("/whip/{meeting}/{session}", session.clone())
        .route("/whep/{meeting}/{session}", session)
        .layer(DefaultBodyLimit::max(app.config.max_sdp_size.0))
        .layer(middleware::from_fn_with_state(app.clone(), fleet::route))
        .layer(middleware::map_response(media_session::allow_origins));
    Router::new()
        .nest("/api/v1", api)
        .merge(media)
        .route("/", get(page::index))
        .route("/m/{code}", get(page::index))
        .fallback(page::file)
        .layer(middleware::from_fn_with_state(app.clone(), body_deadline::watch))
        .layer(middleware::from_fn_with_state(
            app.clone(),
            layers::refuse_strange_hosts,
        ))
        // Load balancers ask for these by a name of their own.
        .merge(health_routes())
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::map_response(layers::harden))
        .layer(middleware::from_fn_with_state(app.clone(), layers::announce_https))
        .layer(middleware::from_fn_with_state(app.clone(), layers::measure))
        .with_state(app)
}

/// What the internal port serves: the same, to other instances of the fleet.
pub fn members_router(app: Arc<App>) -> Router {
    router(app.clone()).layer(middleware::from_fn_with_state(app, fleet::admit_members))
}

/// What `metrics-listen` serves. On a loopback address only pages of this machine may read it.
pub fn watchers_router(app: Arc<App>, on_loopback: bool) -> Router {
    let router = health_routes().route("/metrics", get(health::metrics)).with_state(app);
    match on_loopback {
        true => router.layer(middleware::from_fn(layers::refuse_all_but_local_hosts)),
        false => router,
    }
}

fn health_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
}

async fn method_not_allowed() -> Refusal {
    Refusal::new(ErrorCode::BadMessage, "the resource has no such method").with_status(StatusCode::METHOD_NOT_ALLOWED)
}
