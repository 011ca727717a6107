//! What the parts of a pipeline are, beside what they are called.
//!
//! The id of a step says where it stands (`tee_2/dedup`, `fork/1/insert`, `source_2`). After an edit another step may stand there.
//! A checkpoint keeps what stood where, so that state, waiting rows and positions stay with the step they were made for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_record::StepId;

/// Behind the digest of a place that is a backfill, before its number.
const BACKFILL: &str = " backfill ";

/// The digest of a place that a backfill reads: whatever was read there before, this one begins anew.
pub fn of_backfill(place: &str, number: u64) -> String {
    format!("{place}{BACKFILL}{number}")
}

/// Whether nothing else is an edit of it, nor it of anything.
pub fn is_backfill(place: &str) -> bool {
    place.contains(BACKFILL)
}

/// What a state is made of, part by part: enough for a later version of its step to tell whether it can read it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// Of the state that it speaks of.
    pub digest: u64,
    pub parts: BTreeMap<String, String>,
}

impl Layout {
    /// Whether both say the same of everything but these parts.
    pub fn differs_only_in(&self, other: &Self, parts: &[&str]) -> bool {
        let rest = |layout: &Self| -> BTreeMap<String, String> {
            let all = layout.parts.iter().filter(|(part, _)| !parts.contains(&part.as_str()));
            all.map(|(part, says)| (part.clone(), says.clone())).collect()
        };
        rest(self) == rest(other)
    }
}

/// Digests by id; equal ones are the same thing. Whoever makes a job chooses them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Steps that keep something, and sinks: the way to them within their branch, and themselves.
    #[serde(default)]
    pub steps: BTreeMap<StepId, String>,
    /// Where sinks write.
    #[serde(default)]
    pub targets: BTreeMap<StepId, String>,
    /// Where inputs read; also of inputs that are gone and may come back.
    #[serde(default)]
    pub inputs: BTreeMap<StepId, String>,
    /// What the states of steps are made of; none where no other layout of them can be read.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layouts: BTreeMap<StepId, Layout>,
}
