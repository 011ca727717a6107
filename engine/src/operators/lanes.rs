//! SHARD BY k INTO n: a lane for every row, by Kafka's own partitioner, so that lane and partition agree.
//!
//! A key stays in its lane, in order. All NULL keys share lane 0.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use syncline_functions::{Keys, Projection};
use syncline_record::{Batch, batch::LANE, keys::lane};

use super::present::put_column;
use crate::operator::{Halt, Operator, Output, of_rows, without};

pub struct Lanes {
    key: Projection,
    lanes: u32,
}

impl Lanes {
    pub fn new(key: Projection, lanes: u32) -> Self {
        Self { key, lanes: lanes.max(1) }
    }
}

impl Operator for Lanes {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let key = self.key.apply(&batch.rows);
        let keys = keys_of(&key.rows);
        let lanes: UInt32Array =
            (0..batch.len()).map(|row| Some(keys.get(row).map_or(0, |key| lane(key, self.lanes)))).collect();
        let failed = of_rows(&batch, key.failed);
        out.dead(&batch, &failed);
        let rows = put_column(&batch.rows, LANE, Arc::new(lanes) as ArrayRef);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}

/// Key bytes of all columns of a projected key.
pub fn keys_of(rows: &arrow::array::RecordBatch) -> Keys {
    let schema = rows.schema();
    let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
    Keys::of(rows.columns(), &fields)
}
