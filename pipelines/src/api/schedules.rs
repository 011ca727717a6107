//! `/v1/schedules`: when pipelines are due, the table `schedules`. `POST …/pause` holds a schedule, `resume` lets it go on, `run` starts a
//! run now; the answer is how the schedule stands then.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use syncline_engine::{firing, paused, store::StateStore};
use syncline_record::Micros;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    etag,
    page::{self, InPath, Key, Kind, List, Page, Params, Part, literal},
    problem::{At, Problem, blocking},
    status::{ScheduleStatus, read_failure},
};
use crate::{outcome::Failure, schedule::Refused, verbs::paused_already, world::store_failure};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(show))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(start))
}

/// When a pipeline is due.
#[derive(ToSchema)]
pub struct Schedule {
    pub pipeline: String,
    /// `every`, `cron`
    pub kind: String,
    pub expression: String,
    pub time_zone: String,
    /// What becomes of due times that have passed: `run once`, `run all`, `skip`.
    pub missed: String,
    pub paused: bool,
    #[schema(format = DateTime)]
    pub last_due: Option<String>,
    #[schema(format = DateTime)]
    pub last_started: Option<String>,
    /// Of the run for `last_due`.
    pub last_outcome: Option<String>,
    #[schema(format = DateTime)]
    pub next_due: Option<String>,
    pub missed_runs: u64,
}

const NAME: &[Key] = &[Key { column: "pipeline", kind: Kind::Text, falling: false }];

/// All schedules
///
/// In order of pipeline.
#[utoipa::path(
    get,
    path = "/v1/schedules",
    operation_id = "listSchedules",
    tag = "schedules",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Schedule>, description = "A page of them"), At<400>, At<500>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    List { select: "SELECT * FROM schedules".to_owned(), keys: NAME }.page(&state, &caller, &part).await
}

/// The schedule of a pipeline
#[utoipa::path(
    get,
    path = "/v1/schedules/{pipeline}",
    operation_id = "getSchedule",
    tag = "schedules",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Schedule, description = "It"), etag::Unchanged, At<404>, At<500>, At<503>),
)]
pub async fn show(
    State(state): State<Arc<ApiState>>,
    InPath(pipeline): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    Ok(etag::sent(&headers, "application/json", row(&state, &pipeline).await?))
}

/// Hold a schedule
///
/// No run starts until it is resumed, across restarts too; one that goes comes to its end.
#[utoipa::path(
    post,
    path = "/v1/schedules/{pipeline}/pause",
    operation_id = "pauseSchedule",
    tag = "schedules",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Schedule, description = "How it stands"), At<404>, At<500>, At<503>),
)]
pub async fn pause(State(state): State<Arc<ApiState>>, InPath(pipeline): InPath<String>) -> Result<Response, Problem> {
    told(state, pipeline, |state, pipeline| hold(&*state.store, pipeline, true, state.clock.now())).await
}

/// Let a schedule go on
///
/// What was due meanwhile gets no run.
#[utoipa::path(
    post,
    path = "/v1/schedules/{pipeline}/resume",
    operation_id = "resumeSchedule",
    tag = "schedules",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Schedule, description = "How it stands"), At<404>, At<500>, At<503>),
)]
pub async fn resume(State(state): State<Arc<ApiState>>, InPath(pipeline): InPath<String>) -> Result<Response, Problem> {
    told(state, pipeline, |state, pipeline| hold(&*state.store, pipeline, false, state.clock.now())).await
}

/// Start a run now
///
/// Beside its schedule. Runs of a pipeline never go at once.
#[utoipa::path(
    post,
    path = "/v1/schedules/{pipeline}/run",
    operation_id = "runNow",
    tag = "schedules",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Schedule, description = "How it stands"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn start(State(state): State<Arc<ApiState>>, InPath(pipeline): InPath<String>) -> Result<Response, Problem> {
    told(state, pipeline, run).await
}

/// Does what is asked; answers with how the schedule stands then.
async fn told(
    state: Arc<ApiState>,
    pipeline: String,
    change: fn(&ApiState, &str) -> Result<(), Failure>,
) -> Result<Response, Problem> {
    let (process, name) = (state.clone(), pipeline.clone());
    let changed = blocking(move || {
        let changed = change(&process, &name);
        process.wishes.tell();
        changed
    });
    changed.await?.map_err(problem)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], row(&state, &pipeline).await?).into_response())
}

async fn row(state: &ApiState, pipeline: &str) -> Result<Vec<u8>, Problem> {
    let sql = format!("SELECT * FROM schedules WHERE pipeline = {}", literal(pipeline));
    page::row(state, &sql).await?.ok_or_else(|| problem(no_such_schedule(pipeline)))
}

fn problem(failure: Failure) -> Problem {
    let status = match &*failure.slug {
        "no-such-schedule" => StatusCode::NOT_FOUND,
        "already-running" | "not-run-here" | "pipeline-paused" => StatusCode::CONFLICT,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, failure)
}

fn no_such_schedule(pipeline: &str) -> Failure {
    Failure::failed("no-such-schedule", format!("no pipeline {pipeline} with a schedule has run here"))
        .help("`syncline schedule list` shows those that have")
}

/// How the schedule of a pipeline stands.
pub fn standing(store: &dyn StateStore, pipeline: &str) -> Result<ScheduleStatus, Failure> {
    let standing = firing::standing(store, pipeline).map_err(read_failure)?;
    standing.map(ScheduleStatus::from).ok_or_else(|| no_such_schedule(pipeline))
}

/// Holds a schedule, or lets it go on. One that is so already stays as it is: nothing that is due gets lost by saying it twice.
pub fn hold(store: &dyn StateStore, pipeline: &str, paused: bool, now: Micros) -> Result<(), Failure> {
    if standing(store, pipeline)?.paused != paused {
        firing::put_hold(store, pipeline, paused, now).map_err(store_failure)?;
    }
    Ok(())
}

fn run(state: &ApiState, pipeline: &str) -> Result<(), Failure> {
    standing(&*state.store, pipeline)?;
    if paused::read(&*state.store, pipeline).map_err(read_failure)?.is_some() {
        return Err(paused_already(pipeline));
    }
    state.wishes.run(pipeline).map_err(|refused| match refused {
        Refused::Running => Failure::failed("already-running", format!("a run of {pipeline} is going"))
            .help("runs of a pipeline never go at once; ask again when it is over"),
        Refused::NotHere => Failure::failed("not-run-here", format!("this process does not run {pipeline}"))
            .help("look which files it was given: `syncline status`"),
    })
}
