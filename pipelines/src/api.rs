//! The HTTP interface: records come in, people and programs look at what happened.
//!
//! | route | |
//! |---|---|
//! | `POST /in/{path}` | records for a pipeline; durable before the answer (`ingest`) |
//! | `GET /healthz`, `/readyz`, `/metrics` | for whoever keeps the process alive |
//! | `GET /openapi.json` | all of this for programs (`document`) |
//! | `GET /v1/pipelines`, `/v1/runs`, `/v1/backfills` … | what is there and what happened, in pages (`page`) |
//! | `GET /v1/events`, `/v1/events/ws` | what happens, as it happens (`events`) |
//! | `GET /v1/dead-letters`, `/{id}`, `/{id}/bytes` | records that could not be processed |
//! | `POST /v1/dead-letters/{id}/retry`, `discard`, and without an id | what becomes of them (`letters`) |
//! | `GET /v1/schedules`, `POST /{pipeline}/pause`, `resume`, `run` | when pipelines are due |
//! | `PUT /v1/pipelines/{name}`, `POST …/pause`, `rollback` … | pipelines are written, held, let go on, taken away and back (`life`) |
//! | `GET /v1/pipelines/{name}/text`, `revisions`, `graph` | what they say, said before, and are (`texts`) |
//! | `GET /v1/connections`, `POST …/test`, `discover` | who answers at the places that files name (`connections`) |
//! | `POST /v1/plans` | what a text would do, before it does it (`plans`) |
//! | `POST /v1/queries`, `DELETE /v1/queries/{id}` | SQL over everything that happened; and an end to it |
//! | `GET /v1/tokens`, `POST`, `DELETE /{name}` | who may ask |
//! | `GET /v1/status`, `/v1/checkpoints` | what the commands `status` and `plan` look at |
//!
//! The same routes answer on a TCP address and on the data folder's control socket. Who asks over TCP shows a token once there is one
//! (`access`), and what a browser sends on behalf of another site is refused (`site`). Every refusal is problem+json, every request
//! has an id (`request`) and stands in a table (`journal`), what changes slowly has a tag (`etag`), and a POST can be sent twice
//! (`idempotency`).
//!
//! A second door takes records and nothing else (`run --ingest`); it may be open to other machines when every path verifies who
//! sends.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Router,
    extract::Request,
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use metrics_exporter_prometheus::PrometheusHandle;
use syncline_analytics::{Catalog, Files, Reading, Workers};
use syncline_dsl::plan::Plan;
use syncline_engine::{clock::Clock, log::Log, runtime::Ground, store::StateStore};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa_axum::router::OpenApiRouter;

pub mod access;
pub mod backfills;
pub mod body;
pub mod checkpoints;
pub mod connections;
pub mod dead_letters;
pub mod document;
pub mod etag;
pub mod events;
pub mod facts;
pub mod frames;
pub mod headers;
pub mod health;
pub mod idempotency;
pub mod ingest;
pub mod intake;
pub mod journal;
pub mod letters;
pub mod life;
pub mod listen;
pub mod live;
pub mod metrics;
pub mod page;
pub mod pipelines;
pub mod plans;
pub mod problem;
pub mod query;
pub mod records;
pub mod request;
pub mod running;
pub mod runs;
pub mod schedules;
pub mod site;
pub mod status;
pub mod texts;
pub mod tokens;

pub use intake::{Ingest, KEEP_EVERY};
pub use listen::{Doors, Server};
pub use live::{Activity, Live};

use crate::{plans::Plans, questions::Questions, schedule::Wishes, tokens::Tokens, verbs::Control};
use access::{Caller, Entrance};
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
    /// What is asked of its pipelines.
    pub control: Control,
    /// What may be asked of them, and was looked at.
    pub proposals: Plans,
    /// What `/metrics` renders; see [`metrics::install`].
    pub metrics: Option<PrometheusHandle>,
    /// What `/metrics` has shown so far.
    published: Mutex<metrics::Published>,
    bodies: Arc<Semaphore>,
    /// What happened here.
    pub catalog: Catalog,
    /// What questions are asked of, through every door.
    pub questions: Questions,
    /// Places for questions.
    pub queries: Arc<Semaphore>,
    /// Places for those who look at connections.
    looks: Arc<Semaphore>,
    /// Those that came over HTTP.
    pub running: Arc<running::Queries>,
    /// Places for those who have texts compiled.
    planning: Arc<Semaphore>,
    /// Requests whose work is done once.
    keys: idempotency::Keys,
    /// Who may ask over TCP.
    pub tokens: Tokens,
    /// What was asked, on its way into the store.
    pub journal: journal::Journal,
    /// Held while something is decided about a dead letter.
    deciding: tokio::sync::Mutex<()>,
    /// What the pipelines of this process do.
    plans: Mutex<BTreeMap<String, Arc<Plan>>>,
    /// Who waits for events.
    pub listeners: events::Listeners,
}

impl ApiState {
    /// `folder`: the data folder, in which tokens are kept.
    pub fn new(
        ground: &Ground,
        folder: &Path,
        (files, workers): (Option<Files>, Option<Workers>),
        metrics: Option<PrometheusHandle>,
    ) -> Arc<Self> {
        let Ground { store, log, clock, .. } = ground.clone();
        let ingest = Arc::new(Ingest::new(store.clone(), log.clone(), clock.clone()));
        let (live, wishes) = (Arc::default(), Arc::default());
        let bodies = Arc::new(Semaphore::new(BODIES_KIB));
        let queries = Arc::new(Semaphore::new(QUERIES));
        let published = Mutex::default();
        let catalog = Catalog::new(Reading { store: store.clone(), log: log.clone(), files }).with_workers(workers);
        Arc::new(Self {
            store,
            log,
            clock,
            ingest,
            live,
            wishes,
            control: Control::default(),
            proposals: Plans::default(),
            metrics,
            published,
            bodies,
            questions: Questions::new(&catalog, folder),
            catalog,
            queries,
            looks: Arc::new(Semaphore::new(connections::LOOKS)),
            running: Arc::default(),
            planning: Arc::new(Semaphore::new(plans::PLANS)),
            keys: idempotency::Keys::default(),
            tokens: Tokens::of(folder),
            journal: journal::Journal::default(),
            deciding: tokio::sync::Mutex::default(),
            plans: Mutex::default(),
            listeners: events::Listeners::default(),
        })
    }

    /// What the process knows beside the store.
    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the pipelines of this process do, by name.
    pub fn plans(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory for so much of a body; `None` when there is none for too long.
    async fn room_for(&self, kib: usize) -> Option<OwnedSemaphorePermit> {
        let room = self.bodies.clone().acquire_many_owned(kib.min(BODIES_KIB) as u32);
        tokio::time::timeout(PATIENCE, room).await.ok()?.ok()
    }
}

/// The routes, each with its description.
fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::with_openapi(document::empty())
        .merge(ingest::routes())
        .merge(health::routes())
        .merge(metrics::routes())
        .merge(document::routes())
        .merge(status::routes())
        .merge(checkpoints::routes())
        .merge(pipelines::routes())
        .merge(life::routes())
        .merge(texts::routes())
        .merge(connections::routes())
        .merge(plans::routes())
        .merge(runs::routes())
        .merge(events::routes())
        .merge(schedules::routes())
        .merge(backfills::routes())
        .merge(dead_letters::routes())
        .merge(letters::routes())
        .merge(query::routes())
        .merge(tokens::routes())
}

/// The routes with what is asked of every request. A layer is around those above it.
pub fn router(state: Arc<ApiState>, entrance: Entrance) -> Router {
    let (routes, _) = routes().split_for_parts();
    routes
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::once))
        .layer(middleware::from_fn(as_problems))
        .layer(middleware::from_fn(site::from_here))
        .layer(middleware::from_fn_with_state((state.clone(), entrance), access::known))
        .layer(middleware::from_fn_with_state(state.clone(), request::with_id))
        .with_state(state)
}

/// What the door for records serves: paths under `/in/`, and a word for everything else.
pub fn outer_router(state: Arc<ApiState>) -> Router {
    let nothing = || async { Problem::refused(StatusCode::NOT_FOUND, "no-such-route", "there is nothing here") };
    Router::new()
        .route("/in/{*path}", post(ingest::post_outside))
        .fallback(nothing)
        .method_not_allowed_fallback(no_such_method)
        .layer(middleware::from_fn(as_problems))
        // A path that does not verify is open here, where nobody else can come in.
        .layer(Extension(Caller::local()))
        .layer(middleware::from_fn_with_state(state.clone(), request::with_id))
        .with_state(state)
}

async fn no_such_route(request: Request) -> Problem {
    let title = format!("there is no {}", request.uri().path());
    Problem::refused(StatusCode::NOT_FOUND, "no-such-route", title)
        .help("resources are under /v1/, records go to /in/; GET /openapi.json lists all routes")
}

async fn no_such_method(request: Request) -> Problem {
    let title = format!("{} is not for {}", request.method(), request.uri().path());
    Problem::refused(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", title)
}

/// What the router itself refuses (a path that is not UTF-8, …) takes the same shape as everything else.
async fn as_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == problem::CONTENT_TYPE);
    if !(status.is_client_error() || status.is_server_error()) || ours {
        return response;
    }
    let title = status.canonical_reason().unwrap_or("the request was refused").to_lowercase();
    Problem::refused(status, "refused", title).into_response()
}

#[cfg(test)]
mod tests;
