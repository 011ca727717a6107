//! Where rows come from: the contract that every source connector keeps.
//!
//! A source reads, and says how far it has read. It does not keep that knowledge: the engine stores the cursor in the same
//! commit as everything that follows from the rows, and hands it back at the next start.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde_json::Value;
use syncline_record::{Micros, Origin, Partition, Place, Reason};

use crate::{log::LogError, stream::Carried};

/// The largest record that is taken as a row. Larger ones become dead letters with their first [`syncline_record::DeadLetter::KEPT`] bytes,
/// length, hash and place, and are never held in memory as a whole.
pub const MAX_RECORD: usize = 16 << 20;

/// Cursor per partition, by the partition's name and number as [`Partition`] prints it. Only the source can read the values.
pub type Cursors = BTreeMap<String, Value>;

/// One poll's worth of one partition, in order.
#[derive(Debug)]
pub struct Rows {
    /// Its `times` hold the record time that the source knows; a `SCHEMA` may replace them with a column's.
    pub origin: Origin,
    /// The fields of a source that has types (Parquet, tables, streams), by name; a row each of `origin`, which may then have texts in
    /// place of bytes. `None`: records that are still to be decoded.
    pub columns: Option<RecordBatch>,
    /// Records that cannot be rows, because of their size.
    pub rejected: Vec<Rejected>,
    /// Where to go on after these rows and rejections.
    pub cursor: Value,
}

/// A record that is not taken as a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Rejected {
    pub place: Place,
    pub time: Micros,
    /// The first bytes, at most [`syncline_record::DeadLetter::KEPT`].
    pub bytes: Vec<u8>,
    pub length: u64,
    /// XXH3-128 of all of its bytes.
    pub hash: u128,
    pub headers: Option<String>,
    pub reason: Reason,
}

/// Rows of one partition that were not read. Only a source that was told what its first step is, a `WHERE`, and of whose rows none can
/// be dead before it, leaves rows out; the books count them as if they had come.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftOut {
    pub partition: Partition,
    /// Offset of the first of them; they follow one another.
    pub first: u64,
    pub rows: u64,
    /// Where to go on after them.
    pub cursor: Value,
}

/// Rows that another pipeline put into a stream, or how far its time has come, or both.
#[derive(Debug)]
pub struct Streamed {
    /// Under this name the position is kept: the rows have partitions of their own.
    pub stream: Partition,
    /// Whose time it is: the stream's, or that of one of several writers.
    pub writer: Partition,
    pub rows: Option<Carried>,
    /// How far time had come in the writer after these rows.
    pub mark: Option<Micros>,
    /// Where to go on after them.
    pub cursor: Value,
}

// One per poll of a thousand rows: a box would save nothing.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Polled {
    Rows(Rows),
    /// Rows that the first step would filter, every one of them, as the source knows without reading them.
    LeftOut(LeftOut),
    Streamed(Box<Streamed>),
    /// Nothing now; ask again soon.
    Idle,
    /// Nothing any more: a bounded source is at its end.
    Ended,
}

/// What a source says that has to wait for others.
// As of `Polled`.
#[allow(clippy::large_enum_variant)]
#[derive(Debug)]
pub enum Waits {
    /// A partition is begun here, which the engine does not know yet: no row, and a cursor.
    Begun(Rows),
    /// The engine knows where each of its partitions is begun.
    Noted,
    /// It cannot say yet.
    NotYet,
}

/// For whoever looks: what is done and what there is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub done: u64,
    pub total: Option<u64>,
    /// Bytes that an earlier run had read already.
    pub skipped: u64,
    /// Of a source that knows its end and counts records, not bytes: those that are left, or about so many.
    pub records_left: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// Nothing matches, or it cannot be opened. A start that meets this ends with exit code 3.
    #[error("{what}: {detail}")]
    Unreadable { what: String, detail: String },
    /// What the cursor says is not what is there: the file is shorter, or another one.
    #[error("{what}: {detail}")]
    Changed { what: String, detail: String },
    /// A record is not where, or not what, `PARTITIONED BY` says.
    #[error("{what}: {detail}")]
    Misplaced { what: String, detail: String },
    /// Passing: ask again.
    #[error("{what}: {detail}")]
    Again { what: String, detail: String },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Called by one thread: `open` once, then `poll` until `Ended` or the stop. The source of a table that is joined is opened again for
/// each reading, from its beginning.
pub trait Source: Send {
    /// Goes to the committed cursors (empty at a first start). `now` is the instant of this start; a source that has no
    /// record times takes it for partitions that it meets for the first time, and keeps it in their cursors.
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError>;

    /// The next rows of one partition: about 1,024 of them or 256 KiB. Does not wait.
    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError>;

    /// Called in place of `poll` while others are read to their end first. What comes from now on is theirs no more, so where the source
    /// begins is committed with their first row. One whose first record waits for its reader has nothing to say.
    fn wait(&mut self, _now: Micros) -> Result<Waits, SourceError> {
        Ok(Waits::Noted)
    }

    /// True when it ends by itself.
    fn bounded(&self) -> bool;

    /// Why nothing comes, where that is trouble and not the end of what there is.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Records that are there and not read yet, as far as it knows without asking.
    fn behind(&self) -> Option<u64> {
        None
    }

    /// Zero of an unknown total, unless it can tell more.
    fn progress(&self) -> Progress {
        Progress::default()
    }

    /// Those of its partitions that nobody has to wait for, where who fills them says so. `None`: the engine goes by the time since their
    /// last rows.
    fn quiet(&self) -> Option<Vec<Partition>> {
        None
    }

    /// Called after each commit with the committed cursors, so that what is no longer needed can be let go.
    fn committed(&mut self, _cursors: &Cursors) -> Result<(), SourceError> {
        Ok(())
    }

    /// Partitions that may still give rows, as far as it knows them, those that have not given any yet too. State is kept for as long
    /// as any of them can look back at it, so one that is read to its end for good is not among them.
    fn partitions(&self) -> Vec<Partition>;
}
