//! `DELETE /v1/queries/{id}`: ends a query that is being answered.
//!
//! A query has the id that its asker gave it in the header `syncline-query-id`, or one of ours; the answer says it in the same header.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
};
use tokio::sync::watch;

use super::{
    ApiState,
    page::InPath,
    problem::{At, Problem},
};
use crate::{outcome::Failure, pgwire::scram};

pub const ID: HeaderName = HeaderName::from_static("syncline-query-id");
/// The longest id that an asker may give.
const LONGEST: usize = 64;
/// Bytes of an id of ours.
const BYTES: usize = 8;

/// Queries that are being answered.
#[derive(Default)]
pub struct Queries(Mutex<HashMap<String, watch::Sender<bool>>>);

/// One of them. Gone when it is let go.
pub struct Entry {
    queries: Arc<Queries>,
    pub id: String,
    cancelled: watch::Receiver<bool>,
}

impl Queries {
    fn all(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<bool>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a query under the id that its asker gave it, or one of ours.
    pub fn enter(self: &Arc<Self>, headers: &HeaderMap) -> Result<Entry, Problem> {
        let id = match headers.get(ID) {
            Some(given) => named(given.as_bytes())?,
            None => own()?,
        };
        let (sender, cancelled) = watch::channel(false);
        let mut all = self.all();
        if all.contains_key(&id) {
            return Err(Problem::refused(
                StatusCode::CONFLICT,
                "same-query-id",
                format!("a query {id} is being answered"),
            )
            .help("give each query an id of its own, or leave the header out"));
        }
        all.insert(id.clone(), sender);
        Ok(Entry { queries: self.clone(), id, cancelled })
    }

    /// Whether there was such a query.
    fn cancel(&self, id: &str) -> bool {
        self.all().get(id).is_some_and(|query| query.send(true).is_ok())
    }
}

impl Entry {
    /// Does the work unless the query is cancelled.
    pub async fn unless_cancelled<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            done = work => Ok(done),
            _ = self.cancelled.wait_for(|cancelled| *cancelled) => Err(Failure::failed("query-cancelled", "the query was cancelled")),
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.queries.all().remove(&self.id);
    }
}

fn named(given: &[u8]) -> Result<String, Problem> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if given.is_empty() || given.len() > LONGEST || !given.iter().all(plain) {
        return Err(Problem::refused(StatusCode::BAD_REQUEST, "query-id", "this cannot be the id of a query")
            .help(format!("use up to {LONGEST} letters, digits, `.`, `_` and `-`")));
    }
    Ok(String::from_utf8_lossy(given).into_owned())
}

fn own() -> Result<String, Problem> {
    let bytes = scram::random(BYTES).ok_or_else(|| {
        Problem::refused(StatusCode::INTERNAL_SERVER_ERROR, "no-random-bytes", "this machine has no random bytes")
    })?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// End a query
#[utoipa::path(
    delete,
    path = "/v1/queries/{id}",
    operation_id = "endQuery",
    tag = "queries",
    security(("token" = ["viewer"])),
    params(("id" = String, Path, description = "`syncline-query-id` of its answer, or as its asker said in the same header")),
    responses((status = 204, description = "It ends"), At<404>),
)]
pub async fn delete(State(state): State<Arc<ApiState>>, InPath(id): InPath<String>) -> Result<StatusCode, Problem> {
    if state.running.cancel(&id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let title = format!("no query {id} is being answered");
    Err(Problem::refused(StatusCode::NOT_FOUND, "no-such-query", title)
        .help("it may have ended; its id is in the header syncline-query-id of its answer"))
}
