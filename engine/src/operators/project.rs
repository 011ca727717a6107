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
    hidden: Vec<usize>,
}

impl Project {
    pub fn new(projection: Projection, input: &Schema) -> Self {
        let hidden: Vec<usize> =
            (0..input.fields().len()).filter(|index| input.field(*index).name().starts_with("__")).collect();
        let made = projection.schema();
        let mut fields: Vec<Arc<Field>> = made.fields().iter().cloned().collect();
        fields.extend(hidden.iter().map(|index| input.fields()[*index].clone()));
        Self { projection, schema: Arc::new(Schema::new(fields)), hidden }
    }

    /// Columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

impl Operator for Project {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let projected = self.projection.apply(&batch.rows);
        let mut columns = projected.rows.columns().to_vec();
        columns.extend(self.hidden.iter().map(|index| batch.rows.column(*index).clone()));
        // A filter may have added `__op` after this step was built: it travels along as well.
        let mut schema = self.schema.clone();
        if batch.rows.num_columns() > 0 && schema.column_with_name(syncline_record::batch::OP).is_none() {
            if let Some(ops) = batch.rows.column_by_name(syncline_record::batch::OP) {
                let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
                fields.push(Arc::new(Field::new(syncline_record::batch::OP, ops.data_type().clone(), false)));
                columns.push(ops.clone());
                schema = Arc::new(Schema::new(fields));
            }
        }
        let rows = RecordBatch::try_new(schema, columns).map_err(|error| Halt::Broken {
            step: out.step().clone(),
            detail: format!("columns do not fit together: {error}"),
        })?;
        let failed = of_rows(&batch, projected.failed);
        out.dead(&batch, &failed);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}
