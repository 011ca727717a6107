//! `POST /v1/dead-letters/{id}/retry` and `/discard`, and the same for many at once: what people decide about dead letters.
//!
//! To discard a letter marks it; its bytes stay as long as the log keeps them. To retry one sends its original bytes through the pipeline's
//! input again, with the header `syncline-retry`, exactly once: also when the process is killed between the record and the mark of it.
//! That is possible where the record is kept whole, came in over HTTP by a path that this pipeline alone reads, or as bytes of a file or of
//! Kafka, and had nothing of it passed on: in a pipeline that is one line of steps which make one row of one (`retries`). Everything else is
//! refused, with the reason.

mod which;

use std::sync::Arc;

use arrow::array::RecordBatch;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use syncline_connectors::{
    ingest::{self, Sent, encode},
    retried,
};
use syncline_engine::{
    checkpoint::{self, ReadError},
    graph::unqualified,
    letters::{self, Mark, Standing},
    log::{Log, LogError, NewFrame},
    store::StateStore,
};
use syncline_record::{Micros, batch::COLUMNS};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Activity, ApiState,
    access::Caller,
    body,
    dead_letters::{bytes_of, one},
    headers::RETRY,
    intake::{Inlet, Receipt, TOPICS},
    page::{self, InPath},
    problem::{self, At, Problem, blocking},
    status::read_failure,
};
use crate::{outcome::Failure, render::shown, retries, world::log_failure};

/// Letters that one call decides about; whoever has more calls again.
const MOST: usize = 1000;
/// Records of a history, or of a second source, have steps of their own before those of the others, and may be of another format.
const ANOTHER_WAY: &str = "it did not come from the source behind FROM, and that is where it would come in again";
/// Bytes of the log that are read at once.
const READ: usize = 1 << 20;

pub use which::Which;

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new()
        .routes(routes!(retry))
        .routes(routes!(discard))
        .routes(routes!(retry_many))
        .routes(routes!(discard_many))
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    pub id: String,
    /// `retried`, `discarded`
    pub state: String,
    /// Where the record lies in the pipeline's input now.
    pub offset: Option<u64>,
}

/// What became of many.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecidedMany {
    pub done: u64,
    /// Those that stay as they were, with the slug and the title of the reason.
    pub refused: Vec<RefusedOne>,
    /// There are more than one call decides about: call again, with `skip`: those that were refused stay open. A record that was retried and
    /// stops again is a new letter, which counts here too.
    pub more: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefusedOne {
    pub id: String,
    pub reason: String,
    pub title: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verb {
    Retry,
    Discard,
}

/// Send a record through its pipeline again
///
/// Its original bytes, exactly once.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/retry",
    operation_id = "retryDeadLetter",
    tag = "dead letters",
    security(("token" = ["operator"])),
    params(("id" = String, Path, description = "As lists show it")),
    responses((status = 200, body = Decided, description = "It lies in the input again"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn retry(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    single(state, caller, id, Verb::Retry).await
}

/// Want a record no more
///
/// It is marked; its bytes stay as long as the log keeps them.
#[utoipa::path(
    post,
    path = "/v1/dead-letters/{id}/discard",
    operation_id = "discardDeadLetter",
    tag = "dead letters",
    security(("token" = ["operator"])),
    params(("id" = String, Path, description = "As lists show it")),
    responses((status = 200, body = Decided, description = "It is marked"), At<404>, At<409>, At<500>, At<503>),
)]
pub async fn discard(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(id): InPath<String>,
) -> Result<Response, Problem> {
    single(state, caller, id, Verb::Discard).await
}

/// Send many records through their pipelines again
#[utoipa::path(
    post,
    path = "/v1/dead-letters/retry",
    operation_id = "retryDeadLetters",
    tag = "dead letters",
    security(("token" = ["operator"])),
    request_body = Which,
    responses((status = 200, body = DecidedMany, description = "What became of them"), At<400>, At<413>, At<500>, At<503>),
)]
pub async fn retry_many(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    many(state, caller, request, Verb::Retry).await
}

/// Want many records no more
#[utoipa::path(
    post,
    path = "/v1/dead-letters/discard",
    operation_id = "discardDeadLetters",
    tag = "dead letters",
    security(("token" = ["operator"])),
    request_body = Which,
    responses((status = 200, body = DecidedMany, description = "What became of them"), At<400>, At<413>, At<500>, At<503>),
)]
pub async fn discard_many(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    request: Request,
) -> Result<Response, Problem> {
    many(state, caller, request, Verb::Discard).await
}

async fn single(state: Arc<ApiState>, caller: Caller, id: String, verb: Verb) -> Result<Response, Problem> {
    let letter = one(&state, &caller, &id).await?;
    let decided = decide(&state, &caller, &Letter::of(&letter, 0), verb).await?;
    Ok(problem::json(StatusCode::OK, &decided))
}

async fn many(state: Arc<ApiState>, caller: Caller, request: Request, verb: Verb) -> Result<Response, Problem> {
    let which: Which = body::json(&state, request, "{\"pipeline\": \"orders\", \"step\": \"cast\"}").await?;
    let (sql, most) = (which.sql(&caller)?, which.most());
    let (mut done, mut refused, mut found) = (0, vec![], 0);
    for batch in page::rows(&state, &sql).await? {
        for row in 0..batch.num_rows() {
            found += 1;
            if found > most {
                break;
            }
            let letter = Letter::of(&batch, row);
            match decide(&state, &caller, &letter, verb).await {
                Ok(_) => done += 1,
                // What keeps all of them from being decided about is told at once.
                Err(problem) if problem.status.is_server_error() => return Err(problem),
                Err(problem) => refused.push(RefusedOne {
                    id: letter.id.clone(),
                    reason: problem.failure.slug.to_string(),
                    title: problem.failure.title.clone(),
                }),
            }
        }
    }
    Ok(problem::json(StatusCode::OK, &DecidedMany { done, refused, more: found > most }))
}

/// A letter as it lies in the table.
struct Letter {
    id: String,
    pipeline: String,
    step: String,
    topic: String,
    length: u64,
    bytes: Vec<u8>,
    headers: Option<String>,
}

impl Letter {
    fn of(rows: &RecordBatch, row: usize) -> Self {
        let text = |name: &str| shown(rows, name, row);
        let named = |name: &str| text(name).unwrap_or_default();
        Self {
            id: named("id"),
            pipeline: named("pipeline"),
            step: named("step"),
            topic: unqualified(&named("source")).to_owned(),
            length: text("length").and_then(|length| length.parse().ok()).unwrap_or_default(),
            bytes: bytes_of(&rows.slice(row, 1)).to_vec(),
            headers: text("headers"),
        }
    }

    /// Whether what the fields of its record are called is kept with it.
    fn is_named(&self) -> bool {
        let headers = self.headers.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
        headers.is_some_and(|headers| headers.get(COLUMNS).is_some())
    }
}

async fn decide(state: &Arc<ApiState>, caller: &Caller, letter: &Letter, verb: Verb) -> Result<Decided, Problem> {
    // One at a time: two that decide about one letter would both find it open.
    let _one = state.deciding.lock().await;
    let known = mark(state, letter).await?;
    let standing = match (verb, known.map(|mark| mark.standing)) {
        (_, Some(settled @ (Standing::Discarded | Standing::Retried { .. }))) => {
            let title = format!("the dead letter {} is {} already", letter.id, settled.as_str());
            return Err(Problem::refused(StatusCode::CONFLICT, "letter-settled", title)
                .help("GET /v1/dead-letters lists those that are open"));
        }
        (Verb::Discard, None) => Standing::Discarded,
        (verb, Some(Standing::Retrying { topic, from })) => {
            match (found(state, letter, topic.clone(), from).await, verb) {
                (Ok(Some(offset)), _) => Standing::Retried { topic, offset },
                (Ok(None), Verb::Retry) => send(state, caller, letter).await?,
                (Ok(None), Verb::Discard) => Standing::Discarded,
                // Whether it went is not kept; that nobody wants it any more can still be said.
                (Err(problem), Verb::Discard) if problem.status == StatusCode::CONFLICT => Standing::Discarded,
                (Err(problem), _) => return Err(problem),
            }
        }
        (Verb::Retry, None) => send(state, caller, letter).await?,
    };
    let offset = match &standing {
        Standing::Retried { offset, .. } => Some(*offset),
        _ => None,
    };
    let decided = Decided { id: letter.id.clone(), state: standing.as_str().to_owned(), offset };
    put(state, caller, letter, standing).await?;
    Ok(decided)
}

/// Sends the record into the input again. The mark says so before the record can be there.
async fn send(state: &Arc<ApiState>, caller: &Caller, letter: &Letter) -> Result<Standing, Problem> {
    if letter.bytes.len() as u64 != letter.length {
        let title = format!(
            "of the {} bytes of the dead letter {}, the first {} are kept",
            letter.length,
            letter.id,
            letter.bytes.len()
        );
        return Err(refused(title, "send it again from where it came"));
    }
    let path = letter.topic.strip_prefix(TOPICS);
    let inlet = path.map(|path| alone(state, letter, path)).transpose()?;
    let plan = state.plans().get(&letter.pipeline).cloned();
    let why = match (&plan, &inlet) {
        (None, _) => Some("nothing is known of its steps".to_owned()),
        (_, None) if came_another_way(state, letter).await? => Some(ANOTHER_WAY.to_owned()),
        (Some(plan), None) => {
            retries::refusal(plan, letter.is_named()).or_else(|| retries::repeats(plan, &letter.step))
        }
        (Some(plan), Some(_)) => retries::repeats(plan, &letter.step),
    };
    if let Some(why) = why {
        let title = format!("the dead letter {} cannot be retried exactly once: {why}", letter.id);
        let help =
            "repair it where it came from; or take its bytes (`syncline dead-letters show ID --raw`), and send those";
        return Err(refused(title, help));
    }
    let topic = match &inlet {
        Some(_) => letter.topic.clone(),
        None => beside(state, letter)?,
    };
    let from = {
        let (log, topic) = (state.log.clone(), topic.clone());
        blocking(move || log.end(&topic)).await?.map_err(unlogged)?
    };
    put(state, caller, letter, Standing::Retrying { topic: topic.clone(), from }).await?;
    let verified = inlet.as_ref().is_some_and(|inlet| inlet.path().verify.is_some());
    let sent = if verified { Sent::Verified(None) } else { Sent::Open };
    let headers = marked(letter.headers.as_deref(), &letter.id);
    let body = encode(&[&letter.bytes], Some(&headers), sent);
    let offset = match inlet {
        Some(inlet) => {
            let frame = NewFrame { count: 1, time: inlet.now(), body };
            match inlet.take(vec![frame], None).await {
                Ok(Receipt::Kept { first }) => first,
                // A record without a delivery is nobody's second one.
                Ok(Receipt::Duplicate) => return Err(Problem::stopping()),
                Err(error) => return Err(super::ingest::not_kept(error)),
            }
        }
        None => {
            let (log, topic, time) = (state.log.clone(), topic.clone(), state.clock.now());
            let frame = NewFrame { count: 1, time, body };
            blocking(move || log.publish(&topic, vec![frame])).await?.map_err(unlogged)?
        }
    };
    Ok(Standing::Retried { topic, offset })
}

fn refused(title: String, help: &str) -> Problem {
    Problem::refused(StatusCode::CONFLICT, "no-retry", title).help(help.to_owned())
}

/// Whether another input than the first has read the partition that the record came from, as far as the checkpoint knows.
async fn came_another_way(state: &Arc<ApiState>, letter: &Letter) -> Result<bool, Problem> {
    let (state, pipeline, partition) = (state.clone(), letter.pipeline.clone(), letter.topic.clone());
    blocking(move || {
        let found = checkpoint::read_checkpoint(&*state.store, &pipeline)?;
        let cursors = found.map(|checkpoint| checkpoint.cursors).unwrap_or_default();
        let others = cursors.keys().any(|name| *name != partition && unqualified(name) == partition);
        Ok(!cursors.contains_key(&partition) && others)
    })
    .await?
    .map_err(unread)
}

/// The path that the record came by, which its pipeline alone reads.
fn alone(state: &ApiState, letter: &Letter, path: &str) -> Result<Arc<Inlet>, Problem> {
    let Some(inlet) = state.ingest.inlet(path).filter(|inlet| inlet.readers().contains(&letter.pipeline)) else {
        let title = format!("no process reads /in/{path} for {}", letter.pipeline);
        return Err(refused(title, "start the pipeline, and retry then"));
    };
    if inlet.readers().len() > 1 {
        let others: Vec<String> = inlet.readers().into_iter().filter(|name| *name != letter.pipeline).collect();
        let title = format!("/in/{path} is read by {} too, which would get the record twice", others.join(", "));
        return Err(refused(title, "send its bytes to a path that this pipeline alone reads"));
    }
    Ok(inlet)
}

/// The topic beside the source, where somebody reads it. One that does not run could come back with another source.
fn beside(state: &ApiState, letter: &Letter) -> Result<String, Problem> {
    let runs = state.live().get(&letter.pipeline).is_some_and(|known| known.state == Activity::Running);
    match runs {
        true => Ok(retried::topic(&letter.pipeline)),
        false => Err(refused(
            format!("{} does not run, and so nobody reads what is sent to it again", letter.pipeline),
            "start the pipeline, and retry then",
        )),
    }
}

/// The record's headers, with the mark of a retry.
fn marked(headers: Option<&str>, id: &str) -> String {
    let mut headers: Map<String, Value> = headers.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    headers.insert(RETRY.to_owned(), id.into());
    Value::Object(headers).to_string()
}

/// Where the record of a retry lies, if it does.
async fn found(state: &Arc<ApiState>, letter: &Letter, topic: String, from: u64) -> Result<Option<u64>, Problem> {
    let (log, id) = (state.log.clone(), letter.id.clone());
    match blocking(move || search(&*log, &topic, from, &id)).await? {
        Err(LogError::Gone { .. }) => {
            let title = format!("whether the dead letter {} was retried is not kept any more", letter.id);
            Err(Problem::refused(StatusCode::CONFLICT, "no-retry", title)
                .help("discard it, or send its bytes yourself"))
        }
        searched => searched.map_err(unlogged),
    }
}

fn search(log: &dyn Log, topic: &str, from: u64, id: &str) -> Result<Option<u64>, LogError> {
    let (mut next, end) = (from, log.end(topic)?);
    while next < end {
        let frames = log.read(topic, next, READ)?;
        let Some(last) = frames.last().map(|frame| frame.next()) else { break };
        for frame in frames {
            let base = frame.base;
            let headers = ingest::decode(frame.body).ok().and_then(|ingested| ingested.headers);
            let headers: Value = headers.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
            if headers[RETRY] == id {
                return Ok(Some(base));
            }
        }
        next = last;
    }
    Ok(None)
}

async fn mark(state: &Arc<ApiState>, letter: &Letter) -> Result<Option<Mark>, Problem> {
    let (state, pipeline, id) = (state.clone(), letter.pipeline.clone(), letter.id.clone());
    blocking(move || letters::mark(&*state.store, &pipeline, &id)).await?.map_err(unread)
}

async fn put(state: &Arc<ApiState>, caller: &Caller, letter: &Letter, standing: Standing) -> Result<(), Problem> {
    let mark = Mark { standing, time: state.clock.now(), who: caller.name.to_string() };
    let (state, pipeline, id) = (state.clone(), letter.pipeline.clone(), letter.id.clone());
    blocking(move || letters::put(&*state.store, &pipeline, &id, Some(&mark))).await?.map_err(unread)
}

/// Discards what a question finds, in a folder that nobody holds.
/// There may be more of them.
pub fn discard_here(store: &dyn StateStore, letters: &[RecordBatch], now: Micros) -> Result<DecidedMany, Failure> {
    let mut done = 0;
    for batch in letters {
        for row in 0..batch.num_rows() {
            let letter = Letter::of(batch, row);
            let mark = Mark { standing: Standing::Discarded, time: now, who: "local".to_owned() };
            letters::put(store, &letter.pipeline, &letter.id, Some(&mark)).map_err(read_failure)?;
            done += 1;
        }
    }
    Ok(DecidedMany { done, refused: vec![], more: done > 0 })
}

fn unread(error: ReadError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, read_failure(error))
}

fn unlogged(error: LogError) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, log_failure(error))
}
