//! What a request to a path is told.

use std::borrow::Cow;

use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use syncline_connectors::webhook::Refusal as Unverified;
use syncline_engine::{checkpoint::ReadError, intake::Outcome, log::LogError};

use crate::{
    api::{
        intake::IntakeError,
        problem::{self, Problem},
        records::Refusal,
    },
    outcome::Failure,
    world::{log_failure, store_failure},
};

/// A restart takes a moment.
const AFTER_RESTART: u32 = 2;
/// Somebody has to make room.
const AFTER_CLEANING: u32 = 30;

/// What a request that is not refused comes to.
pub enum Taken {
    /// Durable. `rejected` are records that are kept but are no JSON objects: they become dead letters.
    Kept {
        accepted: u64,
        rejected: u64,
        first: u64,
    },
    /// An array without elements: there was nothing to keep.
    Nothing,
    Duplicate,
    /// A question of the provider's, and its answer.
    Answered(String),
}

impl Taken {
    pub fn records(&self) -> u64 {
        match self {
            Self::Kept { accepted, rejected, .. } => accepted + rejected,
            Self::Nothing | Self::Duplicate | Self::Answered(_) => 0,
        }
    }

    /// How it is counted; what is kept was counted where it became durable.
    pub fn outcome(&self) -> Option<Outcome> {
        match self {
            Self::Kept { .. } => None,
            Self::Nothing | Self::Answered(_) => Some(Outcome::Answered),
            Self::Duplicate => Some(Outcome::Duplicate),
        }
    }

    /// `quiet`: the provider would show a body to somebody.
    pub fn response(self, quiet: bool) -> Response {
        match self {
            Self::Answered(text) => {
                (StatusCode::OK, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response()
            }
            _ if quiet => StatusCode::OK.into_response(),
            Self::Kept { accepted, rejected, first } => {
                let taken = json!({"accepted": accepted, "rejected": rejected, "first_offset": first});
                problem::json(StatusCode::ACCEPTED, &taken)
            }
            Self::Nothing => problem::json(StatusCode::ACCEPTED, &json!({"accepted": 0, "rejected": 0})),
            Self::Duplicate => problem::json(StatusCode::OK, &json!({"accepted": 0, "rejected": 0, "duplicate": true})),
        }
    }
}

/// A refusal, with the word that it is counted by.
pub struct Refused {
    pub problem: Problem,
    pub reason: Cow<'static, str>,
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self { reason: problem.failure.slug.clone(), problem }
    }
}

/// The same answer whatever the reason: it is for the operator, not for whoever forges.
pub fn unverified(reason: Unverified) -> Refused {
    let problem = Problem::refused(StatusCode::UNAUTHORIZED, "not-verified", "this request is not verified")
        .header(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Signature"));
    Refused { problem, reason: reason.as_str().into() }
}

pub fn stopping() -> Problem {
    Problem::refused(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the process is stopping")
        .retry_after(AFTER_RESTART)
        .help("nothing of this request was kept; send it again")
}

pub fn unprocessable(refusal: Refusal) -> Problem {
    let problem = Problem::refused(StatusCode::UNPROCESSABLE_ENTITY, "no-record", "nothing in the body is a record")
        .seen(refusal.to_string())
        .help("nothing of it was kept; send a JSON object, an array of objects, or one object per line");
    match refusal {
        Refusal::Empty | Refusal::NoForm => problem,
        Refusal::NotJson { line, column, .. } | Refusal::NotAnObject { line, column, .. } => {
            problem.member("line", line).member("column", column)
        }
    }
}

/// The log did not take the records: nothing was kept, or, after a crash of the process, nobody knows.
pub fn not_kept(error: IntakeError) -> Problem {
    let failure = match error {
        IntakeError::Stopping => return stopping(),
        IntakeError::Log(error @ LogError::Full { .. }) => {
            return Problem::new(StatusCode::SERVICE_UNAVAILABLE, log_failure(error)).retry_after(AFTER_CLEANING);
        }
        IntakeError::Log(error) => log_failure(error),
        IntakeError::Read(error) => match &*error {
            ReadError::Store(error) => store_failure(error.clone()),
            error => Failure::environment("state-damaged", error.to_string()),
        },
        IntakeError::Replayed => return unverified(Unverified::Replayed).problem,
    };
    tracing::error!("records were not taken: {}", failure.title);
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, failure).retry_after(AFTER_CLEANING)
}
