//! EXPECT … ON VIOLATION: a rule that rows should keep, and what happens to those that do not.
//!
//! A row keeps the rule when the predicate is true; NULL and false break it. Of a delete that has only its key nothing is expected.

use syncline_functions::Predicate;
use syncline_record::{Batch, Fate, Op, Reason, RowFailure};

use crate::operator::{Halt, Operator, Output, of_rows, without};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The row is filtered; the reason is the rule's name.
    Drop,
    /// The row is a dead letter.
    DeadLetter,
    /// The row passes; the violation is counted in `warned`, in the same commit as the row.
    Warn,
    /// The pipeline stops.
    Fail,
}

pub struct Expect {
    predicate: Predicate,
    name: String,
    violation: Violation,
    /// A `REPLACE … PER` follows: a dropped row goes on as a `Clear` of its group.
    clears_groups: bool,
    /// Rows that broke a rule that only warns, since the start of this process.
    warned: metrics::Counter,
    passes_deletes: bool,
}

impl Expect {
    pub fn new(
        predicate: Predicate,
        name: String,
        violation: Violation,
        clears_groups: bool,
        warned: metrics::Counter,
    ) -> Self {
        Self { predicate, name, violation, clears_groups, warned, passes_deletes: false }
    }

    /// Deletes are not asked.
    pub fn passing_deletes(self, passes_deletes: bool) -> Self {
        Self { passes_deletes, ..self }
    }
}

impl Operator for Expect {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let verdict = self.predicate.judge(&batch.rows);
        let mut failed = of_rows(&batch, verdict.failed);
        let ops = batch.operations();
        let passes = |row: usize| self.passes_deletes && ops.get(row) == Op::Delete;
        failed.retain(|failure| !passes(failure.row as usize));
        let broken: Vec<usize> = (0..batch.len())
            .filter(|row| !verdict.keep.value(*row) && !ops.is_clear(*row) && !passes(*row))
            .filter(|row| failed.binary_search_by_key(&(*row as u32), |failure| failure.row).is_err())
            .collect();
        match self.violation {
            Violation::Warn => {
                self.warned.increment(broken.len() as u64);
                out.warned(broken.len() as u64);
            }
            Violation::Drop => out.stop(&batch, &broken, Fate::Filtered, &self.name),
            Violation::DeadLetter => {
                failed.extend(broken.iter().map(|row| RowFailure {
                    row: *row as u32,
                    reason: Reason::new("expectation", format!("{} does not hold", self.name)),
                }));
                failed.sort_by_key(|failure| failure.row);
            }
            Violation::Fail => {
                if let Some(row) = broken.first() {
                    let place = batch.origin.place(batch.row_ids().value(*row) as usize).to_string();
                    return Err(Halt::Violation { step: out.step().clone(), place, detail: self.name.clone() });
                }
            }
        }
        out.dead(&batch, &failed);
        let mut gone = failed;
        if self.violation == Violation::Drop && self.clears_groups {
            out.emit(super::filter::clear(&batch, &broken).keep(&without(batch.len(), &gone)));
            return Ok(());
        }
        if self.violation == Violation::Drop {
            gone.extend(broken.iter().map(|row| RowFailure { row: *row as u32, reason: Reason::new("", "") }));
        }
        out.emit(batch.keep(&without(batch.len(), &gone)));
        Ok(())
    }
}
