//! `/v1/tokens`: who may ask over HTTP. Only an admin sees them, makes them and revokes them.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    ApiState, body,
    facts::instant_text,
    page::{self, InPath, Page, Params, Part},
    problem::{self, At, Problem, blocking},
};
use crate::{
    command::token::end,
    outcome::Failure,
    tokens::{self, Grant, Role, Token},
};

pub fn routes() -> OpenApiRouter<Arc<ApiState>> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(create)).routes(routes!(revoke))
}

/// A token, without what lets somebody in.
#[derive(Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct Shown {
    pub name: String,
    /// The part of its text behind `sl_`.
    pub id: String,
    pub role: Role,
    #[schema(format = DateTime)]
    pub created: String,
    #[schema(format = DateTime)]
    pub expires: Option<String>,
    pub expired: bool,
    /// The only pipelines that it is for; `null`: all.
    pub pipelines: Option<Vec<String>>,
    /// Its text, only in the answer that made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// What a new token may do.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = TokenWanted)]
pub struct Wanted {
    /// Up to 63 letters, digits, `.`, `_`, `-` and `@`.
    #[schema(min_length = 1, max_length = 63, pattern = "^[A-Za-z0-9._@-]+$")]
    pub name: String,
    pub role: Role,
    /// After so long it opens nothing: `30d`, `12 hours`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// The only pipelines that it is for.
    #[schema(min_items = 1)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pipelines: Option<Vec<String>>,
}

impl Shown {
    pub fn of(name: &str, token: &Token, now: i64) -> Self {
        Self {
            name: name.to_owned(),
            id: token.id.clone(),
            role: token.role,
            created: instant_text(token.created),
            expires: token.expires.map(instant_text),
            expired: token.has_expired(now),
            pipelines: token.pipelines.clone(),
            token: None,
        }
    }
}

/// All tokens
///
/// In order of name.
#[utoipa::path(
    get,
    path = "/v1/tokens",
    operation_id = "listTokens",
    tag = "tokens",
    security(("token" = ["admin"])),
    params(Part),
    responses((status = 200, body = Page<Shown>, description = "A page of them"), At<400>, At<503>),
)]
pub async fn list(State(state): State<Arc<ApiState>>, Params(part): Params<Part>) -> Result<Response, Problem> {
    let all = state.tokens.all().map_err(unread)?;
    let now = state.clock.now();
    let shown = all.iter().map(|(name, token)| Shown::of(name, token, now)).collect();
    Ok(problem::json(StatusCode::OK, &page::named(shown, |token: &Shown| &token.name, &part)?))
}

/// Make a token
///
/// Its text is in this answer and nowhere else. Once there is one, TCP asks everybody for a token.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    operation_id = "createToken",
    tag = "tokens",
    security(("token" = ["admin"])),
    request_body = Wanted,
    responses(
        (status = 201, body = Shown, description = "It"),
        At<400>, At<409>, At<413>, At<503>,
    ),
)]
pub async fn create(State(state): State<Arc<ApiState>>, request: Request) -> Result<Response, Problem> {
    let wanted: Wanted =
        body::json(&state, request, "{\"name\": \"grafana\", \"role\": \"viewer\", \"expires\": \"30d\"}").await?;
    let made = blocking(move || {
        let now = state.clock.now();
        let expires = wanted.expires.as_deref().map(|length| end(length, now)).transpose()?;
        let grant = Grant { role: wanted.role, expires, pipelines: wanted.pipelines };
        let (token, text) = tokens::create(state.tokens.folder(), &wanted.name, grant, now)?;
        Ok(Shown { token: Some(text), ..Shown::of(&wanted.name, &token, now) })
    });
    let made = made.await?.map_err(problem)?;
    let mut response = problem::json(StatusCode::CREATED, &made);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Revoke a token
///
/// It opens nothing from then on.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{name}",
    operation_id = "revokeToken",
    tag = "tokens",
    security(("token" = ["admin"])),
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204, description = "It is"), At<404>, At<503>),
)]
pub async fn revoke(State(state): State<Arc<ApiState>>, InPath(name): InPath<String>) -> Result<Response, Problem> {
    let known = name.clone();
    let was_there = blocking(move || tokens::revoke(state.tokens.folder(), &known)).await?.map_err(unread)?;
    match was_there {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Problem::refused(StatusCode::NOT_FOUND, "no-such-token", format!("there is no token {name}"))
            .help("GET /v1/tokens lists them")),
    }
}

fn unread(failure: Failure) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure)
}

fn problem(failure: Failure) -> Problem {
    let status = match &*failure.slug {
        "token-exists" => StatusCode::CONFLICT,
        "token-name" | "token-expires" | "token-pipelines" => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, failure)
}
