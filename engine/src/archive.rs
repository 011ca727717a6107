//! The archive of the ledger: what became of rows moves from topics of the log into files by columns, a place that other processes
//! can read too.
//!
//! | what | where |
//! |---|---|
//! | one file | `pipeline=<p>/day=YYYY-MM-DD/<life>-<first>-<id>` and the ending of its format: rows of one day, each once |
//! | the manifest | `pipeline=<p>/manifest.json`: the files, and the place in the topics up to which they hold everything |
//!
//! The manifest is one object that is replaced as a whole, so files and place are never at odds: a file counts from the moment it is
//! named there, and its rows are not read from the topics any more from that moment on. What a process that died left behind is named
//! nowhere and shown nowhere; its bytes are swept away later. No file has the name of another one, ever.
//!
//! Nothing waits for the archive: a commit ends in the log. While the place cannot be reached, rows stay in the log, and are read there.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use syncline_record::Micros;

pub mod mover;
pub mod rows;
#[cfg(test)]
mod tests;

/// The number of the manifest's format: version N reads N-1. Since 2 files have run, epoch and key of a row.
pub const MANIFEST_FORMAT: u32 = 2;

/// How far the topics of one pipeline have been moved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The next record of the ledger's topic.
    pub ledger: u64,
    /// By the steps of outbox sinks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sinks: BTreeMap<String, SinkPlace>,
}

/// How far what a sink did not take has been moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkPlace {
    /// The first record of the sink's topic that may still say something.
    pub record: u64,
    /// Rows of the outbox below this number are settled, and moved.
    pub below: u64,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Below the archive's root.
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    /// The first and the last time in it.
    pub from: Micros,
    pub to: Micros,
}

/// A file whose rows are in another one, or too old. It stays for a while: a question may be reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    pub path: String,
    pub since: Micros,
}

/// All that counts of a pipeline.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u32,
    pub pipeline: String,
    /// Whose it is: the id that a data folder signs the outputs of the pipeline with.
    pub owner: String,
    /// Which log the place is in: one that was started over has another id.
    pub log_id: String,
    pub place: Place,
    pub files: Vec<File>,
    #[serde(default)]
    pub gone: Vec<Gone>,
}

/// A manifest as it was read: who replaces it says what he has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub manifest: Manifest,
    /// The store's word for this version; `None` where it has none, or where there is no manifest yet.
    pub version: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    #[error("cannot {operation} {place}: {detail}")]
    Failed { operation: &'static str, place: String, detail: String },
    /// Another process has written there since it was read.
    #[error("{place} was replaced by another process meanwhile")]
    Replaced { place: String },
    #[error("{place} cannot be read: {detail}")]
    Damaged { place: String, detail: String },
    #[error("{place} has format {found}; this version reads up to {MANIFEST_FORMAT}")]
    Newer { place: String, found: u32 },
    /// Only tests: the process died here.
    #[error("crashed")]
    Crashed,
}

/// Hands out the next rows; `None` after the last.
pub type NextRows<'a> = dyn FnMut() -> Result<Option<RecordBatch>, ArchiveError> + 'a;

/// Where files and manifests lie. Calls may wait for a network; nobody calls from a commit.
pub trait Archive: Send + Sync {
    /// The manifest of a pipeline; an empty one where there is none.
    fn manifest(&self, pipeline: &str) -> Result<Seen, ArchiveError>;

    /// The manifests of all pipelines.
    fn manifests(&self) -> Result<Vec<Manifest>, ArchiveError>;

    /// Writes a file; durable when it returns. How many bytes it has.
    fn write(&self, path: &str, rows: &mut NextRows<'_>) -> Result<u64, ArchiveError>;

    /// Gives what a file holds, batch by batch.
    fn read(
        &self,
        path: &str,
        each: &mut dyn FnMut(RecordBatch) -> Result<(), ArchiveError>,
    ) -> Result<(), ArchiveError>;

    /// Replaces the manifest, if it is still the one that was seen; durable when it returns.
    fn replace(&self, manifest: &Manifest, seen: &Seen) -> Result<Seen, ArchiveError>;

    /// Removes a file; one that is not there is removed.
    fn remove(&self, path: &str) -> Result<(), ArchiveError>;

    /// Files of a pipeline that have not changed for an hour, named by the manifest or not.
    fn old(&self, pipeline: &str) -> Result<Vec<String>, ArchiveError>;

    /// The ending of a file's name.
    fn ending(&self) -> &'static str;
}

/// The folder of a pipeline.
pub fn folder_of(pipeline: &str) -> String {
    format!("pipeline={}", plain(pipeline))
}

/// A name as a part of a path: what is no letter, digit or `_`, `-`, `.` stands as `%` and its bytes.
fn plain(name: &str) -> String {
    let mut plain = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => plain.push(byte as char),
            b'.' if !plain.is_empty() => plain.push('.'),
            _ => plain.push_str(&format!("%{byte:02X}")),
        }
    }
    plain
}
