//! Names of things that outlive a process: epochs, steps, generations of state.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

/// Number of a checkpoint of one pipeline. The first committed one is 1; 0 means "nothing committed yet".
pub type Epoch = u64;

/// A slice of a step's state that expires as a whole (a time bucket of `WITHIN`). 0 where nothing expires.
pub type Generation = u64;

/// The stable id of a step inside its pipeline: its name, or its path (`dedup`, `tee/insert`, `people/upsert`).
///
/// State and counters hang on it, so it does not change when another part of the file is edited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StepId(pub Arc<str>);

impl StepId {
    pub fn new(id: impl AsRef<str>) -> Self {
        Self(Arc::from(id.as_ref()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for StepId {
    fn from(id: &str) -> Self {
        Self::new(id)
    }
}
