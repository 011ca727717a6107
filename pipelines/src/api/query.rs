//! `POST /api/v1/query`: SQL over everything that happened.
//!
//! `{"sql": "…", "limit": 100}` gives `{"columns", "rows", "truncated"}`, with numbers as exact as they are. Commands ask for rows
//! without a limit, as [`frames`](super::frames).

use std::{convert::Infallible, sync::Arc};

use arrow::array::RecordBatch;
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, Limited};
use serde::Deserialize;
use syncline_analytics::{Limits, QueryError, Reading, Rows};
use syncline_functions::{sql_type, token_of};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    ApiState,
    frames::{self, Framer},
    problem::Problem,
};
use crate::outcome::{Exit, Failure};

/// The longest question.
const QUESTION: usize = 1 << 20;
/// Rows of an answer in JSON, when the asker does not say, and the most there can be: it is held in memory.
const ROWS: usize = 1000;
const MOST_ROWS: usize = 100_000;
/// An answer in JSON is cut off after the row that passes this.
const MOST_BYTES: usize = 64 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    sql: String,
    limit: Option<usize>,
}

pub async fn post(State(state): State<Arc<ApiState>>, request: Request) -> Response {
    let framed = request.headers().get(header::ACCEPT).is_some_and(|accept| accept == frames::CONTENT_TYPE);
    let place = match state.queries.clone().try_acquire_owned() {
        Ok(place) => place,
        Err(_) => return busy().into_response(),
    };
    let answer = async {
        let question = question(request).await?;
        let rows = ask(&state, &question.sql).await?;
        if framed {
            return Ok(in_frames(rows, place));
        }
        in_json(rows, question.limit.unwrap_or(ROWS).min(MOST_ROWS)).await
    };
    answer.await.unwrap_or_else(|problem: Problem| problem.into_response())
}

fn busy() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many queries run already")
        .retry_after(1)
        .help("ask again when one of them has ended")
}

async fn question(request: Request) -> Result<Question, Problem> {
    let body = Limited::new(request.into_body(), QUESTION).collect().await.map_err(|error| {
        Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "the question did not arrive whole")
            .seen(error.to_string())
    })?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| {
        Problem::refused(StatusCode::BAD_REQUEST, "no-question", "the body is no question")
            .seen(error.to_string())
            .help("send {\"sql\": \"SELECT …\", \"limit\": 100}")
    })
}

/// Asks the tables of this process.
pub async fn ask(state: &ApiState, sql: &str) -> Result<Rows, Problem> {
    let reading = Reading { store: state.store.clone(), log: state.log.clone() };
    syncline_analytics::query(reading, sql, Limits::default()).await.map_err(problem)
}

pub fn problem(error: QueryError) -> Problem {
    let status = match &error {
        QueryError::NoSuchTable { .. }
        | QueryError::NoSuchColumn { .. }
        | QueryError::Wrong { .. }
        | QueryError::Unreachable { .. }
        | QueryError::Writes { .. } => StatusCode::BAD_REQUEST,
        QueryError::TooLarge { .. } | QueryError::TooLong { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        QueryError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, failure(error))
}

/// The same for a command.
pub fn failure(error: QueryError) -> Failure {
    let (exit, slug) = match &error {
        QueryError::NoSuchTable { .. } => (Exit::Failed, "no-such-table"),
        QueryError::NoSuchColumn { .. } => (Exit::Failed, "no-such-column"),
        QueryError::Wrong { .. } => (Exit::Failed, "query-wrong"),
        QueryError::Writes { .. } => (Exit::Failed, "query-writes"),
        QueryError::Unreachable { .. } => (Exit::Failed, "query-reaches-out"),
        QueryError::TooLarge { .. } => (Exit::Failed, "query-too-large"),
        QueryError::TooLong { .. } => (Exit::Failed, "query-too-long"),
        QueryError::Failed { .. } => (Exit::Failed, "query-failed"),
    };
    let help = error.help();
    help.into_iter().fold(Failure::new(exit, slug, error.to_string()), Failure::help)
}

async fn in_json(mut rows: Rows, limit: usize) -> Result<Response, Problem> {
    let schema = rows.schema();
    let mut text = b"{\"columns\":[".to_vec();
    for (index, field) in schema.fields().iter().enumerate() {
        let column = serde_json::json!({"name": field.name(), "type": sql_type(field.data_type())});
        text.extend_from_slice(if index > 0 { b"," } else { b"" });
        text.extend_from_slice(column.to_string().as_bytes());
    }
    text.extend_from_slice(b"],\"rows\":[");
    let (mut taken, mut truncated) = (0, false);
    'rows: while let Some(batch) = rows.next().await {
        let batch = batch.map_err(problem)?;
        for row in 0..batch.num_rows() {
            if taken == limit || text.len() > MOST_BYTES {
                truncated = true;
                break 'rows;
            }
            text.extend_from_slice(if taken > 0 { b"," } else { b"" });
            write_row(&batch, row, &mut text);
            taken += 1;
        }
    }
    text.extend_from_slice(format!("],\"truncated\":{truncated}}}").as_bytes());
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

fn write_row(batch: &RecordBatch, row: usize, text: &mut Vec<u8>) {
    text.push(b'[');
    for (index, (column, field)) in batch.columns().iter().zip(batch.schema_ref().fields()).enumerate() {
        text.extend_from_slice(if index > 0 { b"," } else { b"" });
        token_of(column, field, row, text);
    }
    text.push(b']');
}

/// An answer on its way. The place among the queries is kept until the last row has gone, or the asker has.
struct Sending {
    rows: Rows,
    /// `None` before the schema has gone out.
    framer: Option<Framer>,
    _place: OwnedSemaphorePermit,
}

fn in_frames(rows: Rows, place: OwnedSemaphorePermit) -> Response {
    let sending = Sending { rows, framer: None, _place: place };
    let pieces = futures::stream::unfold(Some(sending), |sending| async {
        let (piece, sending) = next_piece(sending?).await;
        Some((Ok::<_, Infallible>(Bytes::from(piece)), sending))
    });
    ([(header::CONTENT_TYPE, frames::CONTENT_TYPE)], Body::from_stream(pieces)).into_response()
}

/// The next piece, and what is left to send.
async fn next_piece(mut sending: Sending) -> (Vec<u8>, Option<Sending>) {
    let broken = |error: QueryError| (Framer::problem(&failure(error).to_json(None)), None);
    let batch = match (&sending.framer, sending.rows.schema()) {
        (None, schema) => RecordBatch::new_empty(schema),
        (Some(_), _) => match sending.rows.next().await {
            None => return (Framer::end(), None),
            Some(Err(error)) => return broken(error),
            Some(Ok(batch)) => batch,
        },
    };
    let framer = match sending.framer.take() {
        Some(framer) => Ok(framer),
        None => Framer::new(batch.schema_ref()),
    };
    let written = framer.and_then(|mut framer| Ok((framer.batch(&batch)?, framer)));
    match written {
        Ok((piece, framer)) => (piece, Some(Sending { framer: Some(framer), ..sending })),
        Err(error) => broken(QueryError::Failed { detail: error.to_string() }),
    }
}
