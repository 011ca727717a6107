//! `/v1/pipelines`: every pipeline of the data folder, its last run and its books.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;
use syncline_engine::checkpoint;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    etag, facts,
    page::{self, InPath, Page, Params, Part},
    problem::{self, At, Problem, blocking},
    status::{self, PipelineStatus},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// A pipeline, its last run and its books.
#[derive(ToSchema)]
#[schema(as = Pipeline)]
pub struct Shape {
    pub pipeline: String,
    /// `starting`, `running`, `restarting`, `resting`, `scheduled`, `standby`, `stopping`, `stopped`, `paused`, `ended`, `failed`;
    /// `interrupted`: its process died.
    pub state: String,
    pub run: u64,
    pub attempt: u64,
    /// Of its last commit.
    pub epoch: u64,
    #[schema(format = DateTime)]
    pub started: Option<String>,
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    #[schema(format = DateTime)]
    pub last_checkpoint: Option<String>,
    pub reason: Option<String>,
    /// Starts of its task after the first one in this process.
    pub restarts: u64,
    #[schema(format = DateTime)]
    pub next_start: Option<String>,
    pub rows_in: u64,
    /// Records that wait for it.
    pub lag: Option<u64>,
    /// Rows on their way to sinks.
    pub waiting: u64,
    pub state_bytes: u64,
    pub watermark: Option<String>,
    /// How far its history is; left out where it has none.
    #[schema(required = false, value_type = Object)]
    pub history: Value,
    pub balanced: bool,
    /// Left out where it has none; see `/v1/schedules`.
    #[schema(required = false, value_type = Object)]
    pub schedule: Value,
    /// Step of a sink → why it is being tried again.
    pub trouble: BTreeMap<String, String>,
    /// Step that writes a stream → the reader that it waits for.
    pub waits: BTreeMap<String, String>,
    pub steps: Vec<StepShape>,
}

/// A page of the books.
#[derive(ToSchema)]
#[schema(as = Step)]
pub struct StepShape {
    pub step: String,
    pub rows_in: u64,
    pub rows_out: u64,
    /// Rows by what became of them: `passed`, `filtered`, `duplicate`, `dead`, …
    pub fates: BTreeMap<String, u64>,
    pub waiting: u64,
    pub null_keys: u64,
    pub late_windows: u64,
    pub warned: u64,
    pub balanced: bool,
    /// What it remembers; left out where it has no state.
    #[schema(required = false, value_type = Object)]
    pub state: Value,
}

/// All pipelines
///
/// In order of name.
#[utoipa::path(
    get,
    path = "/v1/pipelines",
    operation_id = "listPipelines",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Shape>, description = "A page of them"), At<400>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    let mut all = all(&state).await?;
    all.retain(|pipeline| caller.may_touch(&pipeline.pipeline));
    let page = page::named(all, |pipeline| &pipeline.pipeline, &part)?;
    let items = page.items.iter().map(facts::of_pipeline).collect();
    Ok(problem::json(StatusCode::OK, &Page { items, next: page.next }))
}

/// One pipeline
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}",
    operation_id = "getPipeline",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shape, description = "It"), etag::Unchanged, At<404>, At<503>),
)]
pub async fn show(
    State(state): State<Arc<ApiState>>,
    InPath(name): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let pipeline = all(&state).await?.into_iter().find(|pipeline| pipeline.pipeline == name);
    let pipeline = pipeline.ok_or_else(|| no_such_pipeline(&name))?;
    Ok(etag::answer(&headers, &facts::of_pipeline(&pipeline)))
}

pub fn no_such_pipeline(name: &str) -> Problem {
    Problem::refused(StatusCode::NOT_FOUND, "no-such-pipeline", format!("there is no pipeline {name} here"))
        .help("GET /v1/pipelines lists them")
}

async fn all(state: &Arc<ApiState>) -> Result<Vec<PipelineStatus>, Problem> {
    let state = state.clone();
    let looked = blocking(move || status::look(&state)).await?;
    looked.map(|status| status.pipelines).map_err(|failure| Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure))
}

/// Whether there is such a pipeline in this folder.
pub async fn is_there(state: &Arc<ApiState>, name: &str) -> Result<bool, Problem> {
    let (state, name) = (state.clone(), name.to_owned());
    let known = blocking(move || {
        let live = state.live().get(&name).is_some();
        Ok(live || checkpoint::pipelines(&*state.store, &checkpoint::KNOWN)?.contains(&name))
    });
    known.await?.map_err(|error| Problem::new(StatusCode::SERVICE_UNAVAILABLE, crate::world::store_failure(error)))
}
