//! `/api/v1/operator/…`: the fleet as JSON, for the bearer of the operator's token.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use tianqiao_protocol::ErrorCode;
use tianqiao_protocol::rest::{FleetNode, FleetRoom};

use crate::app::App;
use crate::operator::survey;
use crate::refusal::Refusal;

/// `GET /api/v1/operator/nodes`
pub async fn nodes(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Vec<FleetNode>>, Refusal> {
    check(&app, &headers)?;
    Ok(Json(survey(app.meetings.bus()).await.0))
}

/// `GET /api/v1/operator/rooms`
pub async fn rooms(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<Vec<FleetRoom>>, Refusal> {
    check(&app, &headers)?;
    Ok(Json(survey(app.meetings.bus()).await.1))
}

fn check(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_shown = app.operator.as_ref().is_some_and(|token| token.is_shown(headers));
    is_shown
        .then_some(())
        .ok_or_else(|| Refusal::new(ErrorCode::TokenInvalid, "the operator's token is needed"))
}
