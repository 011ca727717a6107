//! Rows of the ledger as columns, read from the topics behind a place.
//!
//! The same reading serves who moves rows and who asks for them: what is moved and what is not yet is cut at one place.

use std::sync::Arc;

use arrow::{
    array::{Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder, new_null_array},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use syncline_record::{Fate, Micros, StepId, keys::hex128};

use super::{Place, SinkPlace};
use crate::{
    checkpoint::{self, ReadError},
    ledger::{self, SinkFrame, When, ledger_topic, sink_topic},
    log::{Frame, Log, LogError},
    operator::LedgerKey,
    store::{StateStore, StoreError},
};

/// What one read of a topic takes: some frames, never the whole topic.
const READ_BYTES: usize = 1 << 20;
/// Rows of one batch.
const BATCH: usize = 4096;

/// The columns of the ledger: those of the first version, and behind them what came later, which older files have not.
pub fn schema() -> SchemaRef {
    let text = |name| Field::new(name, DataType::Utf8View, true);
    Arc::new(Schema::new(vec![
        text("pipeline"),
        text("step"),
        text("fate"),
        text("reason"),
        text("source"),
        Field::new("record_offset", DataType::Int64, true),
        Field::new("time", DataType::Timestamp(TimeUnit::Microsecond, None), true),
        Field::new("run", DataType::Int64, true),
        Field::new("epoch", DataType::Int64, true),
        text("key"),
        text("key_fingerprint"),
    ]))
}

/// Where the time stands among the columns.
pub const TIME: usize = 6;
/// How many columns every file has, and none of them a NULL.
pub const ALWAYS: usize = 7;

/// Rows of a file with all columns: one that it has not is NULL. An error is the column that is none of a ledger.
pub fn widened(rows: &RecordBatch) -> Result<RecordBatch, String> {
    let (wide, found) = (schema(), rows.schema());
    for field in found.fields() {
        let known = wide.field_with_name(field.name()).is_ok_and(|known| known.data_type() == field.data_type());
        if !known {
            return Err(format!("`{}` is no column of a ledger", field.name()));
        }
    }
    if let Some(missing) = wide.fields()[..ALWAYS].iter().find(|field| found.index_of(field.name()).is_err()) {
        return Err(format!("there is no column `{}`", missing.name()));
    }
    let column = |field: &Arc<Field>| {
        let found = rows.column_by_name(field.name()).cloned();
        found.unwrap_or_else(|| new_null_array(field.data_type(), rows.num_rows()))
    };
    let columns = wide.fields().iter().map(column).collect();
    RecordBatch::try_new(wide, columns).map_err(|error| error.to_string())
}

/// What became of one record at one step.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    pub step: &'a str,
    pub fate: Fate,
    pub reason: &'a str,
    pub source: &'a str,
    pub offset: u64,
    /// When it was decided.
    pub time: Micros,
    /// In which run and epoch; what a sink decides in its own transaction is of none.
    pub when: Option<When>,
    /// What the step knew it by, where it goes by a key.
    pub key: Option<LedgerKey<'a>>,
}

#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{what}: {detail}")]
    Damaged { what: String, detail: String },
    /// Whoever takes the rows wants no more.
    #[error("no more rows are wanted")]
    Unwanted,
}

/// Takes a row; an error ends the reading.
pub type Each<'a> = dyn FnMut(Row<'_>) -> Result<(), RowsError> + 'a;

/// Gives every row behind `place`, the oldest of the chain first, then what sinks did not take; about `most` of the former. Returns
/// the place behind them.
pub fn behind(
    (store, log): (&dyn StateStore, &dyn Log),
    pipeline: &str,
    place: &Place,
    most: u64,
    each: &mut Each<'_>,
) -> Result<Place, RowsError> {
    // Before the topics: what a sink has decided meanwhile is left for the next time.
    let delivered = checkpoint::delivered(store, pipeline)?;
    // A step that is gone may come back: what was moved of it stays moved.
    let mut next = Place { ledger: chain(log, pipeline, place.ledger, most, each)?, sinks: place.sinks.clone() };
    let prefix = sink_topic(pipeline, &StepId::new(""));
    for topic in log.topics(&prefix)? {
        let step = StepId::new(&topic[prefix.len()..]);
        let from = place.sinks.get(step.as_str()).copied().unwrap_or_default();
        let Some(decided) = delivered.get(&step).map(|delivered| delivered.next) else { continue };
        let to = refused(log, (&topic, step.as_str()), (from, decided.max(from.below)), each)?;
        next.sinks.insert(step.to_string(), to);
    }
    Ok(next)
}

/// Rows of the chain; the number of the record behind the last frame that was read.
fn chain(log: &dyn Log, pipeline: &str, from: u64, most: u64, each: &mut Each<'_>) -> Result<u64, RowsError> {
    let topic = ledger_topic(pipeline);
    let (mut rows, mut next) = (0, from);
    each_frame(log, &topic, from, &mut |frame| {
        let damaged = |damaged: crate::operator::Damaged| RowsError::Damaged { what: topic.clone(), detail: damaged.0 };
        let said = ledger::decode(&frame.body).map_err(damaged)?;
        for entry in &said.entries {
            let source = entry.partition.to_string();
            for (row, offset) in entry.offsets.iter().enumerate() {
                let (step, reason, time) = (entry.step.as_str(), &*entry.reason, frame.time);
                let (fate, when, key) = (entry.fate, said.when, entry.keys.get(row));
                each(Row { step, fate, reason, source: &source, offset: *offset, time, when, key })?;
            }
            rows += entry.offsets.len() as u64;
        }
        next = frame.next();
        Ok(rows < most)
    })?;
    Ok(next)
}

/// Rows that a sink did not take and that are settled: those of the outbox from `place.below` to `decided`. A frame takes back what
/// earlier ones said about rows at or after its base, so a first pass reads where each attempt began.
fn refused(
    log: &dyn Log,
    (topic, step): (&str, &str),
    (place, decided): (SinkPlace, u64),
    each: &mut Each<'_>,
) -> Result<SinkPlace, RowsError> {
    let (mut bases, mut first_open, mut end) = (vec![], None, place.record);
    each_frame(log, topic, place.record, &mut |frame| {
        let said = parse(topic, &frame.body)?;
        let last =
            said.dead.iter().map(|(offset, _)| *offset).chain(said.stale.iter().map(|(offset, ..)| *offset)).max();
        if last.is_some_and(|last| last >= decided) {
            first_open.get_or_insert(frame.base);
        }
        bases.push(said.base);
        end = frame.next();
        Ok(true)
    })?;
    let mut holds = holds(&bases, decided).into_iter();
    each_frame(log, topic, place.record, &mut |frame| {
        // Frames that came since the first pass are of rows that were not decided then.
        let Some(below) = holds.next() else { return Ok(false) };
        let said = parse(topic, &frame.body)?;
        let settled = |offset: u64| place.below <= offset && offset < below;
        let (time, when, key) = (frame.time, None, None);
        for (_, letter) in said.dead.iter().filter(|(at, _)| settled(*at)) {
            let source = letter.place.partition.to_string();
            let (reason, offset) = (letter.reason.slug.as_str(), letter.place.offset);
            each(Row { step, fate: Fate::Dead, reason, source: &source, offset, time, when, key })?;
        }
        for (_, source, offset) in said.stale.iter().filter(|(at, ..)| settled(*at)) {
            each(Row { step, fate: Fate::Stale, reason: "stale", source, offset: *offset, time, when, key })?;
        }
        Ok(true)
    })?;
    Ok(SinkPlace { record: first_open.unwrap_or(end), below: decided })
}

/// For each frame, the number of the outbox below which its word is the last one.
pub fn holds(bases: &[u64], decided: u64) -> Vec<u64> {
    let mut below = decided;
    let mut holds = Vec::with_capacity(bases.len());
    for base in bases.iter().rev() {
        holds.push(below);
        below = below.min(*base);
    }
    holds.reverse();
    holds
}

fn parse(topic: &str, body: &[u8]) -> Result<SinkFrame, RowsError> {
    serde_json::from_slice(body)
        .map_err(|error| RowsError::Damaged { what: topic.to_owned(), detail: error.to_string() })
}

/// Calls `each` with every frame from one on that was visible at the start, the oldest first, as long as it says so.
fn each_frame(
    log: &dyn Log,
    topic: &str,
    from: u64,
    each: &mut dyn FnMut(&Frame) -> Result<bool, RowsError>,
) -> Result<(), RowsError> {
    let end = log.end(topic)?;
    let mut next = from;
    while next < end {
        let frames = match log.read(topic, next, READ_BYTES) {
            // Nothing of it was moved: it was let go of before there was an archive, or the archive is another one.
            Err(LogError::Gone { oldest, .. }) if from == 0 && oldest > next => {
                next = oldest;
                continue;
            }
            frames => frames?,
        };
        let Some(last) = frames.last().map(Frame::next) else { break };
        for frame in frames.iter().filter(|frame| frame.base < end && frame.base >= from) {
            if !each(frame)? {
                return Ok(());
            }
        }
        next = last;
    }
    Ok(())
}

/// Rows on their way into batches.
pub struct Columns {
    schema: SchemaRef,
    pipeline: StringViewBuilder,
    step: StringViewBuilder,
    fate: StringViewBuilder,
    reason: StringViewBuilder,
    source: StringViewBuilder,
    offset: Int64Builder,
    time: TimestampMicrosecondBuilder,
    run: Int64Builder,
    epoch: Int64Builder,
    key: StringViewBuilder,
    fingerprint: StringViewBuilder,
    rows: usize,
}

impl Default for Columns {
    fn default() -> Self {
        // Names of steps and reasons repeat: each is kept once.
        let text = || StringViewBuilder::new().with_deduplicate_strings();
        Self {
            schema: schema(),
            pipeline: text(),
            step: text(),
            fate: text(),
            reason: text(),
            source: text(),
            offset: Int64Builder::new(),
            time: TimestampMicrosecondBuilder::new(),
            run: Int64Builder::new(),
            epoch: Int64Builder::new(),
            key: StringViewBuilder::new(),
            fingerprint: StringViewBuilder::new(),
            rows: 0,
        }
    }
}

impl Columns {
    /// Adds a row; true when a batch is full.
    pub fn push(&mut self, pipeline: &str, row: Row<'_>) -> bool {
        self.pipeline.append_value(pipeline);
        self.step.append_value(row.step);
        self.fate.append_value(row.fate.as_str());
        self.reason.append_value(row.reason);
        self.source.append_value(row.source);
        // Numbers of more than 2^63 do not happen; they would show as the largest.
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.offset.append_value(number(row.offset));
        self.time.append_value(row.time);
        self.run.append_option(row.when.map(|when| number(when.run)));
        self.epoch.append_option(row.when.map(|when| number(when.epoch)));
        self.key.append_option(row.key.and_then(|key| key.text));
        self.fingerprint.append_option(row.key.map(|key| hex128(key.fingerprint)));
        self.rows += 1;
        self.rows >= BATCH
    }

    /// The rows so far; `None` where there are none.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, RowsError> {
        if self.rows == 0 {
            return Ok(None);
        }
        self.rows = 0;
        let columns: Vec<arrow::array::ArrayRef> = vec![
            Arc::new(self.pipeline.finish()),
            Arc::new(self.step.finish()),
            Arc::new(self.fate.finish()),
            Arc::new(self.reason.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.time.finish()),
            Arc::new(self.run.finish()),
            Arc::new(self.epoch.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.fingerprint.finish()),
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        let damaged =
            |error: ArrowError| RowsError::Damaged { what: "the ledger".to_owned(), detail: error.to_string() };
        batch.map(Some).map_err(damaged)
    }
}
