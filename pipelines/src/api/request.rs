//! Each request has an id: the one of its header `x-request-id` where that is sane, else one of ours. It is in the same header of every
//! answer, in problems, in the log, and in the table `requests`.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{
    body::Body,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::Response,
};

use syncline_engine::requests::{Call, Request as Line};

use super::{ApiState, access::Caller, journal, problem::Told};
use crate::{outcome::SLUG, pgwire::scram};

pub const ID: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id that an asker may give: a UUID, or a trace's id with its parent, has far less.
const LONGEST: usize = 128;
/// Bytes of an id of ours.
const BYTES: usize = 16;

/// The id of a request, among its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Gives the request its id, and the answer the same.
pub async fn with_id(State(state): State<Arc<ApiState>>, mut request: Request, next: Next) -> Response {
    let (began, time) = (state.clock.elapsed(), state.clock.now());
    let id = given(request.headers()).unwrap_or_else(own);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let target = request.uri().path().to_owned();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let mut outcome = "done".to_owned();
    if let Some(Told(problem)) = response.extensions_mut().remove() {
        let mut problem = (*problem).clone();
        let title = problem["title"].as_str().unwrap_or_default();
        tracing::debug!(request_id = id, %method, route, status = response.status().as_u16(), "refused: {title}");
        outcome = problem["type"].as_str().unwrap_or_default().trim_start_matches(SLUG).to_owned();
        problem["request_id"] = id.as_str().into();
        *response.body_mut() = Body::from(problem.to_string());
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(request_id = id, %method, route, "a request failed");
    }
    if journal::is_for(&route) {
        let who = response.extensions().get::<Caller>().map_or(journal::NOBODY, |caller| &*caller.name).to_owned();
        let (status, method) = (response.status().as_u16(), method.to_string());
        let call = journal::changes(&method, &route).then(|| Call {
            time,
            id: id.clone(),
            who: who.clone(),
            action: format!("{method} {route}"),
            target,
            status,
            outcome,
        });
        let duration = state.clock.elapsed().saturating_sub(began).as_micros() as u64;
        state.journal.add(Line { time, id: id.clone(), method, route, status, duration, who }, call);
    }
    // It holds letters, digits and a few signs.
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(ID, id);
    }
    response
}

/// What the asker calls the request, where that can stand in a header, a log line and a table.
fn given(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(ID)?.to_str().ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
    (!id.is_empty() && id.len() <= LONGEST && id.bytes().all(plain)).then(|| id.to_owned())
}

/// It has to tell requests apart, not to be a secret: without random bytes a number does.
fn own() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    match scram::random(BYTES) {
        Some(bytes) => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        None => format!("{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)),
    }
}
