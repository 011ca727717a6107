//! The HTTP interface: records come in, people and programs look at what happened.
//!
//! | route | |
//! |---|---|
//! | `POST /in/{path}` | records for a pipeline; durable before the answer (`ingest`) |
//! | `GET /healthz`, `/readyz`, `/metrics` | for whoever keeps the process alive |
//! | `GET /api/v1/status` | pipelines, runs, books |
//! | `GET /api/v1/checkpoints` | what pipelines have committed beside their state, for `plan` |
//! | `POST /v1/queries`, `DELETE /v1/queries/{id}` | SQL over everything that happened; and an end to it |
//! | `GET /api/v1/dead-letters`, `/{id}`, `/{id}/bytes` | records that could not be processed |
//! | `POST /api/v1/schedules/{pipeline}/pause`, `resume`, `run` | holds a schedule, lets it go on, starts a run now |
//!
//! The same routes answer on a TCP address and on the data folder's control socket. There is no authentication, so the address is
//! a loopback one, and what a browser sends on behalf of another site is refused. Every refusal is problem+json.
//!
//! A second door takes records and nothing else (`run --ingest`); it may be open to other machines when every path verifies who
//! sends.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Router,
    extract::{Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use syncline_analytics::{Catalog, Reading};
use syncline_engine::{clock::Clock, log::Log, runtime::Ground, store::StateStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub mod body;
pub mod checkpoints;
pub mod dead_letters;
pub mod frames;
pub mod headers;
pub mod health;
pub mod ingest;
pub mod intake;
pub mod listen;
pub mod live;
pub mod metrics;
pub mod problem;
pub mod query;
pub mod records;
pub mod running;
pub mod schedules;
pub mod status;

pub use intake::{Ingest, KEEP_EVERY};
pub use listen::{Doors, Server};
pub use live::{Activity, Live};

use crate::schedule::Wishes;
use problem::Problem;

/// Memory for bodies that are on their way, all of them together, in KiB: sixteen of the longest.
const BODIES_KIB: usize = 256 << 10;
/// How long a request waits for that memory.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(5);
/// Queries at once: each may take a core and its share of memory, and pipelines come first.
const QUERIES: usize = 4;

/// What the routes work with.
pub struct ApiState {
    pub store: Arc<dyn StateStore>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub ingest: Arc<Ingest>,
    pub live: Arc<Mutex<Live>>,
    /// What is asked of the schedules of this process.
    pub wishes: Arc<Wishes>,
    /// What `/metrics` renders; see [`metrics::install`].
    pub metrics: Option<PrometheusHandle>,
    /// What `/metrics` has shown so far.
    published: Mutex<metrics::Published>,
    bodies: Arc<Semaphore>,
    /// What questions are asked of, through every door.
    pub catalog: Catalog,
    /// Places for questions.
    pub queries: Arc<Semaphore>,
    /// Those that came over HTTP.
    pub running: Arc<running::Queries>,
}

impl ApiState {
    pub fn new(ground: &Ground, metrics: Option<PrometheusHandle>) -> Arc<Self> {
        let Ground { store, log, clock, .. } = ground.clone();
        let ingest = Arc::new(Ingest::new(store.clone(), log.clone(), clock.clone()));
        let (live, wishes) = (Arc::default(), Arc::default());
        let bodies = Arc::new(Semaphore::new(BODIES_KIB));
        let queries = Arc::new(Semaphore::new(QUERIES));
        let published = Mutex::default();
        let catalog = Catalog::new(Reading { store: store.clone(), log: log.clone() });
        Arc::new(Self {
            store,
            log,
            clock,
            ingest,
            live,
            wishes,
            metrics,
            published,
            bodies,
            catalog,
            queries,
            running: Arc::default(),
        })
    }

    /// What the process knows beside the store.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for so much of a body; `None` when there is none for too long.
    async fn room_for(&self, kib: usize) -> Option<OwnedSemaphorePermit> {
        let room = self.bodies.clone().acquire_many_owned(kib.min(BODIES_KIB) as u32);
        tokio::time::timeout(PATIENCE, room).await.ok()?.ok()
    }
}

/// The routes.
pub fn router(state: Arc<ApiState>) -> Router {
    Router::new()
        .route("/in/{*path}", post(ingest::post))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::get))
        .route("/api/v1/status", get(status::get))
        .route("/api/v1/checkpoints", get(checkpoints::get))
        .route("/v1/queries", post(query::post))
        .route("/v1/queries/{id}", delete(running::delete))
        .route("/api/v1/dead-letters", get(dead_letters::list))
        .route("/api/v1/dead-letters/{id}", get(dead_letters::show))
        .route("/api/v1/dead-letters/{id}/bytes", get(dead_letters::bytes))
        .route("/api/v1/schedules/{pipeline}/{verb}", post(schedules::post))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), as_problems))
        .layer(middleware::from_fn(from_here))
        .with_state(state)
}

/// What the door for records serves: paths under `/in/`, and a word for everything else.
pub fn outer_router(state: Arc<ApiState>) -> Router {
    let nothing = || async { Problem::refused(StatusCode::NOT_FOUND, "no-such-route", "there is nothing here") };
    Router::new()
        .route("/in/{*path}", post(ingest::post_outside))
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), as_problems))
        .with_state(state)
}

async fn no_such_route(request: Request) -> Problem {
    let title = format!("there is no {}", request.uri().path());
    Problem::refused(StatusCode::NOT_FOUND, "no-such-route", title)
        .help("routes: /in/{path}, /healthz, /readyz, /metrics, /api/v1/status, /v1/queries, /api/v1/dead-letters, /api/v1/schedules")
}

async fn no_such_method(request: Request) -> Problem {
    let title = format!("{} is not for {}", request.method(), request.uri().path());
    Problem::refused(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", title)
}

/// What the router itself refuses (a path that is not UTF-8, …) takes the same shape as everything else.
async fn as_problems(State(_): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json");
    if !(status.is_client_error() || status.is_server_error()) || ours {
        return response;
    }
    let title = status.canonical_reason().unwrap_or("the request was refused").to_lowercase();
    Problem::refused(status, "refused", title).into_response()
}

/// A page of another site that is open in a browser on this machine can reach a loopback address. It cannot hide its origin, and
/// a name that it made point here is not a loopback name.
fn same_site(headers: &HeaderMap) -> Result<(), Problem> {
    let foreign = text(headers, header::ORIGIN).filter(|origin| !is_loopback(origin.split("://").last().unwrap_or("")));
    match foreign {
        None => Ok(()),
        Some(origin) => {
            let title = format!("requests on behalf of {origin} are refused");
            Err(Problem::refused(StatusCode::FORBIDDEN, "foreign-origin", title))
        }
    }
}

/// A path that verifies its senders asks for more than their origin, so `ingest` asks for that of the others itself.
async fn from_here(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let path = request.uri().path();
    if !path.starts_with("/in/")
        && let Err(problem) = same_site(headers)
    {
        return problem.into_response();
    }
    // Records may come through a tunnel under another name; answers may not go out that way.
    let looks = request.method() != Method::OPTIONS && ["/api/", "/v1/"].iter().any(|start| path.starts_with(start));
    if let Some(host) = text(headers, header::HOST).filter(|host| looks && !is_loopback(host)) {
        let title = format!("{host} is not a name of this machine's loopback address");
        return Problem::refused(StatusCode::FORBIDDEN, "foreign-host", title)
            .help("use http://127.0.0.1 or http://localhost")
            .into_response();
    }
    next.run(request).await
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests;
