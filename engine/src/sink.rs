//! Where rows go: the contracts that every sink connector keeps.
//!
//! Three kinds, by what the other side can do (`transactional`, `staged`, `plain`). A sink keeps no truth of its own and never
//! retries: it says what happened, and the engine decides.

use std::time::Duration;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_record::{Batch, Micros, RowFailure, StepBooks, StepId};

use crate::stream::Readers;

/// What a sink can promise about each row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Delivery {
    #[serde(rename = "at least once")]
    AtLeastOnce,
    #[serde(rename = "effectively once")]
    EffectivelyOnce,
    #[serde(rename = "exactly once")]
    ExactlyOnce,
}

impl Delivery {
    const ALL: [Self; 3] = [Self::AtLeastOnce, Self::EffectivelyOnce, Self::ExactlyOnce];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtLeastOnce => "at least once",
            Self::EffectivelyOnce => "effectively once",
            Self::ExactlyOnce => "exactly once",
        }
    }

    /// The promise of these words.
    pub fn of(words: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|delivery| delivery.as_str() == words)
    }
}

/// What went wrong, in the terms in which the engine decides what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// A passing trouble: the same call may work soon.
    #[error("{0}")]
    Again(String),
    /// The other side asks for a pause.
    #[error("{detail} (asked to wait {delay:?})")]
    Later { delay: Duration, detail: String },
    /// The connection is gone, or the outcome of a commit is not known: open again, and ask it how far it is.
    #[error("{0}")]
    Reconnect(String),
    /// It will not work until somebody changes something.
    #[error("{0}")]
    Never(String),
    /// The target is somebody else's: only a decision of the user's helps, and no other start by itself.
    #[error("{0}")]
    Foreign(String),
    /// The other side is over for this process: only another one can go on.
    #[error("{0}")]
    Closed(String),
    /// Calls of its client do not come back, and their threads cannot be ended: only another process can go on.
    #[error("{0}")]
    Hangs(String),
}

/// What an `INSERT`, `UPSERT` or `REPLACE` does with the rows. Column names are those of the rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Write {
    Insert,
    /// The newest row of a key. With `sequenced`, the hidden column `__sequence` orders the changes of a key; else their place in the outbox.
    Upsert {
        key: Vec<String>,
        sequenced: bool,
        ignore_nulls: bool,
    },
    /// The rows of a group are those of its newest input. `__group` holds the group's key as text; `per` names its columns.
    Replace {
        per: Vec<String>,
        sequenced: bool,
    },
}

impl Write {
    /// The columns that name a row (`UPSERT`) or a group (`REPLACE`).
    pub fn key(&self) -> &[String] {
        match self {
            Self::Insert => &[],
            Self::Upsert { key, .. } => key,
            Self::Replace { per, .. } => per,
        }
    }

    /// A row that comes later may be an older one.
    pub fn keeps_versions(&self) -> bool {
        matches!(self, Self::Upsert { sequenced: true, .. } | Self::Replace { .. })
    }

    pub fn is_sequenced(&self) -> bool {
        matches!(self, Self::Upsert { sequenced: true, .. } | Self::Replace { sequenced: true, .. })
    }
}

/// Hidden column of rows at a sink: version of the row (`SEQUENCE BY`), any comparable type.
pub const SEQUENCE: &str = "__sequence";

/// When and why a staged sink makes its bytes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub now: Micros,
    /// The source is at its end: show everything.
    pub end: bool,
    /// The pipeline stops, and may never come back: show what can be shown without an end.
    pub stop: bool,
}

/// Who writes into a staged sink: what its target is signed with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Made once for each pipeline of a data folder, and kept when the pipeline starts over.
    pub id: String,
    pub pipeline: String,
    pub step: StepId,
}

/// What stands at an outbox sink that a new beginning of its pipeline would meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Nothing of this stream.
    Nothing,
    /// Rows that the new run would write a second time.
    Repeats { rows: u64, target: String },
    /// Rows that the new run replaces where it makes them again; the others stay.
    Stays { rows: u64, target: String },
}

impl Standing {
    /// `rows` of this stream stand at `target`.
    pub fn of(write: &Write, rows: u64, target: String) -> Self {
        match write {
            _ if rows == 0 => Self::Nothing,
            Write::Insert => Self::Repeats { rows, target },
            Write::Upsert { .. } | Write::Replace { .. } => Self::Stays { rows, target },
        }
    }
}

/// Writes ahead, is cut back to the committed length on restart, and shows its parts by rename.
///
/// Called by the task's thread: `claim` and `open` once, then `write`s, then `prepare` — the checkpoint — `reveal`, and so on.
pub trait StagedSink: Send {
    /// Makes the target `owner`'s, or says whose it is ([`SinkError::Never`]); nothing that stands there is touched but what `mark`
    /// promised to show. A target without a sign, of which there is a mark, was written by a version that left none. `anew`:
    /// everything that the owner wrote there is about to be removed, so it must be known what that is.
    fn claim(&mut self, owner: &Owner, mark: Option<&Value>, anew: bool) -> Result<(), SinkError>;

    /// Cuts back to `mark` (`None`: nothing of this pipeline is committed) and finishes what `mark` promised to show.
    fn open(&mut self, mark: Option<&Value>) -> Result<(), SinkError>;

    /// Takes the rows. Those that cannot be written are returned; the others are written, in order.
    fn write(&mut self, batch: &Batch) -> Result<Vec<RowFailure>, SinkError>;

    /// Makes what was written durable; returns what `open` needs to come back to exactly here, and which parts to show.
    fn prepare(&mut self, cut: Cut) -> Result<Value, SinkError>;

    /// The mark is committed: shows the parts that it names. Doing it twice is harmless.
    fn reveal(&mut self) -> Result<(), SinkError>;

    /// True when rows have waited so long that they should be shown, even though no new ones come.
    fn is_due(&self, now: Micros) -> bool;

    /// Starts over: removes what this pipeline wrote here.
    fn clear(&mut self) -> Result<(), SinkError>;

    /// Goes back: removes what was shown behind `mark`, in place of refusing it at the next `open`. Doing it twice is harmless.
    fn take_back(&mut self, mark: Option<&Value>) -> Result<(), SinkError>;
}

/// Who writes into an outbox sink: the row that it keeps its progress under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    pub pipeline: String,
    pub step: StepId,
    pub part: u32,
    /// Made with the outbox. A sink that has progress of another outbox under the same name must refuse ([`SinkError::Foreign`]).
    pub log_id: String,
    /// Grows with every start; a sink refuses writers with a smaller one.
    pub fence: u64,
}

/// How far a sink is, as it says itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    /// Outbox offset of the next row.
    pub next: u64,
    /// Fates of all rows below `next`.
    pub books: StepBooks,
}

/// Rows of an outbox frame. Visible columns, and hidden ones: `__op`, `__lane`, `__group`, `__sequence`, as far as the step has them.
#[derive(Clone, Debug)]
pub struct OutboxRows {
    /// Outbox offset of the first row; one per row.
    pub base: u64,
    pub rows: RecordBatch,
}

/// What became of rows that were applied. Every row not named here passed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Applied {
    /// Outbox offset and reason.
    pub dead: Vec<(u64, syncline_record::Reason)>,
    /// Outbox offsets of rows older than what the sink holds.
    pub stale: Vec<u64>,
}

/// Reads from the outbox: transactional sinks, which keep our position with the rows, and plain ones, which cannot.
///
/// Called by the sink's own thread: `open`, then for each batch `apply` and `commit`. After any error: `open` again.
pub trait OutboxSink: Send {
    /// Connects, raises the fence, creates what is missing. A transactional sink says how far it is; a plain one returns `None`.
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError>;

    /// Applies rows in order. A transactional sink does so in a transaction that stays open until `commit`.
    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError>;

    /// Commits what was applied together with the new position and books.
    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError>;

    /// True of a place that forgets positions which rest for long: when it says that it knows of nothing, our own record counts.
    fn forgets(&self) -> bool {
        false
    }

    /// What starting over would meet. Asked before anything is forgotten, and changes nothing.
    fn standing(&mut self, _pipeline: &str, _step: &StepId) -> Result<Standing, SinkError> {
        Ok(Standing::Nothing)
    }

    /// Starts over: forgets the progress of this stream.
    fn clear(&mut self, stream: &Stream) -> Result<(), SinkError>;
}

/// A sink as the graph holds it.
pub enum Sink {
    Staged(Box<dyn StagedSink>),
    Outbox(Box<dyn OutboxSink>),
    /// Other pipelines, which read this topic.
    Stream {
        topic: String,
        readers: Box<Readers>,
    },
}
