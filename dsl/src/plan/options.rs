//! What `WITH (…)` of a pipeline says.

use serde::{Deserialize, Serialize};

use super::Place;

/// `WITH (…)` of a pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// Microseconds between checkpoints (`checkpoint_every`).
    pub checkpoint_every: u64,
    /// The word the user asked for (`delivery`), if any: `exactly once`, `effectively once`, `at least once`.
    pub delivery: Option<String>,
    /// Where all that it keeps is written down (`changelog`); its object is `syncline.<pipeline>.changelog`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog: Option<Place>,
    /// How many tasks share the partitions of what is read (`tasks`); processes share the tasks.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub tasks: u32,
    /// Processes that work on other tasks keep copies of this one (`standby`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub standby: bool,
    /// `ledger = 'all'`: passed rows are kept in the ledger too.
    pub ledger_all: bool,
    #[serde(default)]
    pub restart: Restart,
    #[serde(default, skip_serializing_if = "Waits::is_default")]
    pub waits: Waits,
}

fn one() -> u32 {
    1
}

fn is_one(tasks: &u32) -> bool {
    *tasks == 1
}

/// How long a partition that gives nothing holds windows back (`idle_after`), and how far ahead of the clock a time may be (`future`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waits {
    /// Microseconds.
    pub idle_after: Option<u64>,
    pub future: Option<u64>,
}

impl Waits {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `restart`, `restart_delay`, `max_restarts`: whether a task that is over starts again. What is not said depends on the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    pub when: Option<RestartWhen>,
    /// Microseconds before the first restart.
    pub delay: Option<u64>,
    /// Restarts without a healthy time between them.
    pub most: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartWhen {
    Never,
    OnFailure,
    Always,
}

impl RestartWhen {
    pub const ALL: [Self; 3] = [Self::Never, Self::OnFailure, Self::Always];

    /// As a pipeline file writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on failure",
            Self::Always => "always",
        }
    }
}

/// 200 ms: the latency a person does not notice, at a cost of a few per cent of a core.
pub const CHECKPOINT_EVERY: u64 = 200_000;

impl Default for Options {
    fn default() -> Self {
        Self {
            checkpoint_every: CHECKPOINT_EVERY,
            delivery: None,
            changelog: None,
            tasks: 1,
            standby: false,
            ledger_all: false,
            restart: Restart::default(),
            waits: Waits::default(),
        }
    }
}
