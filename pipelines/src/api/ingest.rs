//! `POST /in/{path}`: records for a pipeline.
//!
//! 202 only when they are durable. Whatever is refused says whether the same request may work later (429, 503) or not (4xx), and
//! what is refused is not kept.

use std::{ops::Range, sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use syncline_connectors::ingest::encode;
use syncline_engine::log::{LogError, NewFrame};
use tokio::sync::OwnedSemaphorePermit;

use super::{
    ApiState, headers,
    intake::{BACKLOG_BYTES, BACKLOG_RECORDS, Inlet, IntakeError},
    problem::{self, Problem},
    records::{self, Refusal, Shape},
};
use crate::world::{log_failure, store_failure};

/// The longest body. Larger loads are better sent as several requests: each is kept whole or not at all.
pub const BODY: usize = 16 << 20;
/// A body that takes longer than this to arrive holds memory that others need.
const ARRIVAL: Duration = Duration::from_secs(60);
/// Bodies up to this size are split where they are; larger ones where they hold nobody up.
const SMALL: usize = 32 << 10;
/// Payload of one frame: what a reader takes at once.
const FRAME_BYTES: usize = 1 << 20;
/// Records of one frame, whose lengths take four bytes each.
const FRAME_RECORDS: usize = 16 << 10;
/// A pipeline that is behind works off this much in about a second.
const LATER: u32 = 1;
/// A restart takes a moment.
const AFTER_RESTART: u32 = 2;
/// Somebody has to make room.
const AFTER_CLEANING: u32 = 30;

#[derive(serde::Serialize)]
struct Taken {
    accepted: u64,
    /// Records that are kept but are no JSON objects: they become dead letters.
    rejected: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_offset: Option<u64>,
}

pub async fn post(State(state): State<Arc<ApiState>>, Path(path): Path<String>, request: Request) -> Response {
    let (response, records) = match take(&state, &path, request).await {
        Ok(taken) => (problem::json(StatusCode::ACCEPTED, &taken), taken.accepted + taken.rejected),
        Err(problem) => (problem.into_response(), 0),
    };
    let known = if response.status() == StatusCode::NOT_FOUND { "" } else { path.trim_matches('/') }.to_owned();
    let status = response.status().as_u16().to_string();
    metrics::counter!("syncline_ingest_requests_total", "path" => known.clone(), "status" => status).increment(1);
    metrics::counter!("syncline_ingest_records_total", "path" => known).increment(records);
    response
}

async fn take(state: &ApiState, path: &str, request: Request) -> Result<Taken, Problem> {
    let inlet = inlet(state, path)?;
    let shape = shape(request.headers())?;
    check_length(request.headers())?;
    check_backlog(&inlet).await?;
    let headers = headers::text(request.headers());
    let (body, _room) = receive(state, request).await?;
    let now = state.clock.now();
    let small = body.len() <= SMALL;
    let split = move || framed(&body, shape, &headers, now);
    let framed = if small { split() } else { blocking(split).await? }.map_err(unprocessable)?;
    let mut taken = Taken { accepted: framed.good, rejected: framed.bad, first_offset: None };
    if !framed.frames.is_empty() {
        taken.first_offset = Some(inlet.take(framed.frames).await.map_err(not_kept)?);
    }
    Ok(taken)
}

fn inlet(state: &ApiState, path: &str) -> Result<Arc<Inlet>, Problem> {
    if state.ingest.is_stopping() {
        return Err(stopping());
    }
    state.ingest.inlet(path).ok_or_else(|| {
        let paths: Vec<String> = state.ingest.paths().iter().map(|path| format!("/in/{path}")).collect();
        let title = format!("no running pipeline reads /in/{}", path.trim_matches('/'));
        let problem = Problem::refused(StatusCode::NOT_FOUND, "no-such-path", title).member("paths", paths.clone());
        match paths.is_empty() {
            true => problem.help("no pipeline of this process reads from http(…)"),
            false => problem.help(format!("paths that are read: {}", paths.join(", "))),
        }
    })
}

fn shape(headers: &HeaderMap) -> Result<Shape, Problem> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).to_lowercase());
    if let Some(encoding) = text(header::CONTENT_ENCODING).filter(|encoding| encoding.trim() != "identity") {
        let title = format!("a body in the encoding `{encoding}` is not read");
        return Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-encoding", title)
            .header(header::ACCEPT_ENCODING, header::HeaderValue::from_static("identity"))
            .help("send it uncompressed, without content-encoding"));
    }
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let (kind, parameters) = kind.split_once(';').unwrap_or((&kind, ""));
    let charset = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("charset="));
    let charset = charset.map(|charset| charset.trim_matches('"'));
    if let Some(charset) = charset.filter(|charset| !["utf-8", "utf8", "us-ascii"].contains(charset)) {
        let title = format!("records are UTF-8, and the body says it is {charset}");
        return Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "charset", title));
    }
    match kind.trim() {
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(Shape::Lines)
        }
        "" | "application/json" | "text/json" | "text/plain" => Ok(Shape::Any),
        structured if structured.starts_with("application/") && structured.ends_with("+json") => Ok(Shape::Any),
        other => {
            let title = format!("a body of type `{other}` is not read");
            Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title)
                .help("send application/json or application/x-ndjson (curl: -H 'content-type: application/json')"))
        }
    }
}

fn check_length(headers: &HeaderMap) -> Result<(), Problem> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > BODY as u64) { Err(too_large()) } else { Ok(()) }
}

async fn check_backlog(inlet: &Arc<Inlet>) -> Result<(), Problem> {
    let backlog = match inlet.is_fresh() {
        true => inlet.backlog(),
        false => {
            let inlet = inlet.clone();
            blocking(move || inlet.backlog()).await?
        }
    };
    let backlog = backlog.map_err(not_kept)?;
    if !backlog.is_full() {
        return Ok(());
    }
    let title = format!("the pipeline is {} records behind", backlog.records);
    Err(Problem::refused(StatusCode::TOO_MANY_REQUESTS, "backlog", title)
        .retry_after(LATER)
        .seen(format!("at most {BACKLOG_RECORDS} records and {BACKLOG_BYTES} bytes may wait"))
        .help("send the same request again later; `syncline status` shows what the pipeline waits for"))
}

/// The body, and the memory that is set aside for it.
async fn receive(state: &ApiState, request: Request) -> Result<(Bytes, OwnedSemaphorePermit), Problem> {
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let room = state.room_for(announced.unwrap_or(BODY)).await.ok_or_else(busy)?;
    let body = Limited::new(request.into_body(), BODY);
    let arrived = tokio::time::timeout(ARRIVAL, body.collect()).await;
    let collected = arrived.map_err(|_| {
        let title = format!("the body did not arrive within {} seconds", ARRIVAL.as_secs());
        Problem::refused(StatusCode::REQUEST_TIMEOUT, "slow-body", title)
    })?;
    match collected {
        Ok(body) => Ok((body.to_bytes(), room)),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(too_large()),
        Err(error) => {
            Err(Problem::refused(StatusCode::BAD_REQUEST, "broken-body", "the body broke off").seen(error.to_string()))
        }
    }
}

/// A body as frames of the log.
struct Framed {
    frames: Vec<NewFrame>,
    good: u64,
    bad: u64,
}

fn framed(body: &[u8], shape: Shape, headers: &str, time: i64) -> Result<Framed, Refusal> {
    let records = records::split(body, shape)?;
    let bad = records.bad;
    let good = records.spans.len() as u64 - bad;
    let mut frames = vec![];
    let mut rest = records.spans.as_slice();
    while !rest.is_empty() {
        let many = fitting(rest);
        let (head, tail) = rest.split_at(many);
        let slices: Vec<&[u8]> = head.iter().map(|span| &body[span.clone()]).collect();
        frames.push(NewFrame { count: many as u32, time, body: encode(&slices, Some(headers)) });
        rest = tail;
    }
    Ok(Framed { frames, good, bad })
}

/// How many of these records go into one frame; at least one.
fn fitting(spans: &[Range<usize>]) -> usize {
    let mut bytes = 0;
    let fits = spans.iter().take(FRAME_RECORDS).take_while(|span| {
        bytes += span.len();
        bytes <= FRAME_BYTES
    });
    fits.count().max(1)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| stopping())
}

fn too_large() -> Problem {
    let title = format!("the body is longer than {} MiB", BODY >> 20);
    Problem::refused(StatusCode::PAYLOAD_TOO_LARGE, "too-large", title).help("send it as several requests")
}

fn busy() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "too many bodies are on their way at once")
        .retry_after(LATER)
}

fn stopping() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the process is stopping")
        .retry_after(AFTER_RESTART)
        .help("nothing of this request was kept; send it again")
}

fn unprocessable(refusal: Refusal) -> Problem {
    let problem = Problem::refused(StatusCode::UNPROCESSABLE_ENTITY, "no-record", "nothing in the body is a record")
        .seen(refusal.to_string())
        .help("nothing of it was kept; send a JSON object, an array of objects, or one object per line");
    match refusal {
        Refusal::Empty => problem,
        Refusal::NotJson { line, column, .. } | Refusal::NotAnObject { line, column, .. } => {
            problem.member("line", line).member("column", column)
        }
    }
}

/// The log did not take the records: nothing was kept, or, after a crash of the process, nobody knows.
fn not_kept(error: IntakeError) -> Problem {
    let failure = match error {
        IntakeError::Stopping => return stopping(),
        IntakeError::Log(error @ LogError::Full { .. }) => {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, log_failure(error)).retry_after(AFTER_CLEANING);
        }
        IntakeError::Log(error) => log_failure(error),
        IntakeError::Read(syncline_engine::checkpoint::ReadError::Store(error)) => store_failure(error),
        IntakeError::Read(error) => crate::outcome::Failure::environment("state-damaged", error.to_string()),
    };
    tracing::error!("records were not taken: {}", failure.title);
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure).retry_after(AFTER_CLEANING)
}
