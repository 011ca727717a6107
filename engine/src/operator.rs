//! What a step is to the engine: rows in, rows out, a fate for every row, and state that is a log of segments.

use std::sync::Arc;

use arrow::{array::BooleanArray, buffer::BooleanBuffer};
use syncline_record::{
    Batch, DeadLetter, Epoch, Fate, Generation, Micros, Partition, Reason, RowFailure, StepBooks, StepId,
};

use crate::fingerprints::Layout;

#[cfg(test)]
pub(crate) mod harness;
pub mod row_keys;

pub use row_keys::{LedgerKey, LedgerKeys, RowKeys};

/// A reason to stop the pipeline. Nothing of the open epoch is committed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// `EXPECT … ON VIOLATION FAIL`
    #[error("{step}: the expectation does not hold at {place}: {detail}")]
    Violation { step: StepId, place: String, detail: String },
    #[error("{step}: {detail}")]
    Broken { step: StepId, detail: String },
}

/// A segment that cannot be what this step wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Damaged(pub String);

/// Keys and bytes that a step holds in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateSize {
    pub keys: u64,
    pub bytes: u64,
}

/// What a step changed since the last epoch, as segment bodies.
#[derive(Debug, Default)]
pub struct Delta {
    /// Bodies to append, per generation. Two bodies one after the other are a body.
    pub appended: Vec<(Generation, Vec<u8>)>,
    /// Generations that are gone as a whole.
    pub expired: Vec<Generation>,
}

/// The way by which rows come into a step: only a join has more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Left,
    Right,
}

/// One step of a chain. Called by one thread; never waits, never logs, never fails for a bad row.
pub trait Operator: Send {
    /// Takes a batch and reports a fate for every row of it through `out`. Order is kept.
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt>;

    /// The same for rows that come in on the right of a join.
    fn push_right(&mut self, _batch: Batch, out: &mut Output) -> Result<(), Halt> {
        Err(Halt::Broken { step: out.step().clone(), detail: "this step has one way in".into() })
    }

    /// The lowest watermark of the partitions that are waited for; never goes back. Called before `close`, and after `restore` with
    /// what it was at the last `close`. What this sets free (windows that are complete) goes out with [`Output::release`]; after a
    /// `restore` there is nothing to set free, since the epoch that moved the watermark has committed it.
    fn advance(&mut self, _lowest: Micros, _out: &mut Output) -> Result<(), Halt> {
        Ok(())
    }

    /// All inputs that lead here are at their end: what waits for time goes out. Called once, after the last `push`; others may go on.
    fn finish(&mut self, _out: &mut Output) -> Result<(), Halt> {
        Ok(())
    }

    /// The epoch is closed: hands over what changed. Steps without state have nothing to say. A step that cannot halts the pipeline:
    /// nothing of the epoch is committed.
    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        Ok(Delta::default())
    }

    /// At the start, before the first `restore`: so much state comes back.
    fn expect(&mut self, _keys: usize) {}

    /// At the start, behind the last `restore`: all of it is back.
    fn restored(&mut self) {}

    /// At the start: takes back a body that `close` handed over. Bodies of a generation come in the order of their epochs.
    fn restore(&mut self, _generation: Generation, _body: &[u8]) -> Result<(), Damaged> {
        Err(Damaged("this step has no state".into()))
    }

    /// At the start, before everything else: what comes back was kept by this step when it was defined otherwise. `Some`: it can be read, and
    /// what becomes of its keys, in words for people; the first `close` then hands over all of it, as the step keeps it now.
    fn adopts(&mut self, _then: &Layout, _now: &Layout) -> Option<String> {
        None
    }

    fn size(&self) -> StateSize {
        StateSize::default()
    }
}

/// Offsets of rows that shared a fate, for the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    pub step: StepId,
    pub fate: Fate,
    pub reason: Arc<str>,
    pub partition: Partition,
    pub offsets: Vec<u64>,
    /// What the step knew each of the rows by; empty where it goes by no key.
    pub keys: LedgerKeys,
}

/// What a step has to say about the batch it was given.
pub struct Output {
    step: StepId,
    keep_passed: bool,
    pub(crate) emitted: Vec<Batch>,
    pub(crate) books: StepBooks,
    pub(crate) dead: Vec<DeadLetter>,
    pub(crate) ledger: Vec<LedgerEntry>,
    pub(crate) null_keys: u64,
    pub(crate) late_windows: u64,
    pub(crate) warned: u64,
}

impl Output {
    /// `keep_passed`: passed rows are kept in the ledger too (`ledger = 'all'`).
    pub fn new(step: StepId, keep_passed: bool) -> Self {
        Self {
            step,
            keep_passed,
            emitted: vec![],
            books: StepBooks::default(),
            dead: vec![],
            ledger: vec![],
            null_keys: 0,
            late_windows: 0,
            warned: 0,
        }
    }

    pub fn step(&self) -> &StepId {
        &self.step
    }

    /// What the step has put out so far.
    pub fn put_out(&self) -> &[Batch] {
        &self.emitted
    }

    /// Rows that go on: each has the fate `passed`. An empty batch is dropped.
    pub fn emit(&mut self, batch: Batch) {
        self.emit_by(batch, |_| LedgerKeys::default());
    }

    /// The same of a step that goes by a key; `keys` are asked for the rows of `batch`, where the ledger is to name them.
    pub fn emit_by(&mut self, batch: Batch, keys: impl FnOnce(&[usize]) -> LedgerKeys) {
        if batch.is_empty() {
            return;
        }
        let rows = counted(&batch);
        self.books.count(Fate::Passed, rows);
        self.books.rows_out += rows;
        if self.keep_passed {
            let ops = batch.operations();
            let all: Vec<usize> = (0..batch.len()).filter(|row| !ops.is_clear(*row)).collect();
            let keys = keys(&all);
            self.enter_by(&batch, &all, (Fate::Passed, "passed"), keys);
        }
        self.emitted.push(batch);
    }

    /// Rows that a step made of what it had absorbed: counted as output, and nobody's fate.
    pub fn release(&mut self, batch: Batch) {
        if batch.is_empty() {
            return;
        }
        self.books.rows_out += counted(&batch);
        self.emitted.push(batch);
    }

    /// Rows of `batch` that went on, as other rows in other numbers (`UNNEST`, a join): the rows that went in have the fate `passed`,
    /// what goes out is given to [`Output::release`].
    pub fn pass(&mut self, batch: &Batch, rows: &[usize]) {
        self.books.count(Fate::Passed, rows.len() as u64);
        if self.keep_passed {
            self.enter(batch, rows, Fate::Passed, "passed");
        }
    }

    /// Rows of `batch` (by index) that the step keeps: what comes of them goes out later. As those that pass, they are in the ledger
    /// only where it is to name all.
    pub fn absorb(&mut self, batch: &Batch, rows: &[usize], reason: &str) {
        self.books.count(Fate::Absorbed, rows.len() as u64);
        if self.keep_passed {
            self.enter(batch, rows, Fate::Absorbed, reason);
        }
    }

    /// The same for all rows of a batch of inserts.
    pub fn absorb_all(&mut self, batch: &Batch, reason: &str) {
        match self.keep_passed {
            true => self.absorb(batch, &(0..batch.len()).collect::<Vec<_>>(), reason),
            false => self.books.count(Fate::Absorbed, batch.len() as u64),
        }
    }

    /// Windows that rows came too late for which count in others (`hop`).
    pub fn late_windows(&mut self, windows: u64) {
        self.late_windows += windows;
    }

    /// Rows that break a rule which only warns, and go on.
    pub fn warned(&mut self, rows: u64) {
        self.warned += rows;
    }

    /// Rows of `batch` (by index) that stop here, in order.
    pub fn stop(&mut self, batch: &Batch, rows: &[usize], fate: Fate, reason: &str) {
        if rows.is_empty() {
            return;
        }
        self.books.count(fate, rows.len() as u64);
        self.enter(batch, rows, fate, reason);
    }

    /// The same of a step that goes by a key.
    pub fn stop_by(&mut self, batch: &Batch, rows: &[usize], (fate, reason): (Fate, &str), keys: &RowKeys<'_>) {
        if rows.is_empty() {
            return;
        }
        self.books.count(fate, rows.len() as u64);
        self.enter_by(batch, rows, (fate, reason), keys.of(rows));
    }

    /// Rows that never came, since the source knew that this step would filter them.
    pub fn left_out(&mut self, partition: Partition, offsets: std::ops::Range<u64>) {
        self.books.count(Fate::Filtered, offsets.end - offsets.start);
        let (step, reason) = (self.step.clone(), Arc::from("filtered"));
        let offsets = offsets.collect();
        self.ledger.push(LedgerEntry {
            step,
            fate: Fate::Filtered,
            reason,
            partition,
            offsets,
            keys: LedgerKeys::default(),
        });
    }

    /// Rows of `batch` that failed: each becomes a dead letter with its original bytes.
    pub fn dead(&mut self, batch: &Batch, failures: &[RowFailure]) {
        let ids = batch.row_ids();
        for failure in failures {
            let row = ids.value(failure.row as usize) as usize;
            self.dead.push(batch.origin.dead(row, &self.step, failure.reason.clone()));
            self.enter(batch, &[failure.row as usize], Fate::Dead, &failure.reason.slug);
        }
        self.books.count(Fate::Dead, failures.len() as u64);
    }

    /// A record that never became a row.
    pub fn dead_record(&mut self, letter: DeadLetter) {
        self.ledger.push(LedgerEntry {
            step: self.step.clone(),
            fate: Fate::Dead,
            reason: Arc::from(letter.reason.slug.as_str()),
            partition: letter.place.partition.clone(),
            offsets: vec![letter.place.offset],
            keys: LedgerKeys::default(),
        });
        self.books.count(Fate::Dead, 1);
        self.dead.push(letter);
    }

    /// Rows that were emitted, but that the sink behind this step refused.
    pub fn refuse(&mut self, batch: &Batch, failures: &[RowFailure]) {
        let failures = of_rows(batch, failures.to_vec());
        let rows = failures.len() as u64;
        self.books.fates[Fate::Passed as usize] -= rows;
        self.books.rows_out -= rows;
        for failure in &failures {
            let row = batch.row_ids().value(failure.row as usize) as usize;
            self.take_back(batch.origin.offsets[row]);
        }
        self.dead(batch, &failures);
    }

    /// Rows that were emitted, but that now lie in a log: they have no fate until the sink behind it decides. The log counts every
    /// row, those that only clear a group too.
    pub fn hold(&mut self, rows: u64) {
        self.books.fates[Fate::Passed as usize] -= rows;
        self.books.rows_out -= rows;
        self.books.waiting += rows;
        self.ledger.retain(|entry| entry.fate != Fate::Passed);
    }

    /// A row that the ledger already named as passed has another fate.
    fn take_back(&mut self, offset: u64) {
        for entry in self.ledger.iter_mut().filter(|entry| entry.fate == Fate::Passed) {
            if let Some(index) = entry.offsets.iter().position(|passed| *passed == offset) {
                entry.offsets.remove(index);
                if !entry.keys.is_empty() {
                    entry.keys.remove(index);
                }
                return;
            }
        }
    }

    /// Rows that passed because their key is NULL: no two of them are the same.
    pub fn null_keys(&mut self, rows: u64) {
        self.null_keys += rows;
    }

    fn enter(&mut self, batch: &Batch, rows: &[usize], fate: Fate, reason: &str) {
        self.enter_by(batch, rows, (fate, reason), LedgerKeys::default());
    }

    fn enter_by(&mut self, batch: &Batch, rows: &[usize], (fate, reason): (Fate, &str), keys: LedgerKeys) {
        if rows.is_empty() {
            return;
        }
        let ids = batch.row_ids();
        let offsets = rows.iter().map(|row| batch.origin.offsets[ids.value(*row) as usize]);
        let same = self
            .ledger
            .last_mut()
            .filter(|last| last.fate == fate && &*last.reason == reason && last.partition == batch.origin.partition)
            .filter(|last| last.keys.is_empty() == keys.is_empty());
        match same {
            Some(last) => {
                last.offsets.extend(offsets);
                last.keys.append(&keys);
            }
            None => self.ledger.push(LedgerEntry {
                step: self.step.clone(),
                fate,
                reason: Arc::from(reason),
                partition: batch.origin.partition.clone(),
                offsets: offsets.collect(),
                keys,
            }),
        }
    }
}

/// Rows of a batch that the books count: a `Clear` is a message about a group, not a row.
pub fn counted(batch: &Batch) -> u64 {
    match batch.ops() {
        None => batch.len() as u64,
        Some(_) => (0..batch.len()).filter(|row| !batch.operations().is_clear(*row)).count() as u64,
    }
}

/// True for every row except those that failed.
pub fn without(rows: usize, failures: &[RowFailure]) -> BooleanArray {
    let mut keep = vec![true; rows];
    for failure in failures {
        keep[failure.row as usize] = false;
    }
    BooleanArray::new(BooleanBuffer::from(keep), None)
}

/// A failure of a row that only clears its group is none.
pub fn of_rows(batch: &Batch, failures: Vec<RowFailure>) -> Vec<RowFailure> {
    match batch.ops() {
        None => failures,
        Some(_) => failures.into_iter().filter(|f| !batch.operations().is_clear(f.row as usize)).collect(),
    }
}

/// The dead letter's reason for a key that is NULL.
pub fn null_key(what: &str) -> Reason {
    Reason::new("null-key", format!("{what} is NULL"))
}
