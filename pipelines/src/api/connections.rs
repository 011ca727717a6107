//! `/v1/connections`: which connections the files of this process declare, who answers there, and what they lead to.
//!
//! The answers are those of `syncline connection test` and `syncline discover`, by the same code. Whoever asks waits for others: so few at
//! once go outside, and each for so long; one whose place says nothing any more gives its place free when its connector gives up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState,
    access::Caller,
    body::{JSON, Whole},
    facts::instant_text,
    life,
    page::{self, InPath, Page, Params, Part},
    problem::{self, At, Problem, blocking},
};
use crate::{
    command::discover::{self, Named},
    connections::{self, Connection},
    outcome::Failure,
    secrets,
    verbs::{Done, Refused, Verb},
};

/// Looks outside at once: each may hold a thread until its connector gives up.
pub const LOOKS: usize = 2;
/// How long whoever asks waits for the answer of a place.
const WITHIN: Duration = Duration::from_secs(45);
/// How long a sample is read.
const READS: Duration = Duration::from_secs(20);
/// Records of a sample, when the asker does not say, and the most there can be.
const ROWS: u64 = 10_000;
const MOST_ROWS: u64 = 100_000;

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(test)).routes(routes!(discover))
}

/// A connection that a file declares.
#[derive(Serialize, ToSchema)]
#[schema(as = Connection)]
pub struct Shown {
    pub name: String,
    /// `kafka`, `postgres`, …
    pub kind: String,
    /// As the file has them, without what lets somebody in: `{"secret": "a/b"}` and `{"env": "X"}` stand for what they name.
    #[schema(value_type = Object)]
    pub options: Map<String, Value>,
    /// The file that declares it.
    pub file: String,
}

/// Who answered.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionTold)]
pub struct Told {
    pub connection: String,
    pub told: Vec<Fact>,
}

/// Something that a place says of itself.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionFact)]
pub struct Fact {
    pub what: String,
    pub value: String,
}

/// What is wanted of a connection.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = DiscoverWanted)]
pub struct Wanted {
    /// A part of it, with its `FORMAT` where it needs one; all of it, if not said.
    #[schema(examples("orders", "lines FORMAT csv"), required = false)]
    pub object: String,
    /// Records of the part that are looked at: 1 to 100000.
    #[schema(minimum = 1, maximum = 100000)]
    pub rows: Option<u64>,
}

/// What a connection leads to.
#[derive(Serialize, ToSchema)]
#[schema(as = Discovered)]
pub struct Found {
    pub connection: String,
    /// What there is, when no part was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<Topic>>,
    /// Of a part: `name`, `records`, `refused`, and `columns` with `name`, `type` and `not_null`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub schema: Option<Value>,
    /// The same as a pipeline file has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// Something that a connection leads to.
#[derive(Serialize, ToSchema)]
#[schema(as = ConnectionTopic)]
pub struct Topic {
    pub topic: String,
    pub partitions: u32,
    /// At most: marks of transactions count.
    pub records: u64,
    #[schema(format = DateTime)]
    pub newest: Option<String>,
}

/// All connections
///
/// That the files of this process declare, in order of name.
#[utoipa::path(
    get,
    path = "/v1/connections",
    operation_id = "listConnections",
    tag = "connections",
    security(("token" = ["viewer"])),
    params(Part),
    responses((status = 200, body = Page<Shown>, description = "A page of them"), At<400>, At<503>),
)]
pub async fn list(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    Params(part): Params<Part>,
) -> Result<Response, Problem> {
    let files = files(&state, &caller).await?;
    let found = blocking(move || connections::all(&files)).await?.map_err(refused)?;
    let mut all: Vec<Shown> = found.iter().map(Shown::of).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    // Two files may use one name, each for itself: the list tells by name, so the first of them stands for it.
    all.dedup_by(|one, other| one.name == other.name);
    Ok(problem::json(StatusCode::OK, &page::named(all, |one| &one.name, &part)?))
}

/// Test a connection
///
/// Goes to its place as a run does, writes nothing, and tells who answers there; 502 with the place's own words when nobody lets us in.
#[utoipa::path(
    post,
    path = "/v1/connections/{connection}/test",
    operation_id = "testConnection",
    tag = "connections",
    security(("token" = ["operator"])),
    params(("connection" = String, Path, description = "Its name")),
    responses(
        (status = 200, body = Told, description = "It lets us in"),
        At<404>, At<422>, At<502>, At<503>, At<504>,
    ),
)]
pub async fn test(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
) -> Result<Response, Problem> {
    let told = looked(&state, &caller, name, |found, state| {
        let told = found.test(state.tokens.folder())?;
        let told = told
            .into_iter()
            .map(|(what, value)| Fact { what: what.to_owned(), value: secrets::hidden(&value).into_owned() });
        Ok(Told { connection: found.name, told: told.collect() })
    });
    Ok(problem::json(StatusCode::OK, &told.await?))
}

/// What a connection leads to
///
/// All of it; or, of a part, a `SCHEMA` from a sample. Nothing is stored.
#[utoipa::path(
    post,
    path = "/v1/connections/{connection}/discover",
    operation_id = "discoverConnection",
    tag = "connections",
    security(("token" = ["operator"])),
    params(("connection" = String, Path, description = "Its name")),
    request_body(content = Option<Wanted>),
    responses(
        (status = 200, body = Found, description = "It"),
        At<400>, At<404>, At<422>, At<502>, At<503>, At<504>,
    ),
)]
pub async fn discover(
    State(state): State<Arc<ApiState>>,
    caller: Caller,
    InPath(name): InPath<String>,
    body: Whole<JSON>,
) -> Result<Response, Problem> {
    let Wanted { object, rows } =
        life::read(&body.bytes, "{\"object\": \"orders\", \"rows\": 1000}, each of them or none")?;
    let rows = rows.unwrap_or(ROWS);
    if !(1..=MOST_ROWS).contains(&rows) {
        return Err(Problem::refused(StatusCode::BAD_REQUEST, "no-such-body", format!("rows: {rows}"))
            .help(format!("a sample has 1 to {MOST_ROWS} records")));
    }
    let found = looked(&state, &caller, name, move |connection, state| {
        let (name, folder) = (connection.name.clone(), state.tokens.folder());
        let object = object.trim().to_owned();
        if object.is_empty() {
            let listed = connection.list(folder)?;
            let objects = listed.into_iter().map(|one| Topic {
                topic: one.name,
                partitions: one.partitions,
                records: one.records,
                newest: one.newest.map(instant_text),
            });
            return Ok(Found { connection: name, objects: Some(objects.collect()), schema: None, text: None });
        }
        let until = Instant::now() + READS;
        let (schema, text) = discover::sampled(&Named { connection, object }, rows, until, folder)?;
        Ok(Found { connection: name, objects: None, schema: Some(schema), text: Some(text) })
    });
    Ok(problem::json(StatusCode::OK, &found.await?))
}

impl Shown {
    fn of(found: &Connection) -> Self {
        Self {
            name: found.name.clone(),
            kind: found.place.connector.clone(),
            options: found.options(),
            file: found.file.name(),
        }
    }
}

async fn files(state: &Arc<ApiState>, caller: &Caller) -> Result<Vec<std::path::PathBuf>, Problem> {
    match life::ask(state, caller, String::new(), Verb::Files).await? {
        Done::Files(files) => Ok(files),
        _ => Err(Problem::stopping()),
    }
}

/// Looks outside, where there is a place for that, and answers in time.
async fn looked<T: Send + 'static>(
    state: &Arc<ApiState>,
    caller: &Caller,
    name: String,
    look: impl FnOnce(Connection, &ApiState) -> Result<T, Refused> + Send + 'static,
) -> Result<T, Problem> {
    let files = files(state, caller).await?;
    let place = state.looks.clone().try_acquire_owned().map_err(|_| {
        Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "busy", "others look at connections already")
            .retry_after(1)
            .help("ask again when they have their answers")
    })?;
    let (inside, told) = (state.clone(), name.clone());
    let work = blocking(move || {
        // Held until the connector has given up, also when nobody waits any more.
        let _place = place;
        let found = connections::find(&name, &files)?;
        let found = found.ok_or_else(|| connections::no_such(&name, &files, "the files of this process"))?;
        look(found, &inside)
    });
    match tokio::time::timeout(WITHIN, work).await {
        Ok(done) => done?.map_err(problem),
        Err(_) => Err(Problem::refused(
            StatusCode::GATEWAY_TIMEOUT,
            "connection-slow",
            format!("the place of {told} did not say what it is within {WITHIN:?}"),
        )
        .help("look whether it can be reached from where this process runs")),
    }
}

fn refused(failure: Failure) -> Problem {
    problem(failure.into())
}

fn problem(Refused { failure, diagnostics }: Refused) -> Problem {
    let status = match &*failure.slug {
        "no-such-connection" => StatusCode::NOT_FOUND,
        "connection-failed" | "source-unreadable" => StatusCode::BAD_GATEWAY,
        "no-threads" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    let problem = Problem::new(status, *failure);
    if diagnostics.is_empty() { problem } else { problem.diagnostics(diagnostics) }
}
