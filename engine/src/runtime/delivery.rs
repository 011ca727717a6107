//! Delivery: takes rows from an outbox to the sink behind it, at the sink's own pace.
//!
//! A transactional sink keeps our position in its own transaction, and what it says at `open` is the truth; our record of it is
//! a copy for those who look. Of a plain sink our record is the truth, one batch behind at worst: at least once.

use std::{sync::Arc, time::Duration};

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::UInt64Type;
use syncline_functions::JsonWriter;
use syncline_record::{DeadLetter, Fate, Partition, Place, Reason, StepId, batch::Operations};

use super::{Ground, Turn};
use crate::{
    checkpoint::{self, ReadError},
    ledger::{SinkFrame, sink_topic},
    log::{LogError, NewFrame},
    metrics,
    operators::present::OFFSET,
    outbox::{
        self,
        original::{self, Original},
    },
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream},
    store::{Changes, StoreError},
    witness::{Handover, NoWitness, SinkWitness},
};

/// Bytes that one transaction of a sink takes from the outbox: large enough to pay for the commit, small enough to redo.
const BATCH_BYTES: usize = 1 << 20;

/// How long a sink that has everything waits before our copy of its position is made durable: with rows on their way, the next
/// commit does that too.
const REST: Duration = Duration::from_millis(500);

/// The first pause after a passing error, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    #[error("{step}: {error}")]
    Sink { step: StepId, error: SinkError },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A defect in the program: the log of this process has its trace.
    #[error("{step}: the sink's task ended by a panic")]
    Fallen { step: StepId },
    #[error("{step}: the outbox cannot be read at {offset}: {detail}")]
    Damaged { step: StepId, offset: u64, detail: String },
}

/// What a sink is waiting for, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub detail: String,
    pub tries: u32,
}

pub struct Delivery {
    ground: Ground,
    pub(super) stream: Stream,
    topic: String,
    sink: Box<dyn OutboxSink>,
    witness: Box<dyn SinkWitness>,
    fresh: bool,
    /// Rows before this offset belong to another place, where the sink once wrote.
    since: u64,
    /// The sink keeps our position itself; else our record of it must survive a crash.
    transactional: bool,
    /// The next attempt may repeat one that published and was not committed.
    repeats: bool,
    delivered: Option<Delivered>,
    pause_until: Duration,
    trouble: Option<Trouble>,
    /// Since when our copy of the position is not known to be durable.
    unflushed: Option<Duration>,
}

impl Delivery {
    /// `fresh`: the pipeline was started over at some time. The sink then forgets this stream's progress first, unless our record
    /// says that it took part in the new beginning already.
    pub fn new(ground: Ground, stream: Stream, topic: String, sink: Box<dyn OutboxSink>, fresh: bool) -> Self {
        Self {
            ground,
            stream,
            topic,
            sink,
            witness: Box::new(NoWitness),
            fresh,
            since: 0,
            transactional: false,
            repeats: false,
            delivered: None,
            pause_until: Duration::ZERO,
            trouble: None,
            unflushed: None,
        }
    }

    /// What lies before `offset` in the outbox is not this sink's.
    pub fn since(self, offset: u64) -> Self {
        Self { since: offset, ..self }
    }

    pub fn witnessed(self, witness: Box<dyn SinkWitness>) -> Self {
        Self { witness, ..self }
    }

    pub fn step(&self) -> &StepId {
        &self.stream.step
    }

    pub fn trouble(&self) -> Option<&Trouble> {
        self.trouble.as_ref()
    }

    /// True when everything that is visible in the outbox has been delivered.
    pub fn drained(&self) -> Result<bool, DeliveryError> {
        let end = self.ground.log.end(&self.topic)?;
        Ok(self.delivered.as_ref().is_some_and(|delivered| delivered.next >= end))
    }

    /// One transaction's worth of rows.
    pub fn turn(&mut self) -> Result<Turn, DeliveryError> {
        if self.ground.clock.elapsed() < self.pause_until {
            return Ok(Turn::Idle);
        }
        let attempt = self.attempt();
        self.witness.enter(Handover::Idle);
        match attempt {
            Ok(turn) => {
                self.trouble = None;
                Ok(turn)
            }
            Err(Failure::Sink(error)) => self.recover(error),
            Err(Failure::Fatal(error)) => Err(error),
        }
    }

    fn attempt(&mut self) -> Result<Turn, Failure> {
        if self.delivered.is_none() {
            self.witness.enter(Handover::Opening);
            self.open()?;
        }
        let delivered = self.delivered.clone().unwrap_or_default();
        let frames = self.ground.log.read(&self.topic, delivered.next, BATCH_BYTES).map_err(DeliveryError::from)?;
        if frames.is_empty() {
            self.rest()?;
            return Ok(Turn::Idle);
        }
        let mut partitions = vec![];
        let mut rows = vec![];
        for frame in &frames {
            let (batch, partition) = outbox::decode(&frame.body).map_err(|detail| self.damaged(frame.base, detail))?;
            // After a restart the sink may be in the middle of a frame.
            let skip = delivered.next.saturating_sub(frame.base).min(batch.num_rows() as u64) as usize;
            let kept = batch.slice(skip, batch.num_rows() - skip);
            rows.push(OutboxRows { base: frame.base + skip as u64, rows: kept });
            partitions.push(partition);
        }
        let next = frames.last().map_or(delivered.next, |frame| frame.next());
        let began = self.ground.clock.elapsed();
        self.witness.enter(Handover::Applying);
        let applied = self.sink.apply(&rows)?;
        let after = self.settle(&delivered, next, &rows, &partitions, &applied)?;
        self.witness.enter(Handover::Committing);
        self.sink.commit(&after)?;
        self.witness.enter(Handover::Recording);
        self.record(&after)?;
        if self.transactional {
            self.unflushed.get_or_insert(self.ground.clock.elapsed());
        }
        self.measure(began, &applied);
        self.ground.log.release(&self.topic, after.next).map_err(DeliveryError::from)?;
        self.delivered = Some(after);
        self.repeats = false;
        Ok(Turn::Worked)
    }

    /// Nothing comes: those who look after a crash are to see what the sink has, and not what it had.
    fn rest(&mut self) -> Result<(), DeliveryError> {
        let now = self.ground.clock.elapsed();
        if self.unflushed.is_some_and(|since| now.saturating_sub(since) >= REST) {
            self.ground.store.flush()?;
            self.unflushed = None;
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), Failure> {
        let recorded: Option<Delivered> =
            checkpoint::read(&*self.ground.store, &self.key()).map_err(DeliveryError::from)?;
        let begins = recorded.is_none();
        if self.fresh && begins {
            self.sink.clear(&self.stream)?;
        }
        let said = self.sink.open(&self.stream)?;
        self.transactional = said.is_some();
        // A place that has not seen us before, or long ago, knows nothing of what went elsewhere.
        let forgot = |said: &Delivered| said.next == 0 && self.sink.forgets();
        let said = said.filter(|said| said.next >= self.since && !forgot(said));
        let mut delivered = said.or(recorded).unwrap_or_default();
        delivered.next = delivered.next.max(self.since);
        self.record(&delivered)?;
        if begins {
            // From here on it never forgets again: rows will lie behind this position.
            self.ground.store.flush().map_err(DeliveryError::from)?;
        }
        self.delivered = Some(delivered);
        self.repeats = true;
        Ok(())
    }

    /// Counts what became of the rows, and publishes what was not taken before the sink commits.
    fn settle(
        &self,
        before: &Delivered,
        next: u64,
        rows: &[OutboxRows],
        partitions: &[String],
        applied: &Applied,
    ) -> Result<Delivered, DeliveryError> {
        let total: u64 = rows.iter().map(|rows| real_rows(&rows.rows)).sum();
        let frame = self.frame(before.next, rows, partitions, applied);
        let (dead, stale) = (frame.dead.len() as u64, frame.stale.len() as u64);
        let mut after = Delivered { next, books: before.books };
        after.books.rows_in += total;
        after.books.count(Fate::Dead, dead);
        after.books.count(Fate::Stale, stale);
        after.books.count(Fate::Passed, total.saturating_sub(dead + stale));
        after.books.rows_out += total.saturating_sub(dead + stale);
        let topic = sink_topic(&self.stream.pipeline, &self.stream.step);
        // A frame that says nothing takes back what an attempt before it may have said.
        if dead + stale > 0 || (self.repeats && self.ground.log.end(&topic)? > 0) {
            let body = serde_json::to_vec(&frame).unwrap_or_default();
            let time = self.ground.clock.now();
            self.ground.log.publish(&topic, vec![NewFrame { count: 1, time, body }])?;
        }
        Ok(after)
    }

    /// What the sink did not take. A row that only clears a group is none: whatever becomes of it, the books do not count it.
    fn frame(&self, base: u64, rows: &[OutboxRows], partitions: &[String], applied: &Applied) -> SinkFrame {
        let find = |offset: u64| {
            let index = rows.iter().rposition(|rows| rows.base <= offset)?;
            let row = (offset - rows[index].base) as usize;
            let counts = row < rows[index].rows.num_rows() && !is_clear(&rows[index].rows, row);
            counts.then(|| (&rows[index].rows, row, partitions[index].as_str()))
        };
        let mut frame = SinkFrame { base, ..SinkFrame::default() };
        for (offset, reason) in &applied.dead {
            if let Some((rows, row, partition)) = find(*offset) {
                frame.dead.push((*offset, self.letter(rows, row, partition, reason)));
            }
        }
        for offset in &applied.stale {
            if let Some((rows, row, partition)) = find(*offset) {
                frame.stale.push((*offset, partition.to_owned(), origin(rows, row)));
            }
        }
        frame
    }

    /// A row that has no record, or none any more, is kept as JSON.
    fn letter(&self, rows: &RecordBatch, row: usize, partition: &str, reason: &Reason) -> DeadLetter {
        let Original { bytes, length, hash, headers } = original::of(rows, row).unwrap_or_else(|| {
            let mut text = vec![];
            JsonWriter::new(&rows.schema()).write_row(rows, row, &mut text);
            Original::whole(text, None)
        });
        let partition = Partition { name: Arc::from(partition), number: 0 };
        DeadLetter {
            step: self.stream.step.clone(),
            reason: reason.clone(),
            place: Place { partition, offset: origin(rows, row), byte: None },
            time: self.ground.clock.now(),
            epoch: 0,
            bytes,
            length,
            hash,
            headers,
        }
    }

    /// What is shown of a transaction that is over.
    fn measure(&self, began: Duration, applied: &Applied) {
        let Stream { pipeline, step, .. } = &self.stream;
        metrics::sink_wrote(pipeline, step, self.ground.clock.elapsed().saturating_sub(began));
        for (_, reason) in &applied.dead {
            metrics::dead_letters(pipeline, step, &reason.slug, 1);
        }
    }

    fn record(&self, delivered: &Delivered) -> Result<(), DeliveryError> {
        let mut changes = Changes::default();
        checkpoint::put(&mut changes, self.key(), delivered);
        self.ground.store.apply(changes)?;
        if !self.transactional {
            self.ground.store.flush()?;
        }
        Ok(())
    }

    fn key(&self) -> Vec<u8> {
        checkpoint::delivered_key(&self.stream.pipeline, &self.stream.step)
    }

    fn damaged(&self, offset: u64, detail: String) -> DeliveryError {
        DeliveryError::Damaged { step: self.stream.step.clone(), offset, detail }
    }

    /// Decides what an error means: a pause and another try, or the end.
    fn recover(&mut self, error: SinkError) -> Result<Turn, DeliveryError> {
        self.delivered = None;
        let tries = self.trouble.as_ref().map_or(0, |trouble| trouble.tries) + 1;
        // The random part keeps many sinks of one server from coming back at once.
        let (at_least, spread) = match &error {
            SinkError::Never(_) | SinkError::Foreign(_) | SinkError::Closed(_) | SinkError::Hangs(_) => {
                return Err(DeliveryError::Sink { step: self.stream.step.clone(), error });
            }
            SinkError::Later { delay, .. } => (*delay, *delay / 2),
            SinkError::Again(_) | SinkError::Reconnect(_) => {
                let pause = (FIRST_PAUSE * 2u32.saturating_pow(tries.min(16) - 1)).min(LONGEST_PAUSE);
                (pause / 2, pause / 2)
            }
        };
        let pause = at_least + spread.mul_f64((self.ground.rng.next() % 1000) as f64 / 1000.0);
        self.pause_until = self.ground.clock.elapsed() + pause;
        let Stream { pipeline, step, .. } = &self.stream;
        metrics::sink_retried(pipeline, step);
        let pause_ms = pause.as_millis() as u64;
        tracing::warn!(pipeline, step = %step, tries, pause_ms, "{error}; trying again in {pause_ms} ms");
        self.trouble = Some(Trouble { detail: error.to_string(), tries });
        Ok(Turn::Idle)
    }
}

enum Failure {
    Sink(SinkError),
    Fatal(DeliveryError),
}

impl From<SinkError> for Failure {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

impl From<DeliveryError> for Failure {
    fn from(error: DeliveryError) -> Self {
        Self::Fatal(error)
    }
}

/// Rows that the books count.
fn real_rows(rows: &RecordBatch) -> u64 {
    let ops = Operations::of(rows);
    (0..rows.num_rows()).filter(|row| !ops.is_clear(*row)).count() as u64
}

fn is_clear(rows: &RecordBatch, row: usize) -> bool {
    Operations::of(rows).is_clear(row)
}

fn origin(rows: &RecordBatch, row: usize) -> u64 {
    let origins = rows.column_by_name(OFFSET).and_then(|column| column.as_primitive_opt::<UInt64Type>());
    origins.map_or(0, |origins| origins.value(row))
}
