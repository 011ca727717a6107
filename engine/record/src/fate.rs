//! What became of a row at a step.

use serde::{Deserialize, Serialize};

use crate::{Place, StepId, time::Micros};

/// Per step and branch every input row has exactly one fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Fate {
    /// Went on to the next step.
    Passed = 0,
    /// Went into a window or state; what comes out of it later is counted as output.
    Absorbed = 1,
    /// A predicate was not true.
    Filtered = 2,
    /// `DEDUP` has kept one with the same key.
    Duplicate = 3,
    /// Older than what was kept (`KEEP LAST BY`, `SEQUENCE BY`).
    Stale = 4,
    /// Behind the watermark of its own partition.
    Late = 5,
    /// Could not be processed: it is a dead letter.
    Dead = 6,
    /// Waits for a person.
    Parked = 7,
    /// Waits for a limit or a sink.
    Held = 8,
}

impl Fate {
    pub const ALL: [Self; 9] = [
        Self::Passed,
        Self::Absorbed,
        Self::Filtered,
        Self::Duplicate,
        Self::Stale,
        Self::Late,
        Self::Dead,
        Self::Parked,
        Self::Held,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Absorbed => "absorbed",
            Self::Filtered => "filtered",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Late => "late",
            Self::Dead => "dead",
            Self::Parked => "parked",
            Self::Held => "held",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fate| fate.as_str() == word)
    }

    pub fn from_u8(byte: u8) -> Option<Self> {
        Self::ALL.get(byte as usize).copied()
    }
}

/// Why a row is dead: a stable slug for machines and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// `not-json`, `cast`, `overflow`, `missing-key`, `too-large`, `expectation`, `schema`, `future`, `constraint`, …
    pub slug: String,
    /// One short fact with the value that was seen, for example ``total: `"ten"` is not a DECIMAL(12, 2)``.
    pub detail: String,
}

impl Reason {
    pub fn new(slug: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { slug: slug.into(), detail: detail.into() }
    }
}

/// A row of a batch that could not be processed: its index in the batch, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    pub row: u32,
    pub reason: Reason,
}

/// A record that could not be processed, with all that is needed to look at it and to send it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    pub step: StepId,
    pub reason: Reason,
    pub place: Place,
    pub time: Micros,
    pub epoch: u64,
    /// The original bytes, at most [`DeadLetter::KEPT`] of them.
    #[serde(with = "crate::place::bytes_as_base16")]
    pub bytes: Vec<u8>,
    /// Length of the whole original record.
    pub length: u64,
    /// XXH3-128 of the whole original record, as 32 hexadecimal digits.
    pub hash: String,
    /// The headers as JSON text, where the source has them.
    pub headers: Option<String>,
}

impl DeadLetter {
    /// Bytes of the original that a dead letter keeps: enough for any sane record, bounded for the others.
    pub const KEPT: usize = 1 << 20;
}
