//! Every refusal over HTTP is one shape: RFC 9457 problem details, made from the same [`Failure`] that a terminal shows.
//!
//! A route names the statuses that it can answer with as [`At`], so that they stand in `/openapi.json`; those that every route can
//! answer are added in one place ([`document`](super::document)).

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::Value;
use utoipa::{
    IntoResponses, ToSchema,
    openapi::{Content, RefOr, Response as Documented, ResponseBuilder},
};

use crate::{outcome::Failure, secrets};

pub const CONTENT_TYPE: &str = "application/problem+json";

/// A failure with its HTTP status.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub failure: Box<Failure>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Members beside those of the RFC.
    members: Vec<(&'static str, Value)>,
}

/// What a problem looks like, for the document.
#[derive(ToSchema)]
#[schema(as = Problem)]
pub struct Details {
    /// `urn:syncline:` and the slug, which `syncline explain SLUG` knows.
    #[schema(example = "urn:syncline:no-such-pipeline")]
    pub r#type: String,
    /// One short fact.
    pub title: String,
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What was seen, a line each.
    pub detail: String,
    /// The next steps.
    pub help: Vec<String>,
    /// The id of the request, as in the header `x-request-id`.
    pub request_id: String,
    /// What is wrong with a pipeline file, as `syncline check -o json` says it.
    #[schema(required = false)]
    pub diagnostics: Vec<Diagnostic>,
}

/// One mistake in a pipeline file.
#[derive(ToSchema)]
pub struct Diagnostic {
    pub slug: String,
    pub severity: String,
    pub title: String,
    pub file: String,
    /// Places, with what is said of them; lines and columns count from 1.
    pub labels: Vec<Value>,
    pub help: Vec<String>,
    /// Edits that would make it right.
    pub fix: Value,
}

/// What a response carries beside its bytes, so that the request's id can still be put into them.
#[derive(Clone, Debug)]
pub struct Told(pub Arc<Value>);

impl Problem {
    pub fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure: Box::new(failure), headers: vec![], members: vec![] }
    }

    /// A request that cannot be served as it is.
    pub fn refused(status: StatusCode, slug: &'static str, title: impl Into<String>) -> Self {
        Self::new(status, Failure::usage(slug, title))
    }

    /// The process ends.
    pub fn stopping() -> Self {
        Self::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the process is stopping")
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.failure = Box::new(self.failure.help(help));
        self
    }

    pub fn seen(mut self, detail: impl Into<String>) -> Self {
        self.failure = Box::new(self.failure.seen(detail));
        self
    }

    /// Says when the same request may work.
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// With what is wrong in a pipeline file, as `syncline check -o json` prints it.
    pub fn diagnostics(self, found: Vec<Value>) -> Self {
        self.member("diagnostics", found)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut json = self.failure.to_json(Some(self.status.as_u16()));
        for (name, value) in self.members {
            json[name] = value;
        }
        conceal(&mut json);
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPE));
        headers.extend(self.headers);
        response.extensions_mut().insert(Told(Arc::new(json)));
        response
    }
}

/// What others say may quote what we told them: no secret of this process leaves it in a problem.
fn conceal(json: &mut Value) {
    match json {
        Value::String(text) => {
            if let Cow::Owned(hidden) = secrets::hidden(text) {
                *text = hidden;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(conceal),
        Value::Object(members) => members.values_mut().for_each(conceal),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A problem of this status, among a route's `responses(…)`.
pub struct At<const STATUS: u16>;

impl<const STATUS: u16> IntoResponses for At<STATUS> {
    fn responses() -> BTreeMap<String, RefOr<Documented>> {
        BTreeMap::from([documented(STATUS)])
    }
}

/// How a problem of this status is described.
pub fn documented(status: u16) -> (String, RefOr<Documented>) {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
    let schema = utoipa::openapi::Ref::from_schema_name("Problem");
    let response = ResponseBuilder::new()
        .description(reason.unwrap_or("refused"))
        .content(CONTENT_TYPE, Content::new(Some(RefOr::<utoipa::openapi::Schema>::Ref(schema))))
        .build();
    (status.to_string(), response.into())
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    // What is answered here are plain structs with text keys: they always serialise.
    let text = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Work that may block, where it holds nobody up.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|_| Problem::stopping())
}
