//! Rows on their way through a chain.
//!
//! A batch is an Arrow batch of the columns that the pipeline still needs, plus a shared [`Origin`] that knows where every
//! row came from. Filters and projections touch the columns only; a dead letter, at any depth of the chain, finds its
//! original bytes through the hidden column `__row`.
//!
//! Hidden columns start with two underscores and are never in `*`:
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `__row` | `UInt32`, always there | index of the row in its origin |
//! | `__op` | `UInt8`, optional | [`Op`]; absent: all inserts |
//! | `__record` | `Utf8View` tagged JSON, optional | the whole original record of a source without a schema |
//! | `__lane` | `UInt32`, optional | lane of `SHARD BY … INTO n` |
//! | `__mark` | `Int64`, with event time only | watermark of the row's partition before the row: a row is late by it, whatever batch it is in |
//! | `__group` | `Utf8View`, optional | key of `REPLACE … PER`, computed before any row could be dropped |

use std::{borrow::Cow, sync::Arc};

use arrow::{
    array::{Array, AsArray, BooleanArray, RecordBatch, UInt8Array, UInt32Array},
    buffer::Buffer,
    compute::filter_record_batch,
    datatypes::{UInt8Type, UInt32Type},
};
use serde_json::json;

use crate::{DeadLetter, Op, Partition, Place, Reason, StepId, time::Micros};

pub const ROW: &str = "__row";
pub const OP: &str = "__op";
pub const RECORD: &str = "__record";
pub const LANE: &str = "__lane";
pub const GROUP: &str = "__group";
pub const MARK: &str = "__mark";

/// Headers of the rows of one poll: one JSON object text for all of them, or one each.
#[derive(Clone, Debug)]
pub enum Headers {
    Absent,
    Same(Arc<str>),
    /// A row without headers has `None`.
    Each(Vec<Option<Arc<str>>>),
}

impl Headers {
    pub fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::Same(text) => Some(text),
            Self::Each(texts) => texts.get(row)?.as_deref(),
        }
    }
}

/// An instant of the rows of one poll: one for all of them, or one each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instants {
    All(Micros),
    Each(Vec<Micros>),
}

impl Instants {
    pub fn get(&self, row: usize) -> Micros {
        match self {
            Self::All(instant) => *instant,
            Self::Each(instants) => instants[row],
        }
    }
}

impl From<Micros> for Instants {
    fn from(instant: Micros) -> Self {
        Self::All(instant)
    }
}

/// The keys of the records of one poll. A record may have none, and a key may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    bytes: Vec<u8>,
    /// Row → start and end in `bytes`.
    spans: Vec<Option<(u32, u32)>>,
    /// Rows whose record is a key without a value, in order.
    alone: Vec<u32>,
}

impl Keys {
    pub fn push(&mut self, key: Option<&[u8]>) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.spans.push(key.map(|_| (start, self.bytes.len() as u32)));
    }

    /// The key of a record that has no value: it deletes what the key names.
    pub fn push_alone(&mut self, key: &[u8]) {
        self.alone.push(self.spans.len() as u32);
        self.push(Some(key));
    }

    /// Rows whose record has no value.
    pub fn alone(&self) -> &[u32] {
        &self.alone
    }

    pub fn get(&self, row: usize) -> Option<&[u8]> {
        let (start, end) = (*self.spans.get(row)?)?;
        Some(&self.bytes[start as usize..end as usize])
    }
}

impl<'a> FromIterator<Option<&'a [u8]>> for Keys {
    fn from_iter<I: IntoIterator<Item = Option<&'a [u8]>>>(keys: I) -> Self {
        let mut all = Self::default();
        keys.into_iter().for_each(|key| all.push(key));
        all
    }
}

/// The header of a dead letter that says what the fields of its record are called, where no record says so by itself: those of a CSV file
/// stand in its first line.
pub const COLUMNS: &str = "syncline-columns";

/// The text of rows that never were bytes: those of a source with types (Parquet, tables), and those that a step made (`AGGREGATE`,
/// `JOIN`). A dead letter asks for it, and nothing else.
pub trait RowTexts: Send + Sync + std::fmt::Debug {
    /// The row as one JSON object.
    fn text(&self, row: usize) -> Vec<u8>;
}

/// Where the rows of one poll came from, and their original bytes. Shared by every batch that derives from it.
#[derive(Clone, Debug)]
pub struct Origin {
    pub partition: Partition,
    /// The bytes of all rows, as they came. Empty with `texts`.
    pub payload: Buffer,
    /// Row → start and end in `payload`, without a line end. Empty with `texts`.
    pub spans: Vec<(u32, u32)>,
    /// For rows that have no bytes.
    pub texts: Option<Arc<dyn RowTexts>>,
    /// The names of the fields of every record, in order, where the records themselves do not hold them (the header of a CSV file).
    pub names: Option<Arc<[Box<str>]>>,
    /// Row → offset in the partition (for a file the line, from 1). Strictly increasing.
    pub offsets: Vec<u64>,
    /// Row → byte of the partition at which it starts, where the source has such a thing.
    pub bytes: Option<Vec<u64>>,
    /// Row → the record time (`_timestamp`).
    pub times: Vec<Micros>,
    /// When the engine's process took these rows (`_ingested_at`); kept with the cursor or the log frame, so a replay sees the same.
    pub ingested_at: Instants,
    pub headers: Headers,
    /// The records' keys, where the source has such a thing (`_key`).
    pub keys: Option<Keys>,
}

impl Origin {
    pub fn rows(&self) -> usize {
        self.offsets.len()
    }

    /// The original bytes of a row; where there are none, its text.
    pub fn bytes_of(&self, row: usize) -> Cow<'_, [u8]> {
        if let Some(texts) = &self.texts {
            return Cow::Owned(texts.text(row));
        }
        let (start, end) = self.spans[row];
        Cow::Borrowed(&self.payload.as_slice()[start as usize..end as usize])
    }

    pub fn place(&self, row: usize) -> Place {
        Place {
            partition: self.partition.clone(),
            offset: self.offsets[row],
            byte: self.bytes.as_ref().map(|bytes| bytes[row]),
        }
    }

    /// The headers of a row, as they are kept with its bytes.
    pub fn headers_kept(&self, row: usize) -> Option<String> {
        let names = || self.names.as_ref().map(|names| json!({COLUMNS: names.as_ref()}).to_string());
        self.headers.get(row).map(str::to_owned).or_else(names)
    }

    /// The dead letter of a row, with its original bytes up to [`DeadLetter::KEPT`].
    pub fn dead(&self, row: usize, step: &StepId, reason: Reason) -> DeadLetter {
        let bytes = self.bytes_of(row);
        DeadLetter {
            step: step.clone(),
            reason,
            place: self.place(row),
            time: self.times[row],
            epoch: 0,
            bytes: bytes[..bytes.len().min(DeadLetter::KEPT)].to_vec(),
            length: bytes.len() as u64,
            hash: crate::keys::hex128(crate::keys::content_hash(&bytes)),
            headers: self.headers_kept(row),
        }
    }
}

/// The operation of each row of a batch.
#[derive(Clone, Copy)]
pub struct Operations<'a>(Option<&'a UInt8Array>);

impl<'a> Operations<'a> {
    pub fn of(rows: &'a RecordBatch) -> Self {
        Self(rows.column_by_name(OP).and_then(|ops| ops.as_primitive_opt::<UInt8Type>()))
    }

    pub fn get(&self, row: usize) -> Op {
        self.0.map_or(Op::Insert, |ops| Op::from_u8(ops.value(row)).unwrap_or(Op::Insert))
    }

    /// Whether it is no row, and only says something about its group.
    pub fn is_clear(&self, row: usize) -> bool {
        !self.get(row).is_row()
    }
}

/// Rows of one partition, in order.
#[derive(Clone, Debug)]
pub struct Batch {
    pub origin: Arc<Origin>,
    /// The columns, `__row` among them.
    pub rows: RecordBatch,
    /// The watermark of the partition after this batch: no record of it should have a time at or before this any more.
    pub watermark: Micros,
}

impl Batch {
    pub fn len(&self) -> usize {
        self.rows.num_rows()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Index of each row in the origin.
    pub fn row_ids(&self) -> &UInt32Array {
        self.rows.column_by_name(ROW).expect("every batch has __row").as_primitive::<UInt32Type>()
    }

    /// The operations, or `None` when all are inserts.
    pub fn ops(&self) -> Option<&UInt8Array> {
        Some(self.rows.column_by_name(OP)?.as_primitive::<UInt8Type>())
    }

    /// The operations by row, with the column looked up once.
    pub fn operations(&self) -> Operations<'_> {
        Operations(self.ops())
    }

    /// The record time of the row at `index` of this batch.
    pub fn time(&self, index: usize) -> Micros {
        self.origin.times[self.row_ids().value(index) as usize]
    }

    /// Only the rows for which `mask` is true; NULL counts as false. Order is kept.
    pub fn keep(&self, mask: &BooleanArray) -> Batch {
        if mask.null_count() == 0 && mask.true_count() == mask.len() {
            return self.clone();
        }
        let rows = filter_record_batch(&self.rows, mask).expect("a mask of the batch's length");
        Batch { rows, ..self.clone() }
    }

    /// The same origin with other columns.
    pub fn with_rows(&self, rows: RecordBatch) -> Batch {
        Batch { rows, ..self.clone() }
    }
}
