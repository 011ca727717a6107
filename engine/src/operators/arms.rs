//! SHARD BY k INTO (PRIMARY …, DERIVED …): sends every record through every arm.
//!
//! The primary's `DELETE WHEN` is judged here, so that derived arms know of a delete too. A row whose key is NULL still goes
//! through every arm: sinks decide about NULL keys.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray, UInt8Array};
use syncline_functions::{Predicate, Projection};
use syncline_record::{Batch, Op, StepId, batch::OP, keys::derived_id};

use super::{lanes::keys_of, present::put_column};
use crate::operator::{Halt, Operator, Output, of_rows, without};

/// The id of a row in an arm, shown as `_id` where a pipeline reads it.
pub const ID: &str = "_id";

/// Marks deletes and checks that the key can be computed; the graph then gives the batch to every arm.
pub struct Arms {
    key: Projection,
    delete_when: Option<Predicate>,
}

impl Arms {
    pub fn new(key: Projection, delete_when: Option<Predicate>) -> Self {
        Self { key, delete_when }
    }
}

impl Operator for Arms {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let mut failed = of_rows(&batch, self.key.apply(&batch.rows).failed);
        let mut rows = batch.rows.clone();
        if let Some(predicate) = &self.delete_when {
            let verdict = predicate.judge(&rows);
            let known: Vec<u32> = failed.iter().map(|failure| failure.row).collect();
            let before = batch.operations();
            // What is a delete already is not asked whether it is one.
            let asked = |row: u32| before.get(row as usize) != Op::Delete && !known.contains(&row);
            failed.extend(of_rows(&batch, verdict.failed).into_iter().filter(|failure| asked(failure.row)));
            failed.sort_by_key(|failure| failure.row);
            let ops: UInt8Array = (0..batch.len())
                .map(|row| Some(if verdict.keep.value(row) { Op::Delete as u8 } else { before.get(row) as u8 }))
                .collect();
            rows = put_column(&rows, OP, Arc::new(ops) as ArrayRef);
        }
        out.dead(&batch, &failed);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}

/// The first step of an arm that reads `_id`: derives it from the shard key, the arm's name and the row's ordinal.
pub struct Ids {
    key: Projection,
    arm: String,
}

impl Ids {
    pub fn new(key: Projection, arm: String) -> Self {
        Self { key, arm }
    }
}

impl Operator for Ids {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let keys = keys_of(&self.key.apply(&batch.rows).rows);
        let ids: StringViewArray =
            (0..batch.len()).map(|row| keys.get(row).map(|key| derived_id(key, &self.arm, 0))).collect();
        let rows = put_column(&batch.rows, ID, Arc::new(ids) as ArrayRef);
        out.emit(batch.with_rows(rows));
        Ok(())
    }
}

/// The ids of rows that a step makes of one: the first keeps its id, the others have their number in it. The step's own id is in it
/// too, since the second row of the first that one step makes is not the first row of the second.
pub(super) fn numbered(before: &ArrayRef, step: &StepId, ordinals: impl Iterator<Item = u32>) -> ArrayRef {
    let id = |(id, ordinal): (Option<&str>, u32)| match ordinal {
        0 => id.map(str::to_owned),
        ordinal => id.map(|id| derived_id(id.as_bytes(), step.as_str(), ordinal)),
    };
    Arc::new(before.as_string_view().iter().zip(ordinals).map(id).collect::<StringViewArray>())
}
