//! `/v1/runs`, and the runs of one pipeline: the table `runs`, the newest first.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    etag,
    page::{self, InPath, Key, Kind, List, Page, Params, Part, literal},
    pipelines::{is_there, no_such_pipeline},
    problem::{At, Problem},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(of_pipeline)).routes(routes!(show))
}

/// A run of a pipeline. A start after a crash is a new attempt of the same run.
#[derive(ToSchema)]
pub struct Run {
    pub pipeline: String,
    pub run: u64,
    pub attempt: u64,
    /// `running`, `ended`, `failed`, `stopped`
    pub state: String,
    #[schema(format = DateTime)]
    pub started: String,
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    pub reason: Option<String>,
    pub epochs: u64,
    pub rows_in: u64,
    pub balanced: bool,
    /// The digest of what ran.
    pub plan: String,
    /// JSON: where in a commit its attempts were killed, and how many.
    pub killed: String,
    /// Of a run that a schedule began: the due time that it is for.
    #[schema(format = DateTime)]
    pub due: Option<String>,
    pub run_id: Option<String>,
}

const fn falling(column: &'static str, kind: Kind) -> Key {
    Key { column, kind, falling: true }
}

const NEWEST: &[Key] = &[falling("started", Kind::Time), falling("pipeline", Kind::Text), falling("run", Kind::Number)];
const LAST: &[Key] = &[falling("run", Kind::Number)];

/// Runs of all pipelines
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/v1/runs",
    operation_id = "listRuns",
    tag = "runs",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Run>, description = "A page of them"), At<400>, At<500>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    List { select: "SELECT * FROM runs".to_owned(), keys: NEWEST }.page(&state, &caller, &part).await
}

/// Runs of a pipeline
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/runs",
    operation_id = "listRunsOfPipeline",
    tag = "runs",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name"), Part),
    responses((status = 200, body = Page<Run>, description = "A page of them"), At<400>, At<404>, At<500>, At<503>),
)]
pub async fn of_pipeline(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(pipeline): InPath<String>,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    if !is_there(&state, &pipeline).await? {
        return Err(no_such_pipeline(&pipeline));
    }
    let select = format!("SELECT * FROM runs WHERE pipeline = {}", literal(&pipeline));
    List { select, keys: LAST }.page(&state, &caller, &part).await
}

/// One run of a pipeline
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/runs/{run}",
    operation_id = "getRun",
    tag = "runs",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name"), ("run" = u64, Path, description = "From 1")),
    responses((status = 200, body = Run, description = "It"), etag::Unchanged, At<400>, At<404>, At<500>, At<503>),
)]
pub async fn show(
    State(state): State<Arc<ApiState>>,
    InPath((pipeline, run)): InPath<(String, u64)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let run = i64::try_from(run).unwrap_or(i64::MAX);
    let sql = format!("SELECT * FROM runs WHERE pipeline = {} AND run = {run}", literal(&pipeline));
    let found = page::row(&state, &sql).await?;
    let found = found.ok_or_else(|| {
        Problem::refused(StatusCode::NOT_FOUND, "no-such-run", format!("there is no run {run} of {pipeline}"))
            .help("GET /v1/pipelines/{pipeline}/runs lists them")
    })?;
    Ok(etag::sent(&headers, "application/json", found))
}
