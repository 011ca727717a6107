//! A job: one pipeline's chain over its inputs, epoch by epoch.
//!
//! One thread calls [`Job::turn`] again and again. A turn takes one poll of an input through the whole chain, and closes the
//! epoch when it is time. Whatever goes wrong, nothing of an open epoch was committed: drop the job and start another.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use arrow::array::RecordBatch;
use syncline_record::{Batch, DeadLetter, Epoch, Micros, StepBooks, StepId};

use super::{Ground, Turn, ailing::Ailing, frontier::Frontier, history::Past, streams, tables::Reading};
use crate::{
    checkpoint::{Checkpoint, ReadError, Run},
    fingerprints::Fingerprints,
    graph::{Edge, Graph, Node, Work},
    hop::Standing,
    log::{CommitError, Event, LogError, NewFrame, Release},
    operator::{Halt, LedgerEntry, Operator, Output, Side},
    outbox,
    segment::{SegmentError, Segments},
    sink::SinkError,
    source::{Rejected, Rows, SourceError},
    store::StoreError,
    witness::{Window, Witness},
};

/// An epoch is closed at this many rows or bytes even before its time: what a crash redoes stays small.
const EPOCH_ROWS: u64 = 200_000;
const EPOCH_BYTES: u64 = 50 << 20;

/// Batches of an epoch whose age at the commit is measured: enough for a picture, little enough to cost nothing.
const MEASURED: usize = 1024;

/// What may wait for one sink before the source is left alone. It lies on disk; the bounds keep the disk and the lag sane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    pub rows: u64,
    /// As they lie in the log, a file of it more or less.
    pub bytes: u64,
}

impl Backlog {
    /// What may wait before what is read beside the others is left alone, as theirs would wait behind it: some commits of a fast sink.
    fn beside(self) -> Self {
        Self { rows: self.rows / 20, bytes: self.bytes / 8 }
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self { rows: 1_000_000, bytes: 512 << 20 }
    }
}

/// How often quiet times are looked into for windows that can close: short beside the time after which a partition is idle.
const QUIET_LOOK: Duration = Duration::from_secs(1);

/// What a job is made of.
pub struct JobSpec {
    pub pipeline: String,
    /// Digest of the plan.
    pub plan: String,
    pub checkpoint_every: Duration,
    /// `ledger = 'all'`
    pub keep_passed: bool,
    /// How long a partition that gives nothing is waited for (`idle_after`).
    pub idle_after: Duration,
    pub backlog: Backlog,
    pub fingerprints: Fingerprints,
    pub graph: Graph,
    pub witness: Box<dyn Witness>,
}

/// Why a job cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    #[error(transparent)]
    Halt(#[from] Halt),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{step}: {error}")]
    Sink { step: StepId, error: SinkError },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("the books of {step} do not balance: {page:?}")]
    Unbalanced { step: StepId, page: StepBooks },
    /// A run that would end cannot: who reads its stream is too far behind, and does not run.
    #[error("{step}: {waiting} rows wait for {reader}, which reads them and does not run")]
    Unread { step: StepId, waiting: u64, reader: String },
    /// A partition went to another worker with an open epoch: start again from what is committed.
    #[error("{partition} was taken over by another worker")]
    Lost { partition: String },
}

/// What the open epoch holds, beside what operators and sinks keep themselves.
#[derive(Default)]
pub(super) struct Open {
    pub rows: u64,
    pub bytes: u64,
    /// Bytes that went into hops: one record may have become many rows.
    pub sent: u64,
    pub since: Option<Duration>,
    /// When batches were taken, the first [`MEASURED`] of them.
    pub taken: Vec<Duration>,
    pub dead: Vec<DeadLetter>,
    pub ledger: Vec<LedgerEntry>,
    pub touched: bool,
    /// Partitions whose cursor has moved, qualified by their input.
    pub moved: BTreeSet<String>,
}

impl Open {
    /// A batch was taken at this time.
    pub fn took(&mut self, at: Duration) {
        if self.taken.len() < MEASURED {
            self.taken.push(at);
        }
    }
}

pub struct Job {
    pub(super) ground: Ground,
    pub(super) spec: JobSpec,
    pub(super) segments: BTreeMap<StepId, Segments>,
    pub(super) checkpoint: Checkpoint,
    pub(super) run: Run,
    pub(super) open: Open,
    pub(super) frontier: Frontier,
    /// Of each table of the graph.
    pub(super) readings: Vec<Reading>,
    /// Inputs that are at their end, by index.
    pub(super) over: BTreeSet<usize>,
    /// Steps that were told that their inputs are at their end, by index.
    pub(super) finished: BTreeSet<usize>,
    /// When quiet times were last looked into.
    pub(super) looked: Duration,
    /// The input that is asked next: they take turns.
    pub(super) turn: usize,
    /// Readers of streams that are waited for, by the step that writes.
    pub(super) waits: BTreeMap<StepId, String>,
    /// The mark that each stream was given last, by topic.
    pub(super) marked: BTreeMap<String, Micros>,
    /// None of its partitions is waited for.
    pub(super) quiet: bool,
    /// What the tasks behind hops were told last.
    pub(super) told: Option<Standing>,
    /// What came of the history since the last commit.
    pub(super) past: Past,
    /// Sinks have enough to do: in this epoch nothing is read beside the others.
    pub(super) crowded: bool,
    /// What is read beside the others, while it cannot be.
    pub(super) ailing: Option<Ailing>,
    /// What is let go of each stream, by topic.
    pub(super) released: BTreeMap<String, Release>,
    pub(super) ended: bool,
}

impl Job {
    /// One poll of the inputs, through the chain; and a commit when one is due.
    pub fn turn(&mut self) -> Result<Turn, JobError> {
        if self.ended {
            return Ok(Turn::Ended);
        }
        self.follow_events()?;
        if self.open.rows == 0 {
            self.refresh_tables()?;
        }
        // Once an epoch is enough: it holds a bounded number of rows.
        if self.open.rows == 0 && (self.readers_are_behind()? || self.pushed_back(self.spec.backlog)?) {
            self.commit_if_due()?;
            return Ok(Turn::Idle);
        }
        if self.open.rows == 0 {
            let others = !self.over.contains(&0);
            self.crowded = others && self.beside().is_some() && self.pushed_back(self.spec.backlog.beside())?;
        }
        let turn = self.poll()?;
        if turn == Turn::Ended {
            self.finish(true)?;
            return Ok(turn);
        }
        self.commit_if_due()?;
        Ok(turn)
    }

    /// Closes the epoch and stops: on request (`ended` false), or because the source is at its end.
    pub fn finish(&mut self, ended: bool) -> Result<(), JobError> {
        self.ended = true;
        self.checkpoint.ended = ended;
        self.open.touched = true;
        if ended {
            self.end_branches()?;
        }
        self.commit(ended)
    }

    /// Tells the steps all of whose inputs are at their end; what that sets free goes on to steps that may still wait for others.
    pub(super) fn end_branches(&mut self) -> Result<(), JobError> {
        let over: u32 = self.over.iter().map(|input| 1 << input).sum();
        for (index, reached) in self.spec.graph.reached_from().into_iter().enumerate() {
            if reached & !over == 0 && self.finished.insert(index) {
                self.ask(index, |operator, out| operator.finish(out))?;
            }
        }
        Ok(())
    }

    pub fn epoch(&self) -> Epoch {
        self.checkpoint.epoch
    }

    pub fn run(&self) -> &Run {
        &self.run
    }

    pub fn witness(&self) -> &dyn Witness {
        &*self.spec.witness
    }

    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Outbox topics by step, for the sinks' own tasks.
    pub fn outboxes(&self) -> Vec<(StepId, String)> {
        let outbox = |node: &Node| match &node.work {
            Work::Outbox { topic, .. } => Some((node.id.clone(), topic.clone())),
            _ => None,
        };
        self.spec.graph.nodes.iter().filter_map(outbox).collect()
    }

    fn follow_events(&mut self) -> Result<(), JobError> {
        let events = self.ground.log.events();
        // Lost wins, in whatever order the news came: what was revoked first may be the same partition.
        if let Some(Event::Lost(partition)) = events.iter().find(|event| matches!(event, Event::Lost(_))) {
            return Err(JobError::Lost { partition: partition.to_string() });
        }
        if events.iter().any(|event| matches!(event, Event::Revoked(_))) {
            self.commit(false)?;
        }
        Ok(())
    }

    /// True while some sink is too far behind.
    fn pushed_back(&self, most: Backlog) -> Result<bool, JobError> {
        for node in &self.spec.graph.nodes {
            if let Work::Outbox { topic, .. } = &node.work {
                let end = self.ground.log.end(topic)?;
                let key = crate::checkpoint::delivered_key(&self.spec.pipeline, &node.id);
                let delivered = crate::checkpoint::read::<crate::sink::Delivered>(&*self.ground.store, &key)?;
                let next = delivered.map_or(0, |delivered| delivered.next);
                let waiting = end.saturating_sub(next);
                let Backlog { rows, bytes } = most;
                if waiting > rows || (waiting > 0 && self.ground.log.bytes(topic, next)? > bytes) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn commit_if_due(&mut self) -> Result<(), JobError> {
        let Some(since) = self.open.since else { return self.commit_in_quiet_times() };
        let old = self.ground.clock.elapsed().saturating_sub(since) >= self.spec.checkpoint_every;
        if old || self.open.rows >= EPOCH_ROWS || self.open.bytes.max(self.open.sent) >= EPOCH_BYTES {
            self.commit(false)?;
        }
        Ok(())
    }

    /// Without rows, parts are shown by the clock, and windows close when the partition that held them open is idle.
    fn commit_in_quiet_times(&mut self) -> Result<(), JobError> {
        let now = self.ground.clock.now();
        let due = |node: &Node| matches!(&node.work, Work::Staged { sink, .. } if sink.is_due(now));
        if self.spec.graph.nodes.iter().any(due) || self.time_moved() {
            self.open.touched = true;
            self.commit(false)?;
        }
        Ok(())
    }

    /// Looked at once in a while: it asks every partition.
    fn time_moved(&mut self) -> bool {
        let elapsed = self.ground.clock.elapsed();
        let wants_time = |node: &Node| node.state.is_some() || matches!(node.work, Work::Stream { .. } | Work::Hop(_));
        if elapsed.saturating_sub(self.looked) < QUIET_LOOK || !self.spec.graph.nodes.iter().any(wants_time) {
            return false;
        }
        self.looked = elapsed;
        let lowest = self.lowest();
        lowest > self.checkpoint.lowest || self.has_to_tell_hops(lowest)
    }

    /// Something happened that a commit has to keep. Says what time it is.
    pub(super) fn open_epoch(&mut self) -> Duration {
        let now = self.ground.clock.elapsed();
        if self.open.since.is_none() {
            self.open.since = Some(now);
            self.spec.witness.enter(Window::Open);
        }
        self.open.touched = true;
        now
    }

    pub(super) fn take(&mut self, input: usize, rows: Rows) -> Result<(), JobError> {
        let since = self.open_epoch();
        self.open.took(since);
        self.open.rows += rows.origin.rows() as u64 + rows.rejected.len() as u64;
        self.open.bytes += rows.origin.payload.len() as u64;
        let columns = rows.columns.as_ref().map_or(0, RecordBatch::get_array_memory_size);
        let bytes = rows.origin.payload.len() + columns;
        let now = self.ground.clock.now();
        let at = &mut self.spec.graph.inputs[input];
        let partition = at.qualified(&rows.origin.partition.to_string());
        self.frontier.gave_rows(&partition, since);
        let mut out = Output::new(at.step.clone(), self.spec.keep_passed);
        out.books.rows_in = rows.origin.rows() as u64 + rows.rejected.len() as u64;
        for rejected in rows.rejected {
            let letter = letter(out.step(), rejected);
            out.dead_record(letter);
        }
        if rows.origin.rows() > 0 {
            at.decode.push(rows.origin, rows.columns, now, &mut out);
            if let Some(key) = &at.key {
                out.put_out().iter().try_for_each(|batch| key.check(batch))?;
            }
        }
        self.past.take(&self.spec.graph, input, out.books.rows_in, bytes);
        let emitted = self.enter(out);
        for batch in emitted {
            for edge in 0..self.spec.graph.inputs[input].first.len() {
                self.push(self.spec.graph.inputs[input].first[edge], batch.clone())?;
            }
        }
        self.past.let_go();
        self.open.moved.insert(partition.clone());
        self.checkpoint.cursors.insert(partition, rows.cursor);
        Ok(())
    }

    /// Takes a batch through a step and all that follow.
    pub(super) fn push(&mut self, edge: Edge, batch: Batch) -> Result<(), JobError> {
        let index = edge.to;
        let node = &mut self.spec.graph.nodes[index];
        let mut out = Output::new(node.id.clone(), self.spec.keep_passed);
        out.books.rows_in = crate::operator::counted(&batch);
        match &mut node.work {
            Work::Operator(operator) => match edge.side {
                Side::Left => operator.push(batch, &mut out)?,
                Side::Right => operator.push_right(batch, &mut out)?,
            },
            Work::Fan => out.emit(batch),
            Work::Staged { present, sink } => {
                present.push(batch, &mut out)?;
                for batch in std::mem::take(&mut out.emitted) {
                    let step = node.id.clone();
                    let failed = sink.write(&batch).map_err(|error| JobError::Sink { step, error })?;
                    out.refuse(&batch, &failed);
                }
            }
            Work::Outbox { present, topic } => {
                present.push(batch, &mut out)?;
                for batch in std::mem::take(&mut out.emitted) {
                    let body =
                        outbox::encode(&batch).map_err(|detail| Halt::Broken { step: node.id.clone(), detail })?;
                    self.ground.log.append(topic, NewFrame { count: batch.len() as u32, time: batch.time(0), body })?;
                    out.hold(crate::operator::counted(&batch));
                }
            }
            Work::Hop(hop) => streams::hop_on(hop, &self.ground, batch, (&self.checkpoint, &mut self.open), &mut out)?,
            Work::Stream { present, topic, .. } => {
                present.push(batch, &mut out)?;
                let id = &self.checkpoint.log_id;
                for batch in std::mem::take(&mut out.emitted) {
                    streams::append(&*self.ground.log, topic, id, &node.id, batch)?;
                }
            }
        }
        self.hand_on(index, out)
    }

    /// Books what a step had to say, and takes what it puts out to the steps behind it.
    fn hand_on(&mut self, index: usize, out: Output) -> Result<(), JobError> {
        let emitted = self.enter(out);
        for batch in emitted {
            for branch in 0..self.spec.graph.nodes[index].next.len() {
                self.push(self.spec.graph.nodes[index].next[branch], batch.clone())?;
            }
        }
        Ok(())
    }

    /// Asks every step, from the first to the last, for what time sets free: what one puts out reaches the next before it is asked.
    pub(super) fn set_free(
        &mut self,
        mut ask: impl FnMut(&mut dyn Operator, &mut Output) -> Result<(), Halt>,
    ) -> Result<(), JobError> {
        (0..self.spec.graph.nodes.len()).try_for_each(|index| self.ask(index, &mut ask))
    }

    fn ask(
        &mut self,
        index: usize,
        ask: impl FnOnce(&mut dyn Operator, &mut Output) -> Result<(), Halt>,
    ) -> Result<(), JobError> {
        let node = &mut self.spec.graph.nodes[index];
        let Work::Operator(operator) = &mut node.work else { return Ok(()) };
        let mut out = Output::new(node.id.clone(), self.spec.keep_passed);
        ask(&mut **operator, &mut out)?;
        if !out.emitted.is_empty() {
            self.open.touched = true;
            self.open.since.get_or_insert(self.ground.clock.elapsed());
        }
        self.hand_on(index, out)
    }

    /// Books what a step had to say; returns what it puts out.
    pub(super) fn enter(&mut self, out: Output) -> Vec<Batch> {
        self.run.pages.step(out.step()).add(&out.books);
        self.past.enter(&out.books);
        if out.null_keys > 0 {
            *self.run.null_keys.entry(out.step().clone()).or_default() += out.null_keys;
        }
        if out.late_windows > 0 {
            *self.run.late_windows.entry(out.step().clone()).or_default() += out.late_windows;
        }
        if out.warned > 0 {
            *self.run.warned.entry(out.step().clone()).or_default() += out.warned;
        }
        self.open.dead.extend(out.dead);
        self.open.ledger.extend(out.ledger);
        out.emitted
    }
}

/// The dead letter of a record that is no row.
pub(crate) fn letter(step: &StepId, rejected: Rejected) -> DeadLetter {
    DeadLetter {
        step: step.clone(),
        reason: rejected.reason,
        place: rejected.place,
        time: rejected.time,
        epoch: 0,
        bytes: rejected.bytes,
        length: rejected.length,
        hash: syncline_record::keys::hex128(rejected.hash),
        headers: rejected.headers,
    }
}
