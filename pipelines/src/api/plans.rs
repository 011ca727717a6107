//! `/v1/plans`: what a text would do, before it does it.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::{JSON, Raw, TEXT, Whole},
    life,
    page::InPath,
    pipelines::Shape,
    problem::{self, At, Problem},
};
use crate::{
    plans::Text,
    verbs::{Done, Put, Verb},
};

/// Texts that are compiled at once: each takes a core, and pipelines come first.
pub const PLANS: usize = 2;
/// How long one waits for a place: a text of a usual length is compiled in milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(post)).routes(routes!(apply))
}

/// What a text would do.
#[derive(ToSchema)]
#[schema(as = Plan)]
pub struct PlanShape {
    /// Of the text, and of what it was compared with.
    pub id: String,
    /// It can take its place as it is.
    pub applies: bool,
    /// Why it cannot, as a problem.
    #[schema(value_type = Object)]
    pub refusal: Value,
    /// As `syncline plan -o json` shows them: steps, what each sink keeps, `since` with what changes, and `states` with what becomes of them.
    #[schema(value_type = Vec<Object>)]
    pub pipelines: Vec<Value>,
    /// Pipelines that its file declares and the text does not, with the keys of the state that stays: they would stop.
    #[schema(value_type = Vec<Object>)]
    pub dropped: Vec<Value>,
    /// The same for people.
    pub shown: String,
}

/// Make a plan
///
/// What a text would do to its pipeline, step by step, and what would become of each state, with its keys. Nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/plans",
    operation_id = "makePlan",
    tag = "plans",
    security(("token" = ["viewer"])),
    request_body(content((Raw = "application/sql"), (life::Written = "application/json"))),
    responses((status = 200, body = PlanShape, description = "It"), At<400>, At<409>, At<413>, At<422>, At<503>),
)]
pub async fn post(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    body: Whole<TEXT>,
) -> Result<Response, Problem> {
    let put = life::written(&headers, &body.bytes)?;
    let text = put.text.clone();
    let Done::Planned(name, plan) = compiled(&state, &caller, String::new(), Verb::Plan(put)).await? else {
        return Err(Problem::stopping());
    };
    state.proposals.remember(plan["id"].as_str().unwrap_or_default(), Text { name, text });
    Ok(problem::json(StatusCode::OK, &plan))
}

/// Asks for something that is compiled, when there is a place for it.
pub async fn compiled(state: &Arc<ApiState>, caller: &Caller, name: String, verb: Verb) -> Result<Done, Problem> {
    let place = tokio::time::timeout(PATIENCE, state.planning.clone().acquire_owned()).await;
    let Ok(Ok(place)) = place else {
        return Err(Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "others have texts compiled already")
            .retry_after(1)
            .help("ask again when they have their plans"));
    };
    let (inside, caller) = (state.clone(), caller.clone());
    // The place is held until it is done, also when nobody waits any more.
    let work = tokio::spawn(async move {
        let _place = place;
        life::ask(&inside, &caller, name, verb).await
    });
    work.await.unwrap_or_else(|_| Err(Problem::stopping()))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = MayLose)]
pub struct Allowed {
    /// Steps whose state may be lost.
    #[schema(required = false)]
    pub drop_state: Vec<String>,
    /// Pipelines that stop, because their file declares them no more.
    #[schema(required = false)]
    pub drop_pipelines: Vec<String>,
}

/// Apply a plan
///
/// The text takes its place, if the plan is still true: 409 `stale-plan` when another revision has begun since, or a state means something
/// else.
#[utoipa::path(
    post,
    path = "/v1/plans/{plan}/apply",
    operation_id = "applyPlan",
    tag = "plans",
    security(("token" = ["admin"])),
    params(("plan" = String, Path, description = "Its id; a process remembers the newest hundred")),
    request_body(content = Option<Allowed>),
    responses(
        (status = 200, body = Shape, description = "How the pipeline is"),
        (status = 201, body = Shape, description = "It is new, and so it is"),
        At<400>, At<404>, At<409>, At<422>, At<503>,
    ),
)]
pub async fn apply(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(id): InPath<String>,
    body: Whole<JSON>,
) -> Result<Response, Problem> {
    let shape = "{\"drop_state\": [], \"drop_pipelines\": []}, each of them or none";
    let Allowed { drop_state, drop_pipelines } = life::read(&body.bytes, shape)?;
    let Some(Text { name, text }) = state.proposals.get(&id) else {
        return Err(Problem::refused(StatusCode::NOT_FOUND, "no-such-plan", format!("there is no plan {id}"))
            .help("POST /v1/plans makes one; a process remembers the newest hundred"));
    };
    let put = Put { text, drop_state, drop_pipelines, plan: Some(id), ..Put::default() };
    life::told(state, caller, name, Verb::Put(put)).await
}
