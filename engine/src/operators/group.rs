//! The group of a `REPLACE … PER`, computed before any step that could drop or multiply rows.
//!
//! It travels as the hidden column `__group` (the key's bytes as text). A row whose group is NULL is dead.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringViewArray};
use syncline_functions::Projection;
use syncline_record::{Batch, RowFailure, batch::GROUP};

use super::{lanes::keys_of, present::put_column};
use crate::operator::{Halt, Operator, Output, null_key, of_rows, without};

pub struct Group {
    key: Projection,
    name: String,
}

impl Group {
    /// `name`: the columns as the user wrote them, for the reason of a NULL.
    pub fn new(key: Projection, name: String) -> Self {
        Self { key, name }
    }
}

impl Operator for Group {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let key = self.key.apply(&batch.rows);
        let keys = keys_of(&key.rows);
        let mut failed = of_rows(&batch, key.failed);
        let groups: StringViewArray = (0..batch.len()).map(|row| keys.get(row).map(String::from_utf8_lossy)).collect();
        for row in 0..batch.len() {
            let known = failed.iter().any(|failure| failure.row as usize == row);
            if keys.get(row).is_none() && !known {
                failed.push(RowFailure { row: row as u32, reason: null_key(&self.name) });
            }
        }
        failed.sort_by_key(|failure| failure.row);
        out.dead(&batch, &failed);
        let rows = put_column(&batch.rows, GROUP, Arc::new(groups) as ArrayRef);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}
