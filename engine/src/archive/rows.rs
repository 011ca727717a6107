//! Rows of the ledger as columns, read from the topics behind a place.
//!
//! The same reading serves who moves rows and who asks for them: what is moved and what is not yet is cut at one place.

use std::sync::Arc;

use arrow::{
    array::{Int64Builder, RecordBatch, StringViewBuilder, TimestampMicrosecondBuilder},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
    error::ArrowError,
};
use syncline_record::{Fate, Micros, StepId};

use super::{Place, SinkPlace};
use crate::{
    checkpoint::{self, ReadError},
    ledger::{self, SinkFrame, ledger_topic, sink_topic},
    log::{Frame, Log, LogError},
    store::{StateStore, StoreError},
};

/// What one read of a topic takes: some frames, never the whole topic.
const READ_BYTES: usize = 1 << 20;
/// Rows of one batch.
const BATCH: usize = 4096;

/// The columns of the ledger.
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
    ]))
}

/// Where the time stands among the columns.
pub const TIME: usize = 6;

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
        for entry in ledger::decode(&frame.body).map_err(damaged)? {
            let source = entry.partition.to_string();
            for offset in &entry.offsets {
                let (step, reason) = (entry.step.as_str(), &*entry.reason);
                each(Row { step, fate: entry.fate, reason, source: &source, offset: *offset, time: frame.time })?;
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
        let time = frame.time;
        for (_, letter) in said.dead.iter().filter(|(at, _)| settled(*at)) {
            let source = letter.place.partition.to_string();
            let (reason, offset) = (letter.reason.slug.as_str(), letter.place.offset);
            each(Row { step, fate: Fate::Dead, reason, source: &source, offset, time })?;
        }
        for (_, source, offset) in said.stale.iter().filter(|(at, ..)| settled(*at)) {
            each(Row { step, fate: Fate::Stale, reason: "stale", source, offset: *offset, time })?;
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
        // Offsets of more than 2^63 do not happen; they would show as the largest number.
        self.offset.append_value(i64::try_from(row.offset).unwrap_or(i64::MAX));
        self.time.append_value(row.time);
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
        ];
        let batch = RecordBatch::try_new(self.schema.clone(), columns);
        let damaged =
            |error: ArrowError| RowsError::Damaged { what: "the ledger".to_owned(), detail: error.to_string() };
        batch.map(Some).map_err(damaged)
    }
}
