//! WHERE: keeps the rows whose predicate is true.
//!
//! NULL is filtered, as in SQL. A row on which the predicate fails is dead, and the rest of the batch goes on.
//! Of a delete that has only its key the other parts of the condition are not asked: what an earlier row let through has to go away too. Order is kept. There is no state, so a filter survives any edit of the file around it.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray, UInt8Array},
    buffer::BooleanBuffer,
};
use syncline_functions::{Predicate, Verdict};
use syncline_record::{Batch, Fate, Op, RowFailure, batch::OP};

use crate::operator::{Halt, Operator, Output, of_rows, without};

/// One batch in, at most one out: at most as many rows, never an empty batch. The columns are the same, and with `clears_groups` also
/// `__op`, in every batch, so that later steps find each column where they were compiled to find it.
pub struct Filter {
    predicate: Predicate,
    /// A `REPLACE … PER` follows: a filtered row goes on as a `Clear` of its group.
    clears_groups: bool,
    of_deletes: Option<Predicate>,
}

impl Filter {
    pub fn new(predicate: Predicate, clears_groups: bool) -> Self {
        Self { predicate, clears_groups, of_deletes: None }
    }

    /// Deletes are asked this, and nothing else.
    pub fn of_deletes(self, of_deletes: Option<Predicate>) -> Self {
        Self { of_deletes, ..self }
    }

    fn judge(&self, batch: &Batch) -> Verdict {
        let verdict = self.predicate.judge(&batch.rows);
        let (Some(of_deletes), Some(_)) = (&self.of_deletes, batch.ops()) else { return verdict };
        let ops = batch.operations();
        let is_delete = |row: usize| ops.get(row) == Op::Delete;
        let other = of_deletes.judge(&batch.rows);
        let keep = (0..batch.len()).map(|row| if is_delete(row) { &other.keep } else { &verdict.keep }.value(row));
        let keep = BooleanArray::new(keep.collect::<BooleanBuffer>(), None);
        let mut failed: Vec<RowFailure> =
            verdict.failed.into_iter().filter(|one| !is_delete(one.row as usize)).collect();
        failed.extend(other.failed.into_iter().filter(|one| is_delete(one.row as usize)));
        failed.sort_by_key(|failure| failure.row);
        let not_true = batch.len() - keep.true_count() - failed.len();
        Verdict { keep, failed, not_true }
    }
}

impl Operator for Filter {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let verdict = self.judge(&batch);
        let failed = of_rows(&batch, verdict.failed);
        let ops = batch.operations();
        let dead: Vec<u32> = failed.iter().map(|failure| failure.row).collect();
        let filtered: Vec<usize> = (0..batch.len())
            .filter(|row| {
                !verdict.keep.value(*row) && dead.binary_search(&(*row as u32)).is_err() && !ops.is_clear(*row)
            })
            .collect();
        out.stop(&batch, &filtered, Fate::Filtered, "filtered");
        out.dead(&batch, &failed);
        if self.clears_groups {
            let marked = clear(&batch, &filtered);
            out.emit(marked.keep(&without(batch.len(), &failed)));
        } else {
            out.emit(batch.keep(&verdict.keep));
        }
        Ok(())
    }
}

/// The same rows, of which those in `filtered` only clear their group.
pub fn clear(batch: &Batch, filtered: &[usize]) -> Batch {
    let before = batch.operations();
    let mut ops: Vec<u8> = (0..batch.len()).map(|row| before.get(row) as u8).collect();
    for row in filtered {
        ops[*row] = before.get(*row).cleared() as u8;
    }
    batch.with_rows(super::present::put_column(&batch.rows, OP, Arc::new(UInt8Array::from(ops)) as ArrayRef))
}
