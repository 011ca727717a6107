//! `/v1/backfills`: how far the history of each pipeline is that has, or had, one, and what people asked of it: the table `backfills`.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use syncline_engine::backfill::Wish;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::{JSON, Whole},
    life,
    page::{self, InPath, Key, Kind, List, Page, Params, Part, literal},
    pipelines::no_such_pipeline,
    problem::{At, Problem},
};
use crate::{backfill::SHARE, verbs::Verb};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(start))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(cancel))
}

/// How far a history is, as of the last checkpoint of its pipeline.
#[derive(ToSchema)]
pub struct Backfill {
    pub pipeline: String,
    /// 0: the history of its file.
    pub number: u64,
    /// `reading`, `paused`, `cancelled`, `done`
    pub state: String,
    /// `waiting`, `reading`, `catching up`, `elsewhere`; none where nothing is on its way.
    pub phase: Option<String>,
    /// What people asked for.
    pub source: Option<String>,
    /// Of the time, in hundredths.
    pub share: Option<u64>,
    #[schema(format = DateTime)]
    pub asked: Option<String>,
    #[schema(format = DateTime)]
    pub began: Option<String>,
    #[schema(format = DateTime)]
    pub ended: Option<String>,
    pub rows: Option<u64>,
    /// Of them, at whichever step; what a sink refused of them is among the dead letters alone.
    pub dead: Option<u64>,
    /// Of the pipeline, since it was asked for: more than one where it failed, was killed, or was held.
    pub starts: Option<u64>,
    pub bytes_done: Option<u64>,
    pub bytes_total: Option<u64>,
    /// With those that were read, more or less; where its source counts records and no bytes.
    pub rows_total: Option<u64>,
    /// Of records as they came, or of the columns that were taken.
    pub bytes_read: Option<u64>,
    /// In which the pipeline's thread worked on its rows.
    pub busy_ms: Option<u64>,
    pub seconds: Option<u64>,
    pub rows_per_second: Option<u64>,
    /// To the end of the phase, from now on.
    pub seconds_left: Option<u64>,
    /// Of a pipeline that several processes may run: how many take a part.
    pub tasks: Option<u64>,
    /// Those of them that have read theirs.
    pub tasks_done: Option<u64>,
    /// Those of them that this process works on, whose rows are told here.
    pub tasks_here: Option<u64>,
}

const NAME: &[Key] = &[
    Key { column: "pipeline", kind: Kind::Text, falling: false },
    Key { column: "number", kind: Kind::Number, falling: false },
];

/// All backfills
///
/// In order of pipeline and number.
#[utoipa::path(
    get,
    path = "/v1/backfills",
    operation_id = "listBackfills",
    tag = "backfills",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Backfill>, description = "A page of them"), At<400>, At<500>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    List { select: "SELECT * FROM backfills".to_owned(), keys: NAME }.page(&state, &caller, &part).await
}

/// What a pipeline is to take in.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = BackfillWanted)]
pub struct Wanted {
    /// What it reads, as it would stand in `history(…)` of the pipeline's file.
    pub source: String,
    /// Hundredths of the time that it may take while the pipeline has other rows.
    #[serde(default = "share")]
    #[schema(required = false, minimum = 1, maximum = 95)]
    pub share: u8,
}

fn share() -> u8 {
    SHARE
}

/// Start a backfill
///
/// The pipeline reads the source to its end beside its own, through the same steps into the same state.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/backfill",
    operation_id = "startBackfill",
    tag = "backfills",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    request_body(content = Wanted),
    responses(
        (status = 201, body = Backfill, description = "How it stands"),
        At<400>, At<404>, At<409>, At<413>, At<422>, At<500>, At<503>,
    ),
)]
pub async fn start(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    body: Whole<JSON>,
) -> Result<Response, Problem> {
    let Wanted { source, share } = life::body(&body.bytes, "{\"source\": \"'old/*.parquet'\", \"share\": 25}")?;
    if !(1..=95).contains(&share) {
        let title = format!("a share of {share} hundredths is none");
        return Err(Problem::refused(StatusCode::UNPROCESSABLE_ENTITY, "backfill-wrong", title).help("1 to 95"));
    }
    told(state, caller, name, Verb::TakeIn { from: source, share, seen: false }, StatusCode::CREATED).await
}

/// Hold a backfill
///
/// Across restarts too.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/backfill/pause",
    operation_id = "pauseBackfill",
    tag = "backfills",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Backfill, description = "How it stands"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn pause(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Backfill(Wish::Pause), StatusCode::OK).await
}

/// Let a backfill go on
///
/// From where it was.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/backfill/resume",
    operation_id = "resumeBackfill",
    tag = "backfills",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Backfill, description = "How it stands"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn resume(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Backfill(Wish::Read), StatusCode::OK).await
}

/// End a backfill
///
/// What it has read stays.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/backfill/cancel",
    operation_id = "cancelBackfill",
    tag = "backfills",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Backfill, description = "How it stands"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn cancel(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Backfill(Wish::Cancel), StatusCode::OK).await
}

async fn told(
    state: Arc<ApiState>,
    caller: Caller,
    name: String,
    verb: Verb,
    status: StatusCode,
) -> Result<Response, Problem> {
    life::ask(&state, &caller, name.clone(), verb).await?;
    let sql = format!("SELECT * FROM backfills WHERE pipeline = {} ORDER BY number DESC LIMIT 1", literal(&name));
    let row = page::row(&state, &sql).await?.ok_or_else(|| no_such_pipeline(&name))?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], row).into_response())
}
