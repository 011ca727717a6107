//! JOIN with a table: each row with the columns of the table's rows that have its key.
//!
//! A row that matches nothing is filtered (`unmatched`), or goes on with NULLs (`LEFT`). NULL keys match nothing. A row that matches
//! several goes on as often, each time from its own place, so that whatever fails later still finds the original bytes. A delete always
//! goes on: what was written with an older table must go away too.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt8Array, UInt32Array},
    compute::take,
    datatypes::{Field, Schema, SchemaRef},
};
use syncline_functions::{Predicate, Projection, fingerprints};
use syncline_record::{Batch, Epoch, Fate, Generation, Op, Reason, RowFailure, StepId, batch::OP};

use super::{
    arms::{ID, numbered},
    lookup::SEVERAL,
    present::put_column,
};
use crate::{
    operator::{Damaged, Delta, Halt, Operator, Output, StateSize, of_rows},
    table::{Shelf, Table},
};

/// The reason of a row that nothing belongs to.
pub const UNMATCHED: &str = "unmatched";

/// Pairs that are made at a time: a key with many rows must not make one huge batch.
const PAIRS: usize = 8192;

/// Bytes of a record that was reported, in a segment: its hash.
const ENTRY: usize = 16;

pub struct TableJoin {
    key: Projection,
    /// Judged on each pair.
    residual: Option<Predicate>,
    shelf: Arc<Shelf>,
    left: bool,
    /// A row takes one row of the table at most (`LOOKUP`): one that could take several is dead.
    single: bool,
    /// A `REPLACE … PER` follows: a row that matches nothing goes on as a `Clear` of its group.
    clears_groups: bool,
    /// `_id` says which match of its row a row is: the step's id, which tells its matches from those of other steps.
    ids: Option<StepId>,
}

/// A row of the batch, and the row of the table that goes with it.
type Pair = (u32, Option<u32>);

/// What became of the rows of a batch.
#[derive(Default)]
struct Fates {
    passed: Vec<usize>,
    unmatched: Vec<usize>,
    failed: Vec<RowFailure>,
}

impl TableJoin {
    pub fn new(
        key: Projection,
        residual: Option<Predicate>,
        shelf: Arc<Shelf>,
        left: bool,
        clears_groups: bool,
    ) -> Self {
        Self { key, residual, shelf, left, single: false, clears_groups, ids: None }
    }

    /// Of several rows that match nothing says which is meant.
    pub fn single(mut self) -> Self {
        self.single = true;
        self
    }

    /// The rows of an arm have ids, and several matches of one row must not share it.
    pub fn with_ids(mut self, step: StepId) -> Self {
        self.ids = Some(step);
        self
    }

    /// The columns behind the join.
    pub fn schema(before: &Schema, table: &Schema) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = before.fields().iter().cloned().collect();
        fields.extend(table.fields().iter().cloned());
        Arc::new(Schema::new(fields))
    }

    /// The table's rows for each row, `None` for one whose key failed.
    fn matches<'t>(&self, batch: &Batch, table: &'t Table, fates: &mut Fates) -> Vec<&'t [u32]> {
        let key = self.key.apply(&batch.rows);
        fates.failed = of_rows(batch, key.failed);
        let schema = key.rows.schema();
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
        let mut prints = vec![];
        let valid = fingerprints(key.rows.columns(), &fields, &mut prints);
        let found = |row: usize| match valid.as_ref().is_none_or(|valid| valid.is_valid(row)) {
            true => table.find(prints[row]),
            false => &[],
        };
        let mut matches: Vec<&'t [u32]> = (0..batch.len()).map(found).collect();
        if self.single {
            for (row, found) in matches.iter_mut().enumerate().filter(|(_, found)| found.len() > 1) {
                let reason = Reason::new(SEVERAL, format!("{} rows have its key", found.len()));
                fates.failed.push(RowFailure { row: row as u32, reason });
                *found = &[];
            }
            fates.failed.sort_by_key(|failure| failure.row);
        }
        matches
    }

    /// Of the pairs of some rows those that the residual condition lets pass.
    fn judged(&self, batch: &Batch, table: &Table, pairs: Vec<Pair>, failed: &mut Vec<RowFailure>) -> Vec<Pair> {
        let Some(residual) = &self.residual else { return pairs };
        let verdict = residual.judge(&combined(&batch.rows, &table.rows, &pairs));
        for failure in verdict.failed {
            let row = pairs[failure.row as usize].0;
            if failed.last().is_none_or(|last| last.row != row) {
                failed.push(RowFailure { row, reason: failure.reason });
            }
        }
        let kept = pairs.into_iter().zip(verdict.keep.iter());
        kept.filter_map(|(pair, keep)| keep.unwrap_or(false).then_some(pair)).collect()
    }

    /// The pairs that go out for the rows `from..to`.
    fn settle(
        &self,
        batch: &Batch,
        rows: std::ops::Range<usize>,
        pairs: &[Pair],
        failed: &[RowFailure],
        fates: &mut Fates,
    ) -> Vec<Pair> {
        let operations = batch.operations();
        let mut going = Vec::with_capacity(pairs.len().max(rows.len()));
        let mut pairs = pairs.iter().peekable();
        for row in rows {
            let before = going.len();
            while let Some(pair) = pairs.next_if(|pair| pair.0 as usize == row) {
                going.push(*pair);
            }
            let is_dead = |failed: &[RowFailure]| failed.binary_search_by_key(&(row as u32), |f| f.row).is_ok();
            if is_dead(failed) || is_dead(&fates.failed) {
                going.truncate(before);
                continue;
            }
            if operations.is_clear(row) {
                going.truncate(before);
                going.push((row as u32, None));
                continue;
            }
            let matched = going.len() > before;
            if !matched && !self.left && operations.get(row) != Op::Delete {
                fates.unmatched.push(row);
                if self.clears_groups {
                    going.push((row as u32, None));
                }
                continue;
            }
            if !matched {
                going.push((row as u32, None));
            }
            fates.passed.push(row);
        }
        going
    }

    /// The ids of `rows`, one for each match.
    fn identified(&self, rows: RecordBatch, pairs: &[Pair]) -> RecordBatch {
        let Some(step) = &self.ids else { return rows };
        let Some(before) = rows.column_by_name(ID) else { return rows };
        let mut ordinals = Vec::with_capacity(pairs.len());
        for matches in pairs.chunk_by(|one, other| one.0 == other.0) {
            ordinals.extend(0..matches.len() as u32);
        }
        let ids = numbered(before, step, ordinals.into_iter());
        put_column(&rows, ID, ids)
    }

    fn marked(&self, batch: &Batch, rows: RecordBatch, pairs: &[Pair], unmatched: &[usize]) -> RecordBatch {
        if !self.clears_groups {
            return rows;
        }
        let before = batch.operations();
        let op = |(row, _): &Pair| match unmatched.binary_search(&(*row as usize)) {
            Ok(_) => before.get(*row as usize).cleared() as u8,
            Err(_) => before.get(*row as usize) as u8,
        };
        put_column(&rows, OP, Arc::new(UInt8Array::from_iter_values(pairs.iter().map(op))) as ArrayRef)
    }
}

/// The columns of the batch and of the table, row by row of `pairs`.
pub(super) fn combined(batch: &RecordBatch, table: &RecordBatch, pairs: &[Pair]) -> RecordBatch {
    let own = UInt32Array::from_iter_values(pairs.iter().map(|pair| pair.0));
    let its: UInt32Array = pairs.iter().map(|pair| pair.1).collect();
    let taken = |columns: &[ArrayRef], rows: &UInt32Array| -> Vec<ArrayRef> {
        columns.iter().map(|column| take(column, rows, None).expect("rows that are there")).collect()
    };
    let mut columns = taken(batch.columns(), &own);
    columns.extend(taken(table.columns(), &its));
    let schema = TableJoin::schema(&batch.schema(), &table.schema());
    let options = RecordBatchOptions::new().with_row_count(Some(pairs.len()));
    RecordBatch::try_new_with_options(schema, columns, &options).expect("columns of one length")
}

impl Operator for TableJoin {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let table = self.shelf.table();
        let mut fates = Fates::default();
        let matches = self.matches(&batch, &table, &mut fates);
        let mut released = vec![];
        let mut from = 0;
        while from < batch.len() {
            let mut pairs: Vec<Pair> = vec![];
            let mut to = from;
            while to < batch.len() && (to == from || pairs.len() + matches[to].len() <= PAIRS) {
                pairs.extend(matches[to].iter().map(|row| (to as u32, Some(*row))));
                to += 1;
            }
            let mut failed = vec![];
            let pairs = self.judged(&batch, &table, pairs, &mut failed);
            let failed = of_rows(&batch, failed);
            let going = self.settle(&batch, from..to, &pairs, &failed, &mut fates);
            fates.failed.extend(failed);
            fates.failed.sort_by_key(|failure| failure.row);
            if !going.is_empty() {
                let rows = self.identified(combined(&batch.rows, &table.rows, &going), &going);
                released.push(batch.with_rows(self.marked(&batch, rows, &going, &fates.unmatched)));
            }
            from = to;
        }
        out.dead(&batch, &fates.failed);
        out.stop(&batch, &fates.unmatched, Fate::Filtered, UNMATCHED);
        out.pass(&batch, &fates.passed);
        released.into_iter().for_each(|batch| out.release(batch));
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        let told: Vec<u8> = self.shelf.take_fresh().into_iter().flat_map(u128::to_le_bytes).collect();
        let appended = if told.is_empty() { vec![] } else { vec![(0, told)] };
        Ok(Delta { appended, expired: vec![] })
    }

    fn restore(&mut self, _generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        if !body.len().is_multiple_of(ENTRY) {
            return Err(Damaged(format!("{} bytes are no whole number of hashes", body.len())));
        }
        for entry in body.chunks_exact(ENTRY) {
            self.shelf.remember(u128::from_le_bytes(entry.try_into().unwrap_or_default()));
        }
        Ok(())
    }

    /// Not keys: an edit may lose them, and then bad lines are told once more.
    fn size(&self) -> StateSize {
        StateSize { keys: 0, bytes: (self.shelf.told() * ENTRY) as u64 }
    }
}
