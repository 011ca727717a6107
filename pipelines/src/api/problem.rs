//! Every refusal over HTTP is one shape: RFC 9457 problem details, made from the same [`Failure`] that a terminal shows.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::outcome::Failure;

/// A failure with its HTTP status.
#[derive(Debug)]
pub struct Problem {
    pub status: StatusCode,
    pub failure: Box<Failure>,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Members beside those of the RFC.
    members: Vec<(&'static str, serde_json::Value)>,
}

impl Problem {
    pub fn new(status: StatusCode, failure: Failure) -> Self {
        Self { status, failure: Box::new(failure), headers: vec![], members: vec![] }
    }

    /// A request that cannot be served as it is.
    pub fn refused(status: StatusCode, slug: &'static str, title: impl Into<String>) -> Self {
        Self::new(status, Failure::usage(slug, title))
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

    pub fn member(mut self, name: &'static str, value: impl Into<serde_json::Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut json = self.failure.to_json(Some(self.status.as_u16()));
        for (name, value) in self.members {
            json[name] = value;
        }
        let mut response = Response::new(Body::from(json.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(self.headers);
        response
    }
}

/// An answer in JSON.
pub fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    // What is answered here are plain structs with text keys: they always serialise.
    let text = serde_json::to_vec(value).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
