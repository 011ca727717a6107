//! The life of pipelines: their files are written through a process that serves them, and verbs hold them, let them go on, take them away
//! and back.
//!
//! A verb is answered when the pipeline is where it was sent, or after [`SETTLES`], with how it is then. Every change goes through the one
//! thread that supervises them all (`verbs`).

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, de::DeserializeOwned};
use syncline_engine::{paused, runtime::Ground};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Activity, ApiState,
    access::Caller,
    body::{JSON, Raw, TEXT, Whole},
    etag::{self, Conditions, ETag},
    facts,
    page::{InPath, Params},
    pipelines::{Shape, no_such_pipeline},
    problem::{self, At, Problem, blocking},
    status::{self, read_failure},
    texts::must_be_for_all,
};
use crate::{
    deploy,
    outcome::{Exit, Failure},
    verbs::{Done, Put, Refused, Verb, Way},
    world::store_failure,
};

/// How long an answer waits for a pipeline to be where it was sent: a stop is over within ten seconds.
const SETTLES: Duration = Duration::from_secs(12);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(20);

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(put))
        .routes(routes!(delete))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(stop))
        .routes(routes!(restart))
        .routes(routes!(rollback))
}

/// The text of a pipeline file.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = PipelineText)]
pub struct Written {
    pub text: String,
    /// Steps whose state may be lost.
    #[serde(default)]
    #[schema(required = false)]
    pub drop_state: Vec<String>,
    /// Pipelines that stop, because their file declares them no more.
    #[serde(default)]
    #[schema(required = false)]
    pub drop_pipelines: Vec<String>,
    /// The id of the plan that was looked at: 409 `stale-plan` when it is not true any more.
    #[serde(default)]
    #[schema(required = false)]
    pub plan: Option<String>,
}

/// Write a pipeline
///
/// Its file in the folder that is served has this text from now on. Only this pipeline is exchanged, and goes on from the state that is
/// there; where that would be lost, nothing is changed. The answer's ETag is that of the text.
#[utoipa::path(
    put,
    path = "/v1/pipelines/{pipeline}",
    operation_id = "putPipeline",
    tag = "pipelines",
    security(("token" = ["admin"])),
    params(
        ("pipeline" = String, Path, description = "Its name, which the text declares"),
        ("if-match" = Option<String>, Header, description = "The ETag of `/text`: 412 when the text that is there is another"),
        ("if-none-match" = Option<String>, Header, description = "`*`: 412 when it is there already"),
    ),
    request_body(content((Raw = "application/sql"), (Written = "application/json"))),
    responses(
        (status = 200, body = Shape, description = "How it is"),
        (status = 201, body = Shape, description = "It is new, and so it is"),
        At<400>, At<409>, At<412>, At<413>, At<422>, At<503>,
    ),
)]
pub async fn put(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    headers: HeaderMap,
    body: Whole<TEXT>,
) -> Result<Response, Problem> {
    let put = Put { conditions: Conditions::of(&headers), ..written(&headers, &body.bytes)? };
    must_be_for_all(&caller, &put.text).await?;
    put.drop_pipelines.iter().try_for_each(|name| caller.must_be_for(name))?;
    let tag = ETag::of(put.text.as_bytes());
    let mut answer = told(state, caller, name, Verb::Put(put)).await?;
    answer.headers_mut().insert(header::ETAG, tag.header());
    Ok(answer)
}

/// A text, as it is or in JSON.
pub fn written(headers: &HeaderMap, body: &[u8]) -> Result<Put, Problem> {
    let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    if json {
        let shape = "{\"text\": \"PIPELINE …\", \"drop_state\": []}; or the text itself, as application/sql";
        let Written { text, drop_state, drop_pipelines, plan } =
            serde_json::from_slice(body).map_err(|error| unreadable(&error, shape))?;
        return Ok(Put { text, drop_state, drop_pipelines, plan, ..Put::default() });
    }
    let text = str::from_utf8(body);
    text.map(|text| Put { text: text.to_owned(), ..Put::default() })
        .map_err(|_| Problem::refused(StatusCode::BAD_REQUEST, "body-unreadable", "the text is not UTF-8"))
}

fn unreadable(error: &serde_json::Error, shape: &str) -> Problem {
    let title = format!("the body is no such JSON: {error}");
    Problem::refused(StatusCode::BAD_REQUEST, "body-unreadable", title).help(shape)
}

/// A body in JSON; none is one without members.
pub fn read<T: DeserializeOwned + Default>(body: &[u8], shape: &str) -> Result<T, Problem> {
    if body.is_empty() {
        return Ok(T::default());
    }
    self::body(body, shape)
}

/// A body in JSON.
pub fn body<T: DeserializeOwned>(body: &[u8], shape: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| unreadable(&error, shape))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Leaves {
    /// `keep`, or `drop`: all that is known of it goes too. What it wrote outside stays.
    #[serde(default)]
    #[param(inline)]
    pub state: What,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = StateOfDeleted)]
pub enum What {
    #[default]
    Keep,
    Drop,
}

/// Take a pipeline away
///
/// It stops, and its file is removed. Its state stays for when it comes back, unless it is dropped.
#[utoipa::path(
    delete,
    path = "/v1/pipelines/{pipeline}",
    operation_id = "deletePipeline",
    tag = "pipelines",
    security(("token" = ["admin"])),
    params(
        ("pipeline" = String, Path, description = "Its name"),
        Leaves,
        ("if-match" = Option<String>, Header, description = "The ETag of `/text`: 412 when the text that is there is another"),
    ),
    responses((status = 204, description = "It is gone"), At<400>, At<404>, At<409>, At<412>, At<422>, At<503>),
)]
pub async fn delete(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    Params(Leaves { state: what }): Params<Leaves>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let verb = Verb::Delete { drop_state: what == What::Drop, conditions: Conditions::of(&headers) };
    ask(&state, &caller, name.clone(), verb).await?;
    settle(&state, &caller, &name).await;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Pause a pipeline
///
/// Nobody runs it until it is resumed, over restarts of the process too. Its paths take records, which wait for it.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/pause",
    operation_id = "pausePipeline",
    tag = "pipelines",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shape, description = "How it is"), At<404>, At<503>),
)]
pub async fn pause(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Pause).await
}

/// Let a pipeline go on
///
/// From its last checkpoint, after a pause or a stop.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/resume",
    operation_id = "resumePipeline",
    tag = "pipelines",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shape, description = "How it is"), At<404>, At<503>),
)]
pub async fn resume(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Resume).await
}

/// Stop a pipeline
///
/// Until it is resumed, or the process starts again.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/stop",
    operation_id = "stopPipeline",
    tag = "pipelines",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shape, description = "How it is"), At<404>, At<503>),
)]
pub async fn stop(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Stop).await
}

/// Start a pipeline again
///
/// It stops, and goes on from its last checkpoint.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/restart",
    operation_id = "restartPipeline",
    tag = "pipelines",
    security(("token" = ["operator"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Shape, description = "How it is"), At<404>, At<409>, At<503>),
)]
pub async fn restart(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    told(state, caller, name, Verb::Restart).await
}

/// Where to go back to.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = WayBack)]
pub struct Wanted {
    /// The number of a revision; the one before, if not said.
    pub to: Option<u64>,
    /// Also where a table that rows were inserted into then holds them twice.
    #[schema(required = false)]
    pub insert_again: bool,
}

/// Go back to a revision
///
/// Text, state and positions are what they were when another text took its place. What cannot be taken back is refused, and nothing is
/// changed.
#[utoipa::path(
    post,
    path = "/v1/pipelines/{pipeline}/rollback",
    operation_id = "rollBackPipeline",
    tag = "pipelines",
    security(("token" = ["admin"])),
    params(("pipeline" = String, Path, description = "Its name")),
    request_body(content = Option<Wanted>),
    responses((status = 200, body = Shape, description = "How it is"), At<400>, At<404>, At<409>, At<422>, At<503>),
)]
pub async fn rollback(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    body: Whole<JSON>,
) -> Result<Response, Problem> {
    let Wanted { to, insert_again } = read(&body.bytes, "{\"to\": 3, \"insert_again\": false}, each of them or none")?;
    told(state, caller, name, Verb::Back(Way { to, insert_again })).await
}

/// Asks the supervision, and waits for its answer.
pub async fn ask(state: &Arc<ApiState>, by: &Caller, name: String, verb: Verb) -> Result<Done, Problem> {
    let (asked, by) = (state.clone(), by.name.clone());
    blocking(move || asked.control.ask(&name, verb, &by)).await?.map_err(problem)
}

/// Does what was asked, and answers how the pipeline is when it is there.
pub async fn told(state: Arc<ApiState>, by: Caller, name: String, verb: Verb) -> Result<Response, Problem> {
    let done = ask(&state, &by, name.clone(), verb).await?;
    settle(&state, &by, &name).await;
    let status = if done == Done::Created { StatusCode::CREATED } else { StatusCode::OK };
    let looked = blocking(move || status::look(&state)).await?;
    let all = looked.map_err(|failure| Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure))?.pipelines;
    // Of one with several tasks, the first.
    let found =
        all.iter().find(|one| one.pipeline == name).or_else(|| all.iter().find(|one| is_task(&one.pipeline, &name)));
    let pipeline = found.ok_or_else(|| no_such_pipeline(&name))?;
    Ok(problem::json(status, &facts::of_pipeline(pipeline)))
}

fn is_task(task: &str, pipeline: &str) -> bool {
    task.strip_prefix(pipeline).is_some_and(|rest| rest.starts_with('.'))
}

/// Waits until it is neither stopping nor starting. Between the two only the supervision knows that it goes on.
async fn settle(state: &Arc<ApiState>, by: &Caller, name: &str) {
    let began = tokio::time::Instant::now();
    let starting = || {
        let live = state.live();
        let mut mine = live.pipelines().filter(|(task, _)| *task == name || is_task(task, name));
        mine.any(|(_, known)| known.state == Activity::Starting)
    };
    while began.elapsed() < SETTLES {
        let stops = matches!(ask(state, by, name.to_owned(), Verb::Settled).await, Ok(Done::Changed));
        if !stops && !starting() {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn problem(Refused { failure, diagnostics }: Refused) -> Problem {
    let status = match &*failure.slug {
        "no-such-pipeline" | "no-such-revision" | "no-such-backfill" => StatusCode::NOT_FOUND,
        "stopping" | "file-not-written" => StatusCode::SERVICE_UNAVAILABLE,
        "backfill-open"
        | "backfill-over"
        | "cannot-go-back"
        | "duplicate-name"
        | "file-of-several"
        | "files-not-served"
        | "goes-back"
        | "pipeline-paused"
        | "pipeline-would-go"
        | "rows-would-repeat"
        | "same-path"
        | "same-pipeline"
        | "stale-plan"
        | "state-elsewhere"
        | "state-goes"
        | "state-would-be-lost"
        | "steps-moved" => StatusCode::CONFLICT,
        etag::FAILED => StatusCode::PRECONDITION_FAILED,
        "text-too-long" => StatusCode::PAYLOAD_TOO_LARGE,
        _ if failure.exit == Exit::Environment => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let problem = Problem::new(status, *failure);
    if diagnostics.is_empty() { problem } else { problem.diagnostics(diagnostics) }
}

/// Pauses and resumes a pipeline that nobody runs; what else there is needs a process.
pub fn hold(ground: &Ground, name: &str, verb: &str) -> Result<(), Failure> {
    if !["pause", "resume"].contains(&verb) {
        return Err(Failure::failed("nobody-runs", "no process runs here, so nothing can be asked of it")
            .help("start one: syncline serve FOLDER"));
    }
    if !deploy::is_known(ground, name)? {
        return Err(Failure::failed("no-such-pipeline", format!("no pipeline {name} has run here"))
            .help("`syncline pipeline list` shows those that have"));
    }
    match verb {
        "pause" => paused::pause(&*ground.store, name, ground.clock.now()).map_err(read_failure),
        _ => paused::resume(&*ground.store, name).map_err(store_failure),
    }
}
