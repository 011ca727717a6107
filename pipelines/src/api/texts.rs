//! `/v1/pipelines/{name}/text`, `/revisions` and `/graph`: what a pipeline says, said before, and what that becomes.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde_json::Value;
use syncline_engine::revision;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::Raw,
    etag, life,
    page::InPath,
    pipelines::no_such_pipeline,
    plans,
    problem::{self, At, Problem, blocking},
    status::read_failure,
};
use crate::{
    deploy,
    verbs::{Done, Verb},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(graph)).routes(routes!(text)).routes(routes!(revisions))
}

/// The steps of a pipeline
///
/// As a tree, with their keys and states; one tree for each of its tasks.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/graph",
    operation_id = "getGraph",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Object, description = "As `syncline plan -o json` shows it"), At<404>, At<422>, At<503>),
)]
pub async fn graph(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    match plans::compiled(&state, &caller, name, Verb::Graph).await? {
        Done::Planned(_, graph) => Ok(problem::json(StatusCode::OK, &graph)),
        _ => Err(Problem::stopping()),
    }
}

/// The text of a pipeline
///
/// Of its file, as it is now. Its ETag changes with the text and with nothing else: it is for `If-Match` of a PUT of the pipeline.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/text",
    operation_id = "getText",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses(
        (status = 200, body = Raw, content_type = "application/sql", description = "It"),
        etag::Unchanged, At<404>, At<503>,
    ),
)]
pub async fn text(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    match life::ask(&state, &caller, name, Verb::Text).await? {
        Done::Text(text) => {
            must_be_for_all(&caller, &String::from_utf8_lossy(&text)).await?;
            Ok(etag::sent(&headers, "application/sql", text))
        }
        _ => Err(Problem::stopping()),
    }
}

/// A text that a pipeline began with.
#[derive(ToSchema)]
#[schema(as = Revision)]
pub struct RevisionShape {
    pub pipeline: String,
    pub number: u64,
    /// Microseconds since 1970.
    pub began: i64,
    pub digest: String,
    pub text: String,
    pub by: String,
    /// The revision that it goes back to; left out where it does not.
    #[schema(required = false)]
    pub back_to: Option<u64>,
    /// Its state when it was over, where that is kept: epoch, keys, bytes.
    #[schema(required = false, value_type = Object)]
    pub kept: Value,
}

#[derive(ToSchema)]
pub struct Revisions {
    pub revisions: Vec<RevisionShape>,
}

/// The revisions of a pipeline
///
/// The texts that it began with, the newest twenty, the oldest first; and what is kept to go back to.
#[utoipa::path(
    get,
    path = "/v1/pipelines/{pipeline}/revisions",
    operation_id = "listRevisions",
    tag = "pipelines",
    security(("token" = ["viewer"])),
    params(("pipeline" = String, Path, description = "Its name")),
    responses((status = 200, body = Revisions, description = "They"), At<404>, At<503>),
)]
pub async fn revisions(State(state): State<Arc<ApiState>>, InPath(name): InPath<String>) -> Result<Response, Problem> {
    let (from, of) = (state.clone(), name.clone());
    let all = blocking(move || revision::all(&*from.store, &of).map_err(read_failure)).await?;
    let all = all.map_err(|failure| Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure))?;
    if all.is_empty() {
        return Err(
            no_such_pipeline(&name).seen("it has no revision: none has begun, or its state lies in a changelog")
        );
    }
    Ok(problem::json(StatusCode::OK, &serde_json::json!({ "revisions": all })))
}

/// Refuses whoever is not for each pipeline of a text: a file may declare several.
pub async fn must_be_for_all(caller: &Caller, text: &str) -> Result<(), Problem> {
    if caller.pipelines.is_none() {
        return Ok(());
    }
    let text = text.to_owned();
    let names = blocking(move || deploy::names_of(&text)).await?;
    names.iter().try_for_each(|name| caller.must_be_for(name))
}
