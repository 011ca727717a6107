//! `POST /in/{path}`: records for a pipeline.
//!
//! 202 only when they are durable; 200 when they were already, for a delivery that comes again. Where the path verifies its
//! senders, that comes first: whoever is not one of them learns nothing, and nothing of what he sent is kept. Whatever else is
//! refused says whether the same request may work later (429, 503) or not (4xx), and is not kept either.

use std::{ops::Range, sync::Arc};

use axum::{
    body::Bytes,
    extract::{Path, Request, State},
    http::{Extensions, HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use syncline_connectors::{
    http::HttpPath,
    ingest::{Sent, encode},
    webhook::{self, Answer, HeaderValues, Refusal as Unverified, Verified},
};
use syncline_engine::{intake::Outcome, log::NewFrame};
use syncline_record::Micros;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::{PATIENCE, check_length, receive},
    headers,
    intake::{BACKLOG_BYTES, BACKLOG_RECORDS, Inlet, IntakeError, Receipt},
    problem::{At, Problem},
    records::{self, Refusal, Shape},
};

use crate::tokens::Role;

mod answer;

pub use answer::not_kept;
use answer::{Refused, Taken, stopping, unprocessable, unverified};

/// Bodies up to this size are judged where they are; larger ones where they hold nobody up.
const SMALL: usize = 32 << 10;
/// Payload of one frame: what a reader takes at once. A verified request is one frame, whatever its size.
const FRAME_BYTES: usize = 1 << 20;
/// Records of one frame, whose lengths take four bytes each.
const FRAME_RECORDS: usize = 16 << 10;
/// A pipeline that is behind works off this much in about a second.
const LATER: u32 = 1;

/// Records can come in several requests.
fn in_parts(problem: Problem) -> Problem {
    match problem.status {
        StatusCode::PAYLOAD_TOO_LARGE => problem.help("send it as several requests"),
        _ => problem,
    }
}

/// Which door a request came through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The one of this machine, and the data folder's socket.
    Inner,
    /// The one that `--ingest` opened: strangers are not told which paths there are.
    Outer,
}

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(post))
}

/// What was taken of a body.
#[derive(ToSchema)]
pub struct Accepted {
    /// Records that are durable.
    pub accepted: u64,
    /// Records that are kept though they are no JSON objects: they become dead letters.
    pub rejected: u64,
    /// The offset of the first one.
    #[schema(required = false)]
    pub first_offset: u64,
    /// A delivery that is durable already; nothing was kept of this one.
    #[schema(required = false)]
    pub duplicate: bool,
}

/// Send records to a pipeline
///
/// An object, an array of objects, or an object a line. A path that verifies its senders asks for their signature, and for no token. What the
/// answer is to a provider who asks a question is the provider's own.
#[utoipa::path(
    post,
    path = "/in/{*path}",
    operation_id = "sendRecords",
    tag = "records",
    security((), ("token" = ["operator"])),
    params(("path" = String, Path, description = "As the pipeline's `http('/path')` says")),
    // One type: of several, of which one is any value, clients that are made of this cannot tell which one they were given.
    request_body(
        content = serde_json::Value,
        content_type = "application/json",
        description = "Records: an object, or an array of them. As `application/x-ndjson`, an object a line.",
    ),
    responses(
        (status = 202, body = Accepted, description = "They are durable"),
        (status = 200, description = "They were durable already, or a question was answered", content(
            (Accepted = "application/json"), (String = "text/plain"),
        )),
        At<400>, At<404>, At<408>, At<413>, At<415>, At<422>, At<429>, At<503>,
    ),
)]
pub async fn post(state: State<Arc<ApiState>>, path: Path<String>, request: Request) -> Response {
    respond(&state, &path, Door::Inner, request).await
}

pub async fn post_outside(state: State<Arc<ApiState>>, path: Path<String>, request: Request) -> Response {
    respond(&state, &path, Door::Outer, request).await
}

async fn respond(state: &ApiState, path: &str, door: Door, request: Request) -> Response {
    let inlet = match inlet(state, path, door) {
        Ok(inlet) => inlet,
        Err(problem) => return counted("", 0, problem.into_response()),
    };
    let taken = take(state, &inlet, request).await;
    let records = taken.as_ref().map_or(0, Taken::records);
    let response = match taken {
        Ok(taken) => {
            if let Some(outcome) = taken.outcome() {
                inlet.count(outcome, "");
            }
            taken.response(inlet.path().verify.as_ref().is_some_and(|scheme| scheme.is_quiet()))
        }
        Err(Refused { problem, reason }) => {
            inlet.count(Outcome::Refused, &reason);
            problem.into_response()
        }
    };
    counted(&inlet.path().path, records, response)
}

fn counted(path: &str, records: u64, response: Response) -> Response {
    let status = response.status().as_u16().to_string();
    let path = path.to_owned();
    metrics::counter!("syncline_ingest_requests_total", "path" => path.clone(), "status" => status).increment(1);
    metrics::counter!("syncline_ingest_records_total", "path" => path).increment(records);
    response
}

async fn take(state: &ApiState, inlet: &Arc<Inlet>, request: Request) -> Result<Taken, Refused> {
    let (parts, body) = request.into_parts();
    let path = inlet.path();
    let verifies = path.verify.is_some();
    if !verifies {
        super::site::same_site(&parts.headers)?;
        may_send(&parts.extensions, inlet)?;
        // Who is verified is told later: a stranger need not know how far behind we are.
        shape(&parts.headers, false)?;
        check_backlog(inlet).await?;
    }
    check_length(&parts.headers, path.max_body).map_err(in_parts)?;
    let (body, _room) = receive(state, body, path.max_body, PATIENCE).await.map_err(in_parts)?;
    let headers = Arc::new(parts.headers);
    let verified = verify(&path, inlet.now(), &headers, &body).await?;
    if let Some(Verified { answer: Answer::Reply(text), .. }) = verified {
        return Ok(Taken::Answered(text));
    }
    let shape = shape(&headers, verifies)?;
    if verifies {
        check_backlog(inlet).await?;
    }
    inlet.pace().map_err(|wait| {
        let seconds = wait.as_secs_f64().ceil().clamp(1.0, f64::from(u32::MAX)) as u32;
        Problem::refused(StatusCode::TOO_MANY_REQUESTS, "rate-limit", "this path takes no more at the moment")
            .retry_after(seconds)
    })?;
    let delivery = verified.as_ref().and_then(|verified| verified.delivery);
    let (sent, small, now) =
        (verified.map_or(Sent::Open, |_| Sent::Verified(delivery)), body.len() <= SMALL, inlet.now());
    let split = move || framed(&body, shape, &kept_headers(&path, &headers), sent, now);
    let framed = if small { split() } else { blocking(split).await? }.map_err(unprocessable)?;
    if framed.frames.is_empty() {
        return Ok(Taken::Nothing);
    }
    match inlet.take(framed.frames, delivery).await {
        Ok(Receipt::Kept { first }) => Ok(Taken::Kept { accepted: framed.good, rejected: framed.bad, first }),
        Ok(Receipt::Duplicate) => Ok(Taken::Duplicate),
        Err(IntakeError::Replayed) => Err(unverified(Unverified::Replayed)),
        Err(error) => Err(not_kept(error).into()),
    }
}

/// A path that does not verify its senders asks for a token, where there are tokens.
fn may_send(extensions: &Extensions, inlet: &Inlet) -> Result<(), Problem> {
    let caller = extensions.get::<Caller>().cloned().unwrap_or_else(Caller::nobody);
    caller.must_be(Role::Operator)?;
    inlet.readers().iter().try_for_each(|pipeline| caller.must_be_for(pipeline))
}

fn inlet(state: &ApiState, path: &str, door: Door) -> Result<Arc<Inlet>, Problem> {
    if state.ingest.is_stopping() {
        return Err(stopping());
    }
    state.ingest.inlet(path).ok_or_else(|| {
        let title = format!("no running pipeline reads /in/{}", path.trim_matches('/'));
        let problem = Problem::refused(StatusCode::NOT_FOUND, "no-such-path", title);
        if door == Door::Outer {
            return problem;
        }
        let paths: Vec<String> = state.ingest.paths().iter().map(|path| format!("/in/{path}")).collect();
        let problem = problem.member("paths", paths.clone());
        match paths.is_empty() {
            true => problem.help("no pipeline of this process reads from http(…)"),
            false => problem.help(format!("paths that are read: {}", paths.join(", "))),
        }
    })
}

/// A request's headers as a scheme reads them.
struct Received<'h>(&'h HeaderMap);

impl HeaderValues for Received<'_> {
    fn value(&self, name: &str) -> webhook::Value<'_> {
        let mut values = self.0.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => webhook::Value::Absent,
            (Some(value), None) => webhook::Value::Once(value.as_bytes()),
            (Some(_), Some(_)) => webhook::Value::Repeated,
        }
    }
}

/// Whether the path's provider sent this; `None` where the path does not ask.
async fn verify(
    path: &HttpPath,
    now: Micros,
    headers: &Arc<HeaderMap>,
    body: &Bytes,
) -> Result<Option<Verified>, Refused> {
    let Some(scheme) = path.verify.clone() else { return Ok(None) };
    let (headers, body) = (headers.clone(), body.clone());
    let small = body.len() <= SMALL;
    let judge = move || scheme.verify(&webhook::Request { headers: &Received(&headers), body: &body }, now);
    let judged = if small { judge() } else { blocking(judge).await? };
    judged.map(Some).map_err(unverified)
}

/// What is kept of the headers: not the signature, with which a reader could send the body once more.
fn kept_headers(path: &HttpPath, headers: &HeaderMap) -> String {
    let signatures = path.verify.as_ref().map(|scheme| scheme.signature_headers()).unwrap_or_default();
    headers::text(headers, &signatures)
}

fn shape(headers: &HeaderMap, verified: bool) -> Result<Shape, Problem> {
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
        "application/x-www-form-urlencoded" if verified => Ok(Shape::Form),
        structured if structured.starts_with("application/") && structured.ends_with("+json") => Ok(Shape::Any),
        other => {
            let title = format!("a body of type `{other}` is not read");
            Err(Problem::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content-type", title)
                .help("send application/json or application/x-ndjson (curl: -H 'content-type: application/json')"))
        }
    }
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

/// A body as frames of the log.
struct Framed {
    frames: Vec<NewFrame>,
    good: u64,
    bad: u64,
}

fn framed(body: &[u8], shape: Shape, headers: &str, sent: Sent, time: i64) -> Result<Framed, Refusal> {
    let body = &*records::text(body, shape)?;
    let records = records::split(body, shape)?;
    let bad = records.bad;
    let good = records.spans.len() as u64 - bad;
    let mut frames = vec![];
    let mut rest = records.spans.as_slice();
    while !rest.is_empty() {
        let many = if sent == Sent::Open { fitting(rest) } else { rest.len() };
        let (head, tail) = rest.split_at(many);
        let slices: Vec<&[u8]> = head.iter().map(|span| &body[span.clone()]).collect();
        frames.push(NewFrame { count: many as u32, time, body: encode(&slices, Some(headers), sent) });
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
