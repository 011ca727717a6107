//! SELECT, EXTEND, SET, DROP, RENAME: other columns for the same rows.
//!
//! Hidden columns travel along. A row on which an expression fails is dead.

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema, SchemaRef},
};
use std::sync::Arc;
use syncline_functions::Projection;
use syncline_record::Batch;

use crate::operator::{Halt, Operator, Output, of_rows, without};

/// One batch in, at most one out.
pub struct Project {
    projection: Projection,
    schema: SchemaRef,
}

impl Project {
    pub fn new(projection: Projection, input: &Schema) -> Self {
        let made = projection.schema();
        let mut fields: Vec<Arc<Field>> = made.fields().iter().cloned().collect();
        fields.extend(input.fields().iter().filter(|field| is_hidden(field)).cloned());
        Self { projection, schema: Arc::new(Schema::new(fields)) }
    }

    /// Columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

fn is_hidden(field: &Field) -> bool {
    field.name().starts_with("__")
}

impl Operator for Project {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let projected = self.projection.apply(&batch.rows);
        let mut fields: Vec<Arc<Field>> = projected.rows.schema().fields().iter().cloned().collect();
        let mut columns = projected.rows.columns().to_vec();
        // Hidden columns are taken by what they are called: steps in between may have added one.
        for (field, column) in batch.rows.schema().fields().iter().zip(batch.rows.columns()) {
            if is_hidden(field) {
                fields.push(field.clone());
                columns.push(column.clone());
            }
        }
        let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Halt::Broken {
            step: out.step().clone(),
            detail: format!("columns do not fit together: {error}"),
        })?;
        let failed = of_rows(&batch, projected.failed);
        out.dead(&batch, &failed);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}
