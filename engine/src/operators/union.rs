//! UNION ALL: rows of several inputs go on as one.
//!
//! Each batch stays one of its own partition, with its own places, times and watermark; only its columns are put in the order that the
//! steps behind were compiled for. Nothing is dropped.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt8Array, new_null_array},
    datatypes::{Field, Schema, SchemaRef},
};
use syncline_record::{
    Batch, Op,
    batch::{MARK, OP},
    time::NO_WATERMARK,
};

use crate::operator::{Halt, Operator, Output};

pub struct Union {
    schema: SchemaRef,
}

impl Union {
    /// The columns of the first, and every hidden column that one of the sides has.
    pub fn new(sides: &[SchemaRef]) -> Self {
        let mut fields: Vec<Arc<Field>> = vec![];
        for (index, side) in sides.iter().enumerate() {
            for field in side.fields() {
                let known = fields.iter().any(|other| other.name() == field.name());
                if !known && (index == 0 || field.name().starts_with("__")) {
                    let never_null = [MARK, syncline_record::batch::ROW].contains(&field.name().as_str());
                    fields.push(Arc::new(field.as_ref().clone().with_nullable(!never_null)));
                }
            }
        }
        Self { schema: Arc::new(Schema::new(fields)) }
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Operator for Union {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let column = |field: &Arc<Field>| match batch.rows.column_by_name(field.name()) {
            Some(column) => column.clone(),
            None => absent(field, batch.len()),
        };
        let columns = self.schema.fields().iter().map(column).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(|error| {
            Halt::Broken { step: out.step().clone(), detail: format!("columns do not fit together: {error}") }
        })?;
        out.emit(batch.with_rows(rows));
        Ok(())
    }
}

/// What a hidden column says of rows whose side does not have it: never late, an insert, nothing known.
fn absent(field: &Field, rows: usize) -> ArrayRef {
    match field.name().as_str() {
        MARK => Arc::new(Int64Array::from_value(NO_WATERMARK, rows)),
        OP => Arc::new(UInt8Array::from_value(Op::Insert as u8, rows)),
        _ => new_null_array(field.data_type(), rows),
    }
}
