//! `GET /healthz`: the process lives. `GET /readyz`: every pipeline runs, and no sink is being tried again.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    problem::{self, At},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(healthz)).routes(routes!(readyz))
}

/// How the process is.
#[derive(ToSchema)]
pub struct Health {
    /// `alive`, `ready`
    pub status: String,
}

/// Whether the process lives
#[utoipa::path(
    get,
    path = "/healthz",
    operation_id = "getHealth",
    tag = "process",
    security(()),
    responses((status = 200, body = Health, description = "It does")),
)]
pub async fn healthz() -> Response {
    problem::json(StatusCode::OK, &json!({"status": "alive"}))
}

/// Whether every pipeline does its work
#[utoipa::path(
    get,
    path = "/readyz",
    operation_id = "getReadiness",
    tag = "process",
    security(()),
    responses((status = 200, body = Health, description = "They do"), At<503>),
)]
pub async fn readyz(State(state): State<Arc<ApiState>>, caller: Caller) -> Response {
    let mut obstacles = state.live().obstacles();
    if state.ingest.is_stopping() {
        obstacles.insert(0, "the process is stopping".to_owned());
    }
    if obstacles.is_empty() {
        return problem::json(StatusCode::OK, &json!({"status": "ready"}));
    }
    let mut problem = problem::Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "not ready");
    // Reasons name pipelines and places: they are for whoever may look.
    for obstacle in obstacles.into_iter().filter(|_| caller.role.is_some() && caller.pipelines.is_none()) {
        problem = problem.seen(obstacle);
    }
    problem.retry_after(1).into_response()
}
