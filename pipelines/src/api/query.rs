//! `POST /v1/queries`: SQL over everything that happened.
//!
//! `{"sql": "…", "limit": 100}` is answered as `Accept` says:
//!
//! | `Accept` | |
//! |---|---|
//! | `application/json`, `*/*` | `{"columns", "rows", "truncated"}`: numbers exact, a thousand rows unless `limit` says otherwise |
//! | `application/x-ndjson` | an object a line |
//! | `text/csv` | as `psql --csv` and `syncline query -o csv` print it, to the byte |
//! | `application/vnd.apache.arrow.stream` | Arrow's stream format |
//!
//! All but JSON are sent as rows come, all of them or `limit`; one that fails behind its first rows breaks off without its end. Commands
//! ask for [`frames`](super::frames).

use std::sync::Arc;

use arrow::{array::RecordBatch, datatypes::SchemaRef, error::ArrowError, ipc::writer::StreamWriter};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::Stream;
use serde::Deserialize;
use serde_json::Value;
use syncline_analytics::{Limits, QueryError, Rows};
use syncline_functions::{sql_type_of, token_of};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, timeout_at},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::{Raw, Whole},
    frames::{self, Framer},
    problem::{At, Problem},
    running::{self, Entry, ID},
};
use crate::{
    command::Format,
    outcome::{Exit, Failure},
    render::Renderer,
};

/// The longest question.
const QUESTION: usize = 1 << 20;
/// Rows of an answer in JSON, when the asker does not say, and the most there can be: it is held in memory.
const ROWS: usize = 1000;
const MOST_ROWS: usize = 100_000;
/// An answer in JSON is cut off after the row that passes this.
const MOST_BYTES: usize = 64 << 20;

/// What is asked.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// One statement that reads; pipes are understood.
    #[schema(examples("SELECT * FROM runs", "FROM steps |> WHERE dead > 0"))]
    sql: String,
    /// Rows that are wanted at most.
    limit: Option<usize>,
}

/// An answer in JSON.
#[derive(ToSchema)]
pub struct Answer {
    pub columns: Vec<AnswerColumn>,
    /// A list of values each; numbers are exact.
    #[schema(value_type = Vec<Vec<Value>>)]
    pub rows: Vec<Value>,
    /// There are more rows than were asked for.
    pub truncated: bool,
}

#[derive(ToSchema)]
pub struct AnswerColumn {
    pub name: String,
    pub r#type: String,
}

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(post)).routes(routes!(running::delete))
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Ndjson,
    Csv,
    Arrow,
    Frames,
}

const FORMS: [(Form, &str); 5] = [
    (Form::Json, "application/json"),
    (Form::Ndjson, "application/x-ndjson"),
    (Form::Csv, "text/csv"),
    (Form::Arrow, "application/vnd.apache.arrow.stream"),
    (Form::Frames, frames::CONTENT_TYPE),
];

/// Ask in SQL
///
/// Over the tables of everything that happened, and those of connections: a viewer reads the ones that a file opens (`sql = true`). Nothing is
/// written, and nothing else outside is read.
#[utoipa::path(
    post,
    path = "/v1/queries",
    operation_id = "ask",
    tag = "queries",
    security(("token" = ["viewer"])),
    request_body = Question,
    responses(
        (status = 200, description = "Its rows, as `Accept` says", content(
            (Answer = "application/json"),
            (String = "application/x-ndjson"),
            (String = "text/csv"),
            (Raw = "application/vnd.apache.arrow.stream"),
            (Raw = "application/vnd.syncline.rows"),
        )),
        At<400>, At<406>, At<409>, At<413>, At<422>, At<500>, At<502>, At<503>,
    ),
)]
pub async fn post(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    headers: HeaderMap,
    body: Whole<QUESTION>,
) -> Response {
    let place = match state.queries.clone().try_acquire_owned() {
        Ok(place) => place,
        Err(_) => return busy().into_response(),
    };
    let answer = async {
        let form = form(&headers)?;
        let mut entry = state.running.enter(&headers)?;
        let id = HeaderValue::from_str(&entry.id).unwrap_or(HeaderValue::from_static(""));
        let question = question(&body.bytes)?;
        let catalog = state.questions.of(caller.role);
        let asked = entry.unless_cancelled(catalog.ask(&question.sql, Limits::default())).await;
        let rows = asked.map_err(cancelled)?.map_err(problem)?;
        let mut response = match form {
            Form::Json => {
                let answer = in_json(rows, question.limit.unwrap_or(ROWS).min(MOST_ROWS));
                entry.unless_cancelled(answer).await.map_err(cancelled)??
            }
            form => {
                sent(Sending { rows, entry, left: question.limit.unwrap_or(usize::MAX), _place: place }, form).await?
            }
        };
        response.headers_mut().insert(ID, id);
        Ok(response)
    };
    answer.await.unwrap_or_else(|problem: Problem| problem.into_response())
}

/// What `Accept` prefers of what there is.
fn form(headers: &HeaderMap) -> Result<Form, Problem> {
    let mut best: Option<(f32, Form)> = None;
    let ranges =
        headers.get_all(header::ACCEPT).into_iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let mut said = false;
    for range in ranges {
        said = true;
        let range = String::from_utf8_lossy(range).to_ascii_lowercase();
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
        let form = match kind {
            "*/*" | "application/*" => Some(Form::Json),
            "text/*" => Some(Form::Csv),
            kind => FORMS.iter().find(|(_, known)| *known == kind).map(|(form, _)| *form),
        };
        if let Some(form) = form.filter(|_| weight > 0.0 && best.is_none_or(|(before, _)| weight > before)) {
            best = Some((weight, form));
        }
    }
    match best {
        Some((_, form)) => Ok(form),
        None if !said => Ok(Form::Json),
        None => {
            let title = "there is no answer of a type that this request accepts";
            let known: Vec<&str> = FORMS[..4].iter().map(|(_, kind)| *kind).collect();
            Err(Problem::refused(StatusCode::NOT_ACCEPTABLE, "not-acceptable", title)
                .help(format!("accept: {}", known.join(", "))))
        }
    }
}

fn busy() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many queries run already")
        .retry_after(1)
        .help("ask again when one of them has ended")
}

fn cancelled(failure: Failure) -> Problem {
    Problem::new(StatusCode::CONFLICT, failure)
}

fn question(body: &[u8]) -> Result<Question, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::refused(StatusCode::BAD_REQUEST, "no-question", "the body is no question")
            .seen(error.to_string())
            .help("send {\"sql\": \"SELECT …\", \"limit\": 100}")
    })
}

fn problem(error: QueryError) -> Problem {
    let status = match &error {
        QueryError::NoSuchTable { .. }
        | QueryError::NoSuchColumn { .. }
        | QueryError::Wrong { .. }
        | QueryError::Unreachable { .. }
        | QueryError::Writes { .. } => StatusCode::BAD_REQUEST,
        QueryError::TooLarge { .. } | QueryError::TooLong { .. } | QueryError::TooDeep { .. } => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
        QueryError::Unfit { .. } | QueryError::Value { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        QueryError::Closed { forbidden: true, .. } => StatusCode::FORBIDDEN,
        QueryError::Closed { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        QueryError::Away { .. } => StatusCode::BAD_GATEWAY,
        QueryError::Workers { .. } => StatusCode::SERVICE_UNAVAILABLE,
        QueryError::Failed { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Problem::new(status, failure(error))
}

/// The same for a command.
pub fn failure(error: QueryError) -> Failure {
    let slug = match &error {
        QueryError::NoSuchTable { .. } => "no-such-table",
        QueryError::NoSuchColumn { .. } => "no-such-column",
        QueryError::Wrong { .. } => "query-wrong",
        QueryError::Writes { .. } => "query-writes",
        QueryError::Unreachable { .. } => "query-reaches-out",
        QueryError::TooLarge { .. } => "query-too-large",
        QueryError::TooLong { .. } => "query-too-long",
        QueryError::TooDeep { .. } => "query-too-deep",
        QueryError::Workers { .. } => "no-workers",
        QueryError::Away { .. } => "connection-failed",
        QueryError::Closed { .. } => "connection-closed",
        QueryError::Unfit { .. } => "value-unfit",
        QueryError::Value { .. } => "query-value",
        QueryError::Failed { .. } => "query-failed",
    };
    let help = error.help();
    help.into_iter().fold(Failure::new(Exit::Failed, slug, error.to_string()), Failure::help)
}

async fn in_json(mut rows: Rows, limit: usize) -> Result<Response, Problem> {
    let schema = rows.schema();
    let mut text = b"{\"columns\":[".to_vec();
    for (index, field) in schema.fields().iter().enumerate() {
        let column = serde_json::json!({"name": field.name(), "type": sql_type_of(field)});
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
    entry: Entry,
    /// Rows that are still wanted.
    left: usize,
    _place: OwnedSemaphorePermit,
}

impl Sending {
    async fn next(&mut self) -> Option<Result<RecordBatch, Problem>> {
        if self.left == 0 {
            return None;
        }
        let batch = match self.entry.unless_cancelled(self.rows.next()).await {
            Ok(batch) => batch?.map_err(problem),
            Err(failure) => Err(cancelled(failure)),
        };
        Some(batch.map(|batch| {
            let batch = batch.slice(0, batch.num_rows().min(self.left));
            self.left -= batch.num_rows();
            batch
        }))
    }
}

/// Writes an answer piece by piece.
enum Writer {
    Text(Renderer<Vec<u8>>),
    Arrow(StreamWriter<Vec<u8>>),
    Frames(Framer),
}

impl Writer {
    fn new(form: Form, schema: &SchemaRef) -> Result<Self, ArrowError> {
        let text =
            |format| -> Result<Self, ArrowError> { Ok(Self::Text(Renderer::new(format, schema.clone(), vec![])?)) };
        match form {
            Form::Csv => text(Format::Csv),
            Form::Json | Form::Ndjson => text(Format::Ndjson),
            Form::Arrow => Ok(Self::Arrow(StreamWriter::try_new(vec![], schema)?)),
            Form::Frames => Ok(Self::Frames(Framer::new(schema)?)),
        }
    }

    fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Text(renderer) => {
                renderer.write(batch)?;
                Ok(renderer.take())
            }
            Self::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Frames(framer) => framer.batch(batch),
        }
    }

    fn end(&mut self) -> Result<Vec<u8>, ArrowError> {
        match self {
            Self::Text(renderer) => Ok(renderer.take()),
            Self::Arrow(writer) => {
                writer.finish()?;
                Ok(std::mem::take(writer.get_mut()))
            }
            Self::Frames(_) => Ok(Framer::end()),
        }
    }

    /// What is said of a failure behind the first rows; others break off.
    fn broken(&self, failure: &Failure) -> Result<Vec<u8>, std::io::Error> {
        match self {
            Self::Frames(_) => Ok(Framer::problem(&failure.to_json(None))),
            _ => Err(std::io::Error::other(failure.title.clone())),
        }
    }
}

/// An answer whose first rows are there.
async fn sent(mut sending: Sending, form: Form) -> Result<Response, Problem> {
    let schema = sending.rows.schema();
    let first = match sending.next().await {
        None => None,
        Some(Ok(batch)) => Some(batch),
        // A command tells it in its own words.
        Some(Err(problem)) if form == Form::Frames => {
            let problem = Framer::problem(&problem.failure.to_json(None));
            return Ok(([(header::CONTENT_TYPE, frames::CONTENT_TYPE)], problem).into_response());
        }
        Some(Err(problem)) => return Err(problem),
    };
    let unwritten = |error: ArrowError| problem(QueryError::Failed { detail: error.to_string() });
    let mut writer = Writer::new(form, &schema).map_err(unwritten)?;
    // An empty batch first: whoever reads frames learns the columns from it.
    let mut start = writer.batch(&RecordBatch::new_empty(schema)).map_err(unwritten)?;
    let over = first.is_none();
    let rest = match first {
        Some(batch) => writer.batch(&batch),
        None => writer.end(),
    };
    start.extend(rest.map_err(unwritten)?);
    let first = futures::stream::once(async { Ok::<_, std::io::Error>(Bytes::from(start)) });
    let until = Limits::default().time.map(|time| Instant::now() + time);
    let pieces = pieces((!over).then_some((sending, writer)), until);
    let kind = FORMS.iter().find(|(known, _)| *known == form).map_or("", |(_, kind)| *kind);
    let body = Body::from_stream(futures::StreamExt::chain(first, pieces));
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

/// The pieces of an answer, made beside whoever reads them: one who does not read keeps his place no longer than a question may take.
fn pieces(
    state: Option<(Sending, Writer)>,
    until: Option<Instant>,
) -> impl Stream<Item = std::io::Result<Bytes>> + use<> {
    let (to, from) = mpsc::channel(1);
    let over = state.is_none();
    tokio::spawn(async move {
        let mut state = state;
        while let Some(now) = state {
            let (piece, rest) = tokio::select! {
                next = next_piece(now) => next,
                () = to.closed() => return,
            };
            let sending = to.send((piece.map(Bytes::from), rest.is_none()));
            let sent = match until {
                Some(until) => timeout_at(until, sending).await,
                None => Ok(sending.await),
            };
            let Ok(Ok(())) = sent else { return };
            state = rest;
        }
    });
    futures::stream::unfold((from, over), |(mut from, over)| async move {
        if over {
            return None;
        }
        let late = || (Err(std::io::Error::other("the answer was not read in time")), true);
        let (piece, last) = from.recv().await.unwrap_or_else(late);
        Some((piece, (from, last)))
    })
}

/// The next piece, and what is left to send.
async fn next_piece(
    (mut sending, mut writer): (Sending, Writer),
) -> (std::io::Result<Vec<u8>>, Option<(Sending, Writer)>) {
    let written = match sending.next().await {
        None => return (writer.end().map_err(std::io::Error::other), None),
        Some(Err(problem)) => return (writer.broken(&problem.failure), None),
        Some(Ok(batch)) => writer.batch(&batch),
    };
    match written {
        Ok(piece) => (Ok(piece), Some((sending, writer))),
        Err(error) => (writer.broken(&failure(QueryError::Failed { detail: error.to_string() })), None),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::StreamExt;

    use super::*;
    use crate::{api::tests::house, tokens::Role};

    /// Four who did not read held all places for questions, of everybody and for ever.
    #[tokio::test]
    async fn who_does_not_read_keeps_his_place_no_longer_than_a_question_may_take() {
        let house = house();
        let state = &house.state;
        let place = state.queries.clone().try_acquire_owned().unwrap();
        let free = state.queries.available_permits();
        let endless = "SELECT * FROM generate_series(1, 100000000)";
        let rows = state.questions.of(Some(Role::Viewer)).ask(endless, Limits::default()).await.unwrap();
        let writer = Writer::new(Form::Csv, &rows.schema()).unwrap();
        let entry = state.running.enter(&HeaderMap::new()).unwrap();
        let sending = Sending { rows, entry, left: usize::MAX, _place: place };
        let until = Instant::now() + Duration::from_millis(100);
        let answer = pieces(Some((sending, writer)), Some(until));
        let freed = async {
            while state.queries.available_permits() == free {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), freed).await.expect("the place is free again");
        let pieces: Vec<_> = answer.collect().await;
        assert!(pieces.last().unwrap().is_err(), "what was cut off is not a whole answer");
    }
}
