//! AGGREGATE … GROUP BY: rows become a row for each group, of a window of time or of all there is.
//!
//! A row is `absorbed` when it counts. It is late when the watermark of its own partition had passed the end of its window (of a
//! `hop`: of the last of them; it counts in those that are still open to it). What was closed although the row's own partition was
//! not that far is told apart: `late-idle` where nobody waited for the partition, `late-ended` where an earlier end of all inputs
//! closed the window. A window closes when the lowest watermark passes its end, and at the end of all inputs; a stop closes none.
//!
//! Without a window, groups go out at the end of all inputs, with their totals since the pipeline began: a later run over more
//! rows gives the new totals of the groups that it touched.
//!
//! State is kept as the sum of what each epoch added (`engine/functions/groups`): one generation per window, dropped when it closes.

pub(super) mod body;
pub(crate) mod release;
mod sessions;
mod span;
mod whole;
mod windows;

pub use span::Window;
pub use whole::Whole;
pub use windows::Windows;

use arrow::{
    array::{BooleanArray, RecordBatch},
    compute::filter_record_batch,
};
use syncline_functions::{Aggregates, ExprError, Groups, Projection};
use syncline_record::{Batch, Op, Reason, RowFailure, StepId};

use crate::fingerprints::Layout;
use crate::operator::{Damaged, Halt, Output, StateSize};

/// What the step computes, over the columns of its input.
pub struct Recipe {
    /// With a window the time of the row, then the keys, then what the aggregates take.
    pub taken: Projection,
    pub aggregates: Aggregates,
}

/// Parts of a layout: the calls, each as [what it says with its types, columns of its state], as JSON; and the rest.
pub const CALLS: &str = "calls";

/// Which columns of a state of before are those of now.
#[derive(Clone, Debug)]
pub(super) struct Picked(Vec<usize>);

impl Picked {
    /// `keys`: columns in front of the calls' own. None: some call of now was none of before, and what it would have counted is not kept.
    fn of(then: &Layout, now: &Layout, keys: usize) -> Option<(Self, String)> {
        let calls =
            |layout: &Layout| -> Option<Vec<(String, usize)>> { serde_json::from_str(layout.parts.get(CALLS)?).ok() };
        let (before, wanted) = (calls(then)?, calls(now)?);
        if !then.differs_only_in(now, &[CALLS]) {
            return None;
        }
        let mut columns: Vec<usize> = (0..keys).collect();
        for call in &wanted {
            let at = before.iter().position(|before| before == call)?;
            let first = keys + before[..at].iter().map(|(_, states)| states).sum::<usize>();
            columns.extend(first..first + call.1);
        }
        let gone = before.iter().filter(|before| !wanted.contains(before)).map(|(says, _)| says.as_str());
        let gone: Vec<&str> = gone.map(|says| says.split(" of ").next().unwrap_or(says)).collect();
        let said = match gone.is_empty() {
            true => "its answers stay, in another order".to_owned(),
            false => format!("its answers stay but {}, which goes", gone.join(", ")),
        };
        Some((Self(columns), said))
    }

    fn from(&self, states: &RecordBatch) -> Result<RecordBatch, Damaged> {
        states.project(&self.0).map_err(|error| Damaged(error.to_string()))
    }
}

/// What the ledger calls a row that counts.
const ABSORBED: &str = "absorbed";

/// What an aggregate cannot take: it has no row to take back.
const CHANGE: &str = "change";

/// Rows that take something back are dead: a sum forgets what it was made of.
fn changes(batch: &Batch) -> Vec<RowFailure> {
    deletes(batch, "a delete reached an AGGREGATE, which has no row of it to take back")
}

/// Rows that take something back, where nothing can be taken back for this reason.
pub(super) fn deletes(batch: &Batch, detail: &str) -> Vec<RowFailure> {
    let ops = batch.operations();
    let rows = 0..if batch.ops().is_some() { batch.len() } else { 0 };
    let of = |row: &usize| matches!(ops.get(*row), Op::Delete);
    rows.filter(of).map(|row| RowFailure { row: row as u32, reason: Reason::new(CHANGE, detail) }).collect()
}

/// Both in order of row; of two for one row, the first.
pub(super) fn merged(mut one: Vec<RowFailure>, other: Vec<RowFailure>) -> Vec<RowFailure> {
    one.extend(other);
    one.sort_by_key(|failure| failure.row);
    one.dedup_by_key(|failure| failure.row);
    one
}

fn broken(out: &Output) -> impl Fn(ExprError) -> Halt + use<> {
    let step = out.step().clone();
    move |error| Halt::Broken { step: step.clone(), detail: error.to_string() }
}

/// The rows that are kept.
fn filtered(rows: &RecordBatch, keep: impl Iterator<Item = bool>) -> Result<RecordBatch, ExprError> {
    let keep = BooleanArray::from_iter(keep.map(Some));
    filter_record_batch(rows, &keep).map_err(|error| ExprError::other(error.to_string()))
}

/// Groups with what the open epoch added to them apart, so that an epoch writes only that.
#[derive(Default)]
struct Ledgered {
    total: Option<Groups>,
    fresh: Option<Groups>,
}

impl Ledgered {
    /// Where rows of this epoch go.
    fn fresh(&mut self, aggregates: &Aggregates) -> Result<&mut Groups, ExprError> {
        match &mut self.fresh {
            Some(fresh) => Ok(fresh),
            none => Ok(none.insert(aggregates.groups()?)),
        }
    }

    /// Takes back what was kept; `picked`: with other columns, so that it is written anew with the next epoch.
    fn restore(&mut self, aggregates: &Aggregates, picked: Option<&Picked>, body: &[u8]) -> Result<(), Damaged> {
        let damaged = |error: ExprError| Damaged(error.to_string());
        body::read(body, &mut |states| match picked {
            None => self.total(aggregates).and_then(|total| total.merge(states)).map_err(damaged),
            Some(picked) => {
                let states = picked.from(states)?;
                self.fresh(aggregates).and_then(|fresh| fresh.merge(&states)).map_err(damaged)
            }
        })
    }

    fn total(&mut self, aggregates: &Aggregates) -> Result<&mut Groups, ExprError> {
        match &mut self.total {
            Some(total) => Ok(total),
            none => Ok(none.insert(aggregates.groups()?)),
        }
    }

    /// What this epoch added, which becomes a part of the total.
    fn settle(&mut self, aggregates: &Aggregates) -> Result<Option<RecordBatch>, ExprError> {
        let Some(fresh) = self.fresh.as_mut().filter(|fresh| !fresh.is_empty()) else { return Ok(None) };
        let states = fresh.states()?;
        self.total(aggregates)?.merge(&states)?;
        Ok(Some(states))
    }

    /// The same as bodies of segments.
    fn bodies(&mut self, aggregates: &Aggregates, step: &StepId) -> Result<Vec<Vec<u8>>, Halt> {
        let states = self.settle(aggregates).map_err(|error| error.to_string());
        let bodies = states.and_then(|states| states.as_ref().map_or(Ok(vec![]), body::bodies));
        bodies.map_err(|detail| Halt::Broken { step: step.clone(), detail })
    }

    /// All that is known of every group, and keeps it.
    fn look(&mut self, aggregates: &Aggregates) -> Result<RecordBatch, ExprError> {
        let mut all = aggregates.groups()?;
        for groups in self.total.iter_mut().chain(&mut self.fresh).filter(|groups| !groups.is_empty()) {
            all.merge(&groups.look()?)?;
        }
        all.states()
    }

    /// All of it, this epoch's too.
    fn whole(mut self, aggregates: &Aggregates) -> Result<Groups, ExprError> {
        match (self.total.take(), self.fresh.take()) {
            (None, Some(groups)) | (Some(groups), None) => Ok(groups),
            (None, None) => aggregates.groups(),
            (Some(mut total), Some(mut fresh)) => {
                if !fresh.is_empty() {
                    total.merge(&fresh.states()?)?;
                }
                Ok(total)
            }
        }
    }

    fn size(&self) -> StateSize {
        let groups = self.total.iter().chain(&self.fresh);
        groups.fold(StateSize::default(), |sum, groups| StateSize {
            keys: sum.keys + groups.len() as u64,
            bytes: sum.bytes + groups.size() as u64,
        })
    }
}
