//! What a client is told when something is not done: PostgreSQL's code for it (SQLSTATE), a sentence, and the next step as a hint.

use syncline_analytics::{QueryError, Why};

use super::messages::Broken;
use crate::api::query::failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It was done, and there is something to know.
    Notice,
    /// This statement is not done; the connection goes on.
    Error,
    /// The connection ends.
    Fatal,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub severity: Severity,
    /// SQLSTATE.
    pub code: &'static str,
    pub message: String,
    pub detail: String,
    pub hint: String,
}

impl Refusal {
    fn new(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self { severity, code, message: message.into(), detail: String::new(), hint: String::new() }
    }

    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub fn fatal(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    pub fn notice(message: impl Into<String>) -> Self {
        Self::new(Severity::Notice, "00000", message)
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn cancelled() -> Self {
        Self::error("57014", "canceling statement due to user request")
    }

    pub fn stopping() -> Self {
        Self::fatal("57P01", "this process is stopping").hint("ask again when it runs")
    }

    /// What the client says is not the protocol.
    pub fn broken(broken: &Broken) -> Self {
        match broken {
            Broken::Malformed(_) => Self::fatal("08P01", broken.to_string()),
            Broken::TooLong { .. } => Self::fatal("54000", broken.to_string()).hint("ask a shorter question"),
            Broken::Gone(_) => Self::fatal("08006", broken.to_string()),
        }
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        let code = match &error {
            QueryError::NoSuchTable { .. } => "42P01",
            QueryError::NoSuchColumn { .. } => "42703",
            QueryError::Wrong { detail } if detail.starts_with("this is not SQL") => "42601",
            QueryError::Wrong { .. } => "42000",
            QueryError::Writes { .. } => "25006",
            QueryError::Unreachable { .. } => "42501",
            QueryError::TooLarge { .. } => "53200",
            QueryError::TooDeep { .. } => "54001",
            QueryError::TooLong { .. } => "57014",
            QueryError::Workers { .. } => "58000",
            QueryError::Away { .. } => "HV00N",
            QueryError::Closed { forbidden: true, .. } => "42501",
            QueryError::Closed { .. } => "0A000",
            QueryError::Value { why: Why::DividedByZero, .. } => "22012",
            QueryError::Value { why: Why::OutOfRange, .. } => "22003",
            QueryError::Value { why: Why::Unreadable, .. } => "22P02",
            QueryError::Value { why: Why::Other, .. } | QueryError::Unfit { .. } => "22000",
            QueryError::Failed { .. } => "XX000",
        };
        let failure = failure(error);
        let mut refusal = Self::error(code, failure.title);
        refusal.detail = failure.detail.join("\n");
        refusal.hint = failure.help.join("\n");
        refusal
    }
}
