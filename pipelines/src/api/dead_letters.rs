//! `/v1/dead-letters`: records that could not be processed. `/{id}` shows one, `/{id}/bytes` gives back its bytes as they came, as far as
//! they are kept.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use syncline_functions::JsonWriter;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::Raw,
    etag,
    page::{self, InPath, Key, Kind, List, Page, Params, Part, literal},
    problem::{At, Problem},
};

/// Characters of a letter's text in a list.
const GLANCE: usize = 200;

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show)).routes(routes!(bytes))
}

/// A record that could not be processed.
#[derive(ToSchema)]
pub struct DeadLetter {
    pub id: String,
    pub pipeline: String,
    pub step: String,
    /// The slug of the reason.
    pub reason: String,
    pub detail: String,
    /// The partition of the source that it came from.
    pub source: String,
    pub record_offset: u64,
    pub record_byte: Option<u64>,
    #[schema(format = DateTime)]
    pub time: String,
    pub epoch: Option<u64>,
    /// Bytes that it had.
    pub length: u64,
    pub hash: String,
    /// JSON: the headers that it came with.
    pub headers: Option<String>,
    /// What is kept of it, in base64.
    pub bytes: String,
    /// The same as text.
    pub text: String,
    /// `open`, `discarded`, `retrying`, `retried`
    pub state: String,
}

/// A dead letter in a list.
#[derive(ToSchema)]
pub struct DeadLetterLine {
    pub id: String,
    pub pipeline: String,
    pub step: String,
    /// The slug of the reason.
    pub reason: String,
    pub detail: String,
    /// The partition of the source that it came from.
    pub source: String,
    pub record_offset: u64,
    #[schema(format = DateTime)]
    pub time: String,
    /// Bytes that it had.
    pub length: u64,
    /// The first 200 characters of it.
    pub text: String,
    /// `open`, `discarded`, `retrying`, `retried`
    pub state: String,
}

/// Which letters.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// Only those of this pipeline.
    pub pipeline: Option<String>,
    /// Only those that stopped at this step.
    pub step: Option<String>,
    /// Only those of which this was decided: `open`, `discarded`, `retrying`, `retried`.
    pub state: Option<String>,
    /// Items of the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    pub limit: Option<usize>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

const NEWEST: &[Key] =
    &[Key { column: "time", kind: Kind::Time, falling: true }, Key { column: "id", kind: Kind::Text, falling: true }];

/// The letters that are wanted, in no order.
fn select(wanted: &Wanted) -> String {
    let is = |column: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!("{column} = {}", literal(value))).unwrap_or("TRUE".to_owned())
    };
    format!(
        "SELECT id, pipeline, step, reason, detail, source, record_offset, time, length, substr(text, 1, {GLANCE}) AS text, state \
         FROM dead_letters WHERE {} AND {} AND {}",
        is("pipeline", &wanted.pipeline),
        is("step", &wanted.step),
        is("state", &wanted.state),
    )
}

/// The question for a list of letters, the newest first.
pub fn list_sql(wanted: &Wanted, limit: usize) -> String {
    format!("{} ORDER BY time DESC, source, record_offset DESC LIMIT {limit}", select(wanted))
}

/// The question for one letter.
pub fn show_sql(id: &str) -> String {
    format!("SELECT * FROM dead_letters WHERE id = {} LIMIT 1", literal(id))
}

/// Dead letters
///
/// The newest first.
#[utoipa::path(
    get,
    path = "/v1/dead-letters",
    operation_id = "listDeadLetters",
    tag = "dead letters",
    security(("token" = ["viewer"])),
    params(Wanted),
    responses((status = 200, body = Page<DeadLetterLine>, description = "A page of them"), At<400>, At<500>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(wanted): Params<Wanted>,
) -> Result<Response, Problem> {
    let part = Part { limit: wanted.limit, cursor: wanted.cursor.clone() };
    List { select: select(&wanted), keys: NEWEST }.page(&state, &caller, &part).await
}

/// One dead letter
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}",
    operation_id = "getDeadLetter",
    tag = "dead letters",
    security(("token" = ["viewer"])),
    params(("id" = String, Path, description = "As lists show it")),
    responses((status = 200, body = DeadLetter, description = "It"), etag::Unchanged, At<404>, At<500>, At<503>),
)]
pub async fn show(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(id): InPath<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let letter = one(&state, &caller, &id).await?;
    let mut text = vec![];
    JsonWriter::new(letter.schema_ref()).write_row(&letter, 0, &mut text);
    Ok(etag::sent(&headers, "application/json", text))
}

/// The bytes of a dead letter
///
/// As they came, as far as they are kept.
#[utoipa::path(
    get,
    path = "/v1/dead-letters/{id}/bytes",
    operation_id = "getDeadLetterBytes",
    tag = "dead letters",
    security(("token" = ["viewer"])),
    params(("id" = String, Path, description = "As lists show it")),
    responses(
        (status = 200, body = Raw, content_type = "application/octet-stream", description = "They"),
        At<404>, At<500>, At<503>,
    ),
)]
pub async fn bytes(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    let mut response = bytes_of(&one(&state, &caller, &id).await?).to_vec().into_response();
    let headers = response.headers_mut();
    // What somebody sent must never be taken for a page.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    Ok(response)
}

/// The kept bytes of a letter.
pub fn bytes_of(letter: &RecordBatch) -> &[u8] {
    let column = letter.column_by_name("bytes").and_then(|column| column.as_binary_opt::<i32>());
    column.filter(|column| !column.is_empty() && !column.is_null(0)).map_or(&[], |column| column.value(0))
}

pub async fn one(state: &ApiState, caller: &Caller, id: &str) -> Result<RecordBatch, Problem> {
    let sql = format!("SELECT * FROM ({}) AS letter WHERE {}", show_sql(id), caller.condition());
    let batches = page::rows(state, &sql).await?;
    batches.into_iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| {
        Problem::refused(StatusCode::NOT_FOUND, "no-such-letter", format!("there is no dead letter {id}"))
            .help("GET /v1/dead-letters lists them")
    })
}
