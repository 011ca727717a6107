//! Who asks, and what he may do.
//!
//! | through | |
//! |---|---|
//! | the data folder's socket | whoever runs here as the same user: an admin |
//! | TCP on a loopback address, while there is no token | whoever is on this machine: an admin |
//! | TCP once there is one, and always where other machines come in | its holder (`Authorization: Bearer …`), with its role, for its pipelines |
//!
//! A route says in its description which role it wants (`security(("token" = ["operator"]))`), and that is what is asked for here: what is
//! documented is what holds. A route that says nothing wants an admin. A token that is for some pipelines opens the routes of these, and lists
//! that leave out the others; everything else stays closed to it.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
};

use axum::{
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    ApiState,
    document::{TOKEN, operations},
    journal,
    page::literal,
    problem::Problem,
};
use crate::tokens::{Role, Token, Unknown};

/// Which way a request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// The data folder's socket.
    Socket,
    /// An address that only this machine reaches.
    Loopback,
    /// An address that others reach: nobody is let in without a token, also when the last one is revoked.
    Network,
}

/// Routes beside those of a pipeline that are open to a token for some pipelines: they show nothing of others.
pub const FILTERED: [&str; 14] = [
    "/v1/pipelines",
    "/v1/runs",
    "/v1/schedules",
    "/v1/backfills",
    "/v1/dead-letters",
    "/v1/dead-letters/{id}/retry",
    "/v1/dead-letters/{id}/discard",
    "/v1/dead-letters/retry",
    "/v1/dead-letters/discard",
    "/v1/events",
    "/v1/events/ws",
    "/v1/dead-letters/{id}",
    "/v1/dead-letters/{id}/bytes",
    "/in/{*path}",
];

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name of his token; `local` on this machine.
    pub name: Arc<str>,
    /// `None`: nobody knows who he is.
    pub role: Option<Role>,
    /// `None`: all.
    pub pipelines: Option<Arc<[String]>>,
    /// He has shown a token, so no browser asks behind his back.
    pub by_token: bool,
    /// The id of that token.
    pub token: Option<Arc<str>>,
}

impl Caller {
    /// Somebody of this machine.
    pub fn local() -> Self {
        Self { name: "local".into(), role: Some(Role::Admin), pipelines: None, by_token: false, token: None }
    }

    /// Who has shown nothing.
    pub fn nobody() -> Self {
        Self { name: journal::NOBODY.into(), role: None, pipelines: None, by_token: false, token: None }
    }

    fn holder(name: &str, token: Token) -> Self {
        let pipelines = token.pipelines.map(Into::into);
        let id = Some(token.id.into());
        Self { name: name.into(), role: Some(token.role), pipelines, by_token: true, token: id }
    }

    /// Whether the token that he has shown is still one: for what goes on long after it was. Where that cannot be read, it is none.
    pub fn still(&self, state: &ApiState) -> bool {
        let Some(id) = &self.token else { return true };
        let now = state.clock.now();
        let is_he = |token: &Token| *token.id == **id && !token.has_expired(now);
        state.tokens.all().is_ok_and(|all| all.get(&*self.name).is_some_and(is_he))
    }

    /// Whether he may do with this pipeline what his role allows.
    pub fn may_touch(&self, pipeline: &str) -> bool {
        self.pipelines.as_ref().is_none_or(|pipelines| pipelines.iter().any(|known| known == pipeline))
    }

    /// The same as a condition of SQL on the column `pipeline`.
    pub fn condition(&self) -> String {
        match &self.pipelines {
            None => "TRUE".to_owned(),
            Some(pipelines) if pipelines.is_empty() => "FALSE".to_owned(),
            Some(pipelines) => {
                let names: Vec<String> = pipelines.iter().map(|name| literal(name)).collect();
                format!("pipeline IN ({})", names.join(", "))
            }
        }
    }

    /// Refuses whoever has less than this role.
    pub fn must_be(&self, wanted: Role) -> Result<(), Problem> {
        match self.role {
            Some(role) if role >= wanted => Ok(()),
            Some(role) => Err(forbidden(&self.name, role, wanted)),
            None => Err(unknown("this asks for a token", HeaderValue::from_static("Bearer realm=\"syncline\""))),
        }
    }

    /// Refuses whoever is not for this pipeline.
    pub fn must_be_for(&self, pipeline: &str) -> Result<(), Problem> {
        match self.may_touch(pipeline) {
            true => Ok(()),
            false => Err(not_for(self, &format!("pipeline {pipeline}"))),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        // The layer below has put him there; where it is missing, nobody gets in.
        Ok(parts.extensions.get().cloned().unwrap_or_else(Self::nobody))
    }
}

/// The role that each route wants, by `GET /path`; `None`: it decides itself, or is open to all.
static ROLES: LazyLock<HashMap<String, Option<Role>>> = LazyLock::new(|| {
    let mut roles = HashMap::new();
    for (path, mut item) in super::routes().into_openapi().paths.paths {
        for (method, operation) in operations(&mut item) {
            let wanted = serde_json::to_value(&operation.security).unwrap_or_default();
            roles.insert(format!("{method} {path}"), role(&wanted));
        }
    }
    roles
});

/// The role of `security` as a document has it.
fn role(wanted: &serde_json::Value) -> Option<Role> {
    let Some(wanted) = wanted.as_array() else { return Some(Role::Admin) };
    if wanted.iter().any(|one| one.as_object().is_some_and(|one| one.is_empty())) {
        return None;
    }
    let named = wanted.iter().filter_map(|one| one[TOKEN][0].as_str()).filter_map(Role::of);
    Some(named.min().unwrap_or(Role::Admin))
}

/// Finds out who asks, and whether he may.
pub async fn known(
    State((state, entrance)): State<(Arc<ApiState>, Entrance)>,
    params: Result<RawPathParams, axum::extract::rejection::RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // What a producer sends under `/in/` may be meant for others: what is no token of ours is none there.
    let strict = !request.uri().path().starts_with("/in/");
    let caller = match who(&state, entrance, strict, request.headers()) {
        Ok(caller) => caller,
        Err(problem) => return problem.into_response(),
    };
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned()).unwrap_or_default();
    let method = if request.method() == "HEAD" { "GET" } else { request.method().as_str() };
    // What is no route is told so, whoever asks.
    let wanted = ROLES.get(&format!("{method} {path}")).copied().flatten();
    let allowed = match wanted {
        None => Ok(()),
        Some(wanted) => caller.must_be(wanted).and_then(|()| within(&caller, &path, params.ok())),
    };
    if let Err(problem) = allowed {
        return told(caller, problem.into_response());
    }
    request.extensions_mut().insert(caller.clone());
    told(caller, next.run(request).await)
}

/// Whoever writes down what was asked finds in the answer who did.
fn told(caller: Caller, mut response: Response) -> Response {
    response.extensions_mut().insert(caller);
    response
}

/// What a token for some pipelines opens.
fn within(caller: &Caller, path: &str, params: Option<RawPathParams>) -> Result<(), Problem> {
    if caller.pipelines.is_none() || FILTERED.contains(&path) {
        return Ok(());
    }
    let params = params.as_ref();
    let named = params.and_then(|params| params.iter().find(|(name, _)| *name == "pipeline"));
    match named {
        Some((_, pipeline)) => caller.must_be_for(pipeline),
        None => Err(not_for(caller, path)),
    }
}

/// Looks at the file of tokens, and reads it where it has changed: a few microseconds, so it is done where it stands.
fn who(state: &ApiState, entrance: Entrance, strict: bool, headers: &HeaderMap) -> Result<Caller, Problem> {
    if entrance == Entrance::Socket {
        return Ok(Caller::local());
    }
    let nameless = || -> Result<Caller, Problem> {
        let tokens = state.tokens.all().map_err(unread)?;
        Ok(match entrance {
            Entrance::Loopback if tokens.is_empty() => Caller::local(),
            _ => Caller::nobody(),
        })
    };
    let Some(given) = headers.get(header::AUTHORIZATION) else { return nameless() };
    let text = given.to_str().ok().and_then(|text| {
        let (scheme, text) = text.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| text.trim())
    });
    let found = match text {
        None => Err(Unknown::NoToken),
        Some(text) => state.tokens.find(text, state.clock.now()).map_err(unread)?,
    };
    match found {
        Ok((name, token)) => Ok(Caller::holder(&name, token)),
        Err(_) if !strict => nameless(),
        // To whoever has none of ours, one that has expired is one of nobody.
        Err(why) => {
            tracing::debug!("a request was refused: {why:?}");
            let challenge = HeaderValue::from_static("Bearer realm=\"syncline\", error=\"invalid_token\"");
            Err(unknown("this token opens nothing here", challenge)
                .help("it may have expired or been revoked: `syncline token list` shows those that there are"))
        }
    }
}

fn unread(failure: crate::outcome::Failure) -> Problem {
    tracing::warn!("the tokens cannot be read: {}", failure.title);
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "tokens-unread", "who may ask cannot be read, so nobody may")
        .help("the log of the process says why")
}

fn unknown(title: &str, challenge: HeaderValue) -> Problem {
    Problem::refused(StatusCode::UNAUTHORIZED, "no-token", title)
        .header(header::WWW_AUTHENTICATE, challenge)
        .help("send the header `Authorization: Bearer sl_…`; an admin makes a token with `syncline token create NAME --role viewer`")
}

fn forbidden(name: &str, role: Role, wanted: Role) -> Problem {
    let (role, wanted) = (role.as_str(), wanted.as_str());
    let challenge = format!("Bearer realm=\"syncline\", error=\"insufficient_scope\", scope=\"{wanted}\"");
    let problem = Problem::refused(StatusCode::FORBIDDEN, "role-too-low", format!("this asks for the role {wanted}"))
        .seen(format!("the token {name} has the role {role}"))
        .help(format!("an admin makes another one: syncline token create NAME --role {wanted}"))
        .member("role", wanted);
    match HeaderValue::from_str(&challenge) {
        Ok(challenge) => problem.header(header::WWW_AUTHENTICATE, challenge),
        Err(_) => problem,
    }
}

fn not_for(caller: &Caller, what: &str) -> Problem {
    let pipelines =
        caller.pipelines.iter().flat_map(|pipelines| pipelines.iter().cloned()).collect::<Vec<_>>().join(", ");
    Problem::refused(
        StatusCode::FORBIDDEN,
        "token-not-for-this",
        format!("the token {} is not for {what}", caller.name),
    )
    .seen(format!("it is for the pipelines {pipelines}"))
    .help("what shows several pipelines at once asks for a token without --pipelines")
}
