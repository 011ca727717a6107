//! What stands beside a pipeline: a `TEST`, its rows and what it expects.

use serde::{Deserialize, Serialize};

/// `TEST … FOR …`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TestPlan {
    pub name: String,
    pub pipeline: String,
    pub span: (usize, usize),
    pub input: TestInput,
    /// Of the places of further sources and of tables.
    #[serde(default)]
    pub more: Vec<(String, TestInput)>,
    /// Microseconds since 1970.
    pub clock_at: Option<i64>,
    pub checkpoint_every_rows: Option<u64>,
    pub crash_at_checkpoint: Option<u64>,
    pub expectations: Vec<Expectation>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TestInput {
    /// JSON texts, one record each.
    Rows(Vec<String>),
    /// A path relative to the pipeline file.
    File(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    pub span: (usize, usize),
    pub kind: ExpectationKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpectationKind {
    /// Rows of a sink, by its step id. Each value is constant SQL.
    Rows {
        step: String,
        rows: Vec<Vec<String>>,
    },
    /// The same from a file (NDJSON), relative to the pipeline file.
    File {
        step: String,
        path: String,
    },
    /// Counted over all steps: a fate (`duplicate`, `filtered`, `late`, `stale`, `dead`) or the name of an `EXPECT`.
    Dropped {
        count: u64,
        because: String,
    },
    DeadLetters {
        count: u64,
    },
}
