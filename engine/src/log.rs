//! Topics: append-only sequences of frames, the engine's only way to hand rows from one task to another.
//!
//! Two kinds of writers use a log:
//! - a **transaction** (`append … prepare … commit`): what one task wrote in one epoch. Readers see it after `commit` only,
//!   and `recover` cuts back what a dead process left behind;
//! - a **publication** (`publish`): durable when the call returns, visible at once; for what comes in from outside.
//!
//! `log::embedded` keeps topics in files. Kafka will keep them in topics; the same conformance suite holds for both.
//!
//! Where the commit point is: in an embedded log `prepare` makes the bytes durable and names their ends, the checkpoint that
//! stores those ends is the commit, and `commit` only shows them. With Kafka `commit` itself decides, and the checkpoint follows.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};
use syncline_record::{Epoch, Micros, Partition};

use crate::{changelog::ChangelogError, store::StoreError};

pub mod conformance;
pub mod embedded;
pub mod memory;

/// What a writer hands over: `count` records in one body. The log does not look inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFrame {
    pub count: u32,
    pub time: Micros,
    pub body: Vec<u8>,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Offset of the first record in it. Offsets of a topic start at 0 and have no gaps.
    pub base: u64,
    pub count: u32,
    pub time: Micros,
    pub body: Vec<u8>,
}

impl Frame {
    /// Offset after its last record.
    pub fn next(&self) -> u64 {
        self.base + self.count as u64
    }
}

/// How far a topic is durable: the offset of its next record, and where its bytes end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    pub offset: u64,
    /// Base offset that names the last file.
    pub file: u64,
    /// Length of that file.
    pub length: u64,
}

/// In place of a file: where the record lies in the files is for the log to find.
const ANYWHERE: u64 = u64::MAX;

impl End {
    /// The end after the record before `offset`, wherever its bytes are: what a copy of a topic has in common with the topic.
    pub fn at(offset: u64) -> Self {
        if offset == 0 { Self::default() } else { Self { offset, file: ANYWHERE, length: 0 } }
    }

    /// It names no file.
    pub fn is_anywhere(&self) -> bool {
        self.file == ANYWHERE
    }
}

/// Ends per topic.
pub type Ends = BTreeMap<String, End>;

/// What happened to this worker's share of the topics since the last question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A partition is ours now. An embedded log assigns every partition once, at the start.
    Assigned(Partition),
    /// It will be another's: close the epoch, then let it go.
    Revoked(Partition),
    /// It is another's already: nothing of the open epoch may be committed.
    Lost(Partition),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    #[error("{topic}: the log is damaged at record {offset}: {detail}")]
    Damaged { topic: String, offset: u64, detail: String },
    #[error("{topic}: record {asked} is gone; the oldest kept is {oldest}")]
    Gone { topic: String, asked: u64, oldest: u64 },
    #[error("{topic}: ends at record {found}, before {expected}, where the checkpoint says it was durable")]
    Short { topic: String, expected: u64, found: u64 },
    #[error("{operation}: no space left on the device that holds {path}")]
    Full { operation: &'static str, path: PathBuf },
    /// The topics are copies of a changelog.
    #[error(transparent)]
    Changelog(#[from] ChangelogError),
    #[error("{operation} {path}: {detail}")]
    Io { operation: &'static str, path: PathBuf, detail: String },
    /// Only the simulation: the process died here.
    #[error("crashed")]
    Crashed,
}

/// How a commit can fail to say yes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another process has taken over; this one must end.
    #[error("another process has taken over ({by})")]
    Fenced { by: String },
    /// Nobody knows whether it happened: drop everything in memory and start from what is durable (window W6).
    #[error("the outcome of the commit is not known: {detail}")]
    Unknown { detail: String },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Lets go of a topic what nobody needs, one commit later. Positions of others that are read at a commit may not be durable yet: with the
/// flush of the next one they are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Release {
    /// What nobody needed at the last commit lies below.
    needless: u64,
}

impl Release {
    /// Called at each commit with the lowest offset that anybody still needs.
    pub fn below(&mut self, needed: u64, log: &dyn Log, topic: &str) -> Result<(), LogError> {
        let durable = std::mem::replace(&mut self.needless, needed);
        log.release(topic, durable)
    }
}

/// A set of topics. Shared by the threads of a process; a topic has one writing transaction at a time.
pub trait Log: Send + Sync {
    /// Called once per owner before anything is written: cuts every topic of `ends` back to its end, and every other
    /// topic that starts with one of `prefixes` to nothing. A topic that is shorter than its end is `Short`. An end may be one that
    /// names no file ([`End::at`]), here and in `commit`.
    fn recover(&self, prefixes: &[&str], ends: &Ends) -> Result<(), LogError>;

    /// Records that were committed up to `now` are to be no more behind `then`: told by who goes back, before `recover` cuts them off. For a log
    /// whose frames are written down elsewhere too.
    fn undo(&self, _then: &Ends, _now: &Ends) -> Result<(), LogError> {
        Ok(())
    }

    /// Adds a frame to the open transaction; returns the offset of its first record. Not durable, not visible.
    fn append(&self, topic: &str, frame: NewFrame) -> Result<u64, LogError>;

    /// Makes what was appended to these topics durable and returns their ends. Still not visible.
    fn prepare(&self, topics: &[String]) -> Result<Ends, LogError>;

    /// Makes what was prepared visible. With a log that decides by itself (Kafka), this is the commit.
    fn commit(&self, epoch: Epoch, ends: &Ends) -> Result<(), CommitError>;

    /// Adds frames outside any transaction; they are durable and visible when it returns. Many callers at once share one sync.
    fn publish(&self, topic: &str, frames: Vec<NewFrame>) -> Result<u64, LogError>;

    /// Visible frames from the one that holds `from`, up to about `max_bytes` (at least one when there is one).
    fn read(&self, topic: &str, from: u64, max_bytes: usize) -> Result<Vec<Frame>, LogError>;

    /// Offset of the next visible record; 0 for a topic that does not exist.
    fn end(&self, topic: &str) -> Result<u64, LogError>;

    /// Bytes that a reader at `from` has before it; what else the file holds that this record is in may be counted too. 0 at the end.
    fn bytes(&self, topic: &str, from: u64) -> Result<u64, LogError>;

    /// Allows files that hold only records below `below` to be deleted.
    fn release(&self, topic: &str, below: u64) -> Result<(), LogError>;

    /// Empties a topic; its next record gets the number `offset`. For a topic whose records are brought from elsewhere, without those
    /// that were let go of there.
    fn begin(&self, topic: &str, offset: u64) -> Result<(), LogError>;

    /// Topics that start with `prefix`.
    fn topics(&self, prefix: &str) -> Result<Vec<String>, LogError>;

    /// What happened to this worker's partitions since the last call.
    fn events(&self) -> Vec<Event>;
}
