//! How a command ends: exit codes, and one shape for every failure.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | ok |
//! | 1 | failed: the run, the test, the query |
//! | 2 | usage or file wrong: nothing was started |
//! | 3 | environment: something outside has to change first |
//!
//! The same fact goes to a terminal as text, to `-o json` as JSON and over HTTP as problem+json.

use std::{borrow::Cow, process::ExitCode};

use serde::Serialize;
use serde_json::{Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    Environment = 3,
}

/// What stands before the slug in the `type` of problem details.
pub const SLUG: &str = "urn:syncline:";

/// Where a fact and its next steps have to be one line, this stands before each step.
pub const NEXT: &str = "; next: ";

/// What went wrong and what to do next. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failure {
    pub exit: Exit,
    /// Stable word for machines, e.g. `folder-in-use`.
    pub slug: Cow<'static, str>,
    /// One short fact.
    pub title: String,
    /// What was seen.
    pub detail: Vec<String>,
    /// The next step.
    pub help: Vec<String>,
}

impl Failure {
    pub fn new(exit: Exit, slug: impl Into<Cow<'static, str>>, title: impl Into<String>) -> Self {
        Self { exit, slug: slug.into(), title: title.into(), detail: vec![], help: vec![] }
    }

    pub fn failed(slug: impl Into<Cow<'static, str>>, title: impl Into<String>) -> Self {
        Self::new(Exit::Failed, slug, title)
    }

    pub fn usage(slug: impl Into<Cow<'static, str>>, title: impl Into<String>) -> Self {
        Self::new(Exit::Usage, slug, title)
    }

    pub fn environment(slug: impl Into<Cow<'static, str>>, title: impl Into<String>) -> Self {
        Self::new(Exit::Environment, slug, title)
    }

    pub fn seen(mut self, detail: impl Into<String>) -> Self {
        self.detail.push(detail.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.push(help.into());
        self
    }

    /// With the next steps of a line that has them.
    pub fn of_line(exit: Exit, slug: &'static str, line: &str) -> Self {
        let mut parts = line.split(NEXT);
        let failure = Self::new(exit, slug, parts.next().unwrap_or_default());
        parts.fold(failure, Self::help)
    }

    pub fn to_text(&self) -> String {
        let mut text = format!("error: {}", self.title);
        for line in &self.detail {
            text.push_str(&format!("\n  {line}"));
        }
        for line in &self.help {
            text.push_str(&format!("\nhelp: {line}"));
        }
        text
    }

    /// RFC 9457 problem details; `status` is the HTTP status where there is one.
    pub fn to_json(&self, status: Option<u16>) -> Value {
        json!({
            "type": format!("{SLUG}{}", self.slug),
            "title": self.title,
            "status": status,
            "detail": self.detail.join("\n"),
            "help": self.help,
        })
    }

    /// As a log line: the last one of a command whose lines are JSON.
    pub fn log(&self) {
        let (detail, help) = (self.detail_line(), self.help_line());
        tracing::error!(slug = %self.slug, exit = self.exit as u8, detail, help, "{}", self.title);
    }

    /// What was seen, on one line.
    pub fn detail_line(&self) -> Option<String> {
        (!self.detail.is_empty()).then(|| self.detail.join("; "))
    }

    /// The next steps, on one line.
    pub fn help_line(&self) -> Option<String> {
        (!self.help.is_empty()).then(|| self.help.join("; "))
    }

    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.exit as u8)
    }
}

/// What commands return.
pub type Outcome = Result<(), Failure>;
