//! `GET /api/v1/dead-letters`: records that could not be processed. `/{id}` shows one, `/{id}/bytes` gives back its bytes as they
//! came, as far as they are kept.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use axum::{
    extract::{Path, Query, State, rejection::QueryRejection},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use syncline_functions::JsonWriter;

use super::{
    ApiState,
    problem::Problem,
    query::{ask, problem},
};

/// Letters of one answer, when the asker does not say, and the most there can be.
const LETTERS: usize = 100;
const MOST_LETTERS: usize = 10_000;
/// Characters of a letter's text in a list.
const GLANCE: usize = 200;

/// Which letters.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    pub pipeline: Option<String>,
    pub step: Option<String>,
    pub limit: Option<usize>,
}

/// The question for a list of letters, the newest first.
pub fn list_sql(wanted: &Wanted, limit: usize) -> String {
    let is = |column: &str, value: &Option<String>| {
        value.as_ref().map(|value| format!("{column} = {}", literal(value))).unwrap_or("TRUE".to_owned())
    };
    format!(
        "SELECT id, pipeline, step, reason, detail, source, record_offset, time, length, substr(text, 1, {GLANCE}) AS text \
         FROM dead_letters WHERE {} AND {} ORDER BY time DESC, source, record_offset DESC LIMIT {limit}",
        is("pipeline", &wanted.pipeline),
        is("step", &wanted.step),
    )
}

/// The question for one letter.
pub fn show_sql(id: &str) -> String {
    format!("SELECT * FROM dead_letters WHERE id = {} LIMIT 1", literal(id))
}

/// A text as a literal of SQL.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

pub async fn list(State(state): State<Arc<ApiState>>, wanted: Result<Query<Wanted>, QueryRejection>) -> Response {
    let answer = async {
        let Query(wanted) = wanted.map_err(|rejection| {
            Problem::refused(StatusCode::BAD_REQUEST, "no-such-parameter", "the query string is not understood")
                .seen(rejection.body_text())
                .help("parameters: pipeline, step, limit")
        })?;
        let limit = wanted.limit.unwrap_or(LETTERS).min(MOST_LETTERS);
        let batches = all(&state, &list_sql(&wanted, limit + 1)).await?;
        let mut text = b"{\"dead_letters\":[".to_vec();
        let found: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut taken = 0;
        for batch in &batches {
            let writer = JsonWriter::new(batch.schema_ref());
            for row in 0..batch.num_rows().min(limit - taken) {
                text.extend_from_slice(if taken + row > 0 { b"," } else { b"" });
                writer.write_row(batch, row, &mut text);
            }
            taken = (taken + batch.num_rows()).min(limit);
        }
        text.extend_from_slice(format!("],\"truncated\":{}}}", found > limit).as_bytes());
        Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
    };
    answer.await.unwrap_or_else(|problem: Problem| problem.into_response())
}

pub async fn show(State(state): State<Arc<ApiState>>, Path(id): Path<String>) -> Response {
    match one(&state, &id).await {
        Ok(letter) => {
            let mut text = vec![];
            JsonWriter::new(letter.schema_ref()).write_row(&letter, 0, &mut text);
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

pub async fn bytes(State(state): State<Arc<ApiState>>, Path(id): Path<String>) -> Response {
    let letter = match one(&state, &id).await {
        Ok(letter) => letter,
        Err(problem) => return problem.into_response(),
    };
    let mut response = bytes_of(&letter).to_vec().into_response();
    let headers = response.headers_mut();
    // What somebody sent must never be taken for a page.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment"));
    response
}

/// The kept bytes of a letter.
pub fn bytes_of(letter: &RecordBatch) -> &[u8] {
    let column = letter.column_by_name("bytes").and_then(|column| column.as_binary_opt::<i32>());
    column.filter(|column| !column.is_empty() && !column.is_null(0)).map_or(&[], |column| column.value(0))
}

async fn one(state: &ApiState, id: &str) -> Result<RecordBatch, Problem> {
    let batches = all(state, &show_sql(id)).await?;
    batches.into_iter().find(|batch| batch.num_rows() > 0).ok_or_else(|| {
        Problem::refused(StatusCode::NOT_FOUND, "no-such-letter", format!("there is no dead letter {id}"))
            .help("GET /api/v1/dead-letters lists them")
    })
}

async fn all(state: &ApiState, sql: &str) -> Result<Vec<RecordBatch>, Problem> {
    let _place = state.queries.acquire().await;
    let mut rows = ask(state, sql).await?;
    let mut batches = vec![];
    while let Some(batch) = rows.next().await {
        batches.push(batch.map_err(problem)?);
    }
    Ok(batches)
}
