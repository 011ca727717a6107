//! `GET /healthz`: the process lives. `GET /readyz`: every pipeline runs, and no sink is being tried again.

use std::sync::Arc;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde_json::json;

use super::{ApiState, problem};

pub async fn healthz() -> Response {
    problem::json(StatusCode::OK, &json!({"status": "alive"}))
}

pub async fn readyz(State(state): State<Arc<ApiState>>) -> Response {
    let mut obstacles = state.live().obstacles();
    if state.ingest.is_stopping() {
        obstacles.insert(0, "the process is stopping".to_owned());
    }
    if obstacles.is_empty() {
        return problem::json(StatusCode::OK, &json!({"status": "ready"}));
    }
    let mut problem = problem::Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "not ready");
    for obstacle in obstacles {
        problem = problem.seen(obstacle);
    }
    problem.retry_after(1).into_response()
}
