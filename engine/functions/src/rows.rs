//! Compiled expressions over batches, where a row that fails, fails alone.
//!
//! A failing row never costs another one: it is NULL in the result, and named beside it once, with the first thing that went wrong
//! in the order of the columns. There is no state, so one compiled expression serves any number of batches.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array},
    buffer::BooleanBuffer,
    compute::{concat, nullif},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use datafusion::{
    common::Result,
    logical_expr::Expr,
    physical_expr::{PhysicalExpr, expressions::Column},
};
use syncline_record::Reason;

use crate::{
    ExprError, Planner, RowFailure, Typed, error, failures,
    guard::{positioned, with_position},
    sql_type_of,
};

/// A condition over batches of one schema.
#[derive(Clone, Debug)]
pub struct Predicate {
    condition: Arc<dyn PhysicalExpr>,
    schema: SchemaRef,
}

/// What a predicate says of a batch. Every row is kept, failed, or not true.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// True where the condition is true and did not fail; no NULLs.
    pub keep: BooleanArray,
    /// Once per row, in order.
    pub failed: Vec<RowFailure>,
    /// Rows that are neither kept nor failed: the condition is false or NULL.
    pub not_true: usize,
}

impl Predicate {
    /// `schema` is that of the batches. A JSON condition is taken as a boolean; any other type but BOOLEAN is a mismatch.
    pub fn new(planner: &Planner, typed: Typed, schema: &Schema) -> Result<Predicate, ExprError> {
        let found = sql_type_of(typed.field());
        if !matches!(found.as_str(), "BOOLEAN" | "JSON" | "NULL") {
            let message = format!("a condition is BOOLEAN, this is {found}");
            return Err(ExprError::TypeMismatch { message, left: Some(found), right: Some("BOOLEAN".to_owned()) });
        }
        let typed = planner.cast(typed, &DataType::Boolean)?;
        let condition = planner.compile(typed.expr, schema)?;
        Ok(Predicate { condition, schema: Arc::new(with_position(schema)) })
    }

    pub fn judge(&self, rows: &RecordBatch) -> Verdict {
        let count = rows.num_rows();
        let (values, failed) = evaluate_batch(&self.condition, &self.schema, rows);
        let values = values.as_boolean();
        let mut kept = match values.nulls() {
            Some(nulls) => values.values() & nulls.inner(),
            None => values.values().clone(),
        };
        let failed = failures::once_each(failed);
        if !failed.is_empty() {
            let mut bits: Vec<bool> = kept.iter().collect();
            failed.iter().for_each(|failure| bits[failure.row as usize] = false);
            kept = BooleanBuffer::from(bits);
        }
        let not_true = count - kept.count_set_bits() - failed.len();
        Verdict { keep: BooleanArray::new(kept, None), failed, not_true }
    }
}

/// Columns made from the columns of a batch.
#[derive(Clone, Debug)]
pub struct Projection {
    columns: Vec<Made>,
    input: SchemaRef,
    output: SchemaRef,
}

#[derive(Clone, Debug)]
enum Made {
    /// The input's column at this index, shared.
    Taken(usize),
    Computed(Arc<dyn PhysicalExpr>),
}

/// What a projection makes of a batch.
#[derive(Clone, Debug)]
pub struct Projected {
    /// As many rows as were given. Rows that failed are NULL in every column.
    pub rows: RecordBatch,
    /// Once per row, in order of row, with the first failure in the order of the columns.
    pub failed: Vec<RowFailure>,
}

impl Projection {
    /// `columns` are the output's names and expressions; `schema` is that of the batches. All output fields are nullable.
    pub fn new(planner: &Planner, columns: Vec<(String, Typed)>, schema: &Schema) -> Result<Projection, ExprError> {
        let (mut fields, mut made) = (Vec::new(), Vec::new());
        for (name, typed) in columns {
            fields.push(typed.field().clone().with_name(name).with_nullable(true));
            let compiled = planner.compile(typed.expr.clone(), schema)?;
            made.push(match (&typed.expr, compiled.downcast_ref::<Column>()) {
                (Expr::Column(_), Some(column)) => Made::Taken(column.index()),
                _ => Made::Computed(compiled),
            });
        }
        let input = Arc::new(with_position(schema));
        Ok(Projection { columns: made, input, output: Arc::new(Schema::new(fields)) })
    }

    /// The schema of [`Projected::rows`].
    pub fn schema(&self) -> SchemaRef {
        self.output.clone()
    }

    pub fn apply(&self, rows: &RecordBatch) -> Projected {
        let mut failed = Vec::new();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for (made, field) in self.columns.iter().zip(self.output.fields()) {
            columns.push(match made {
                Made::Taken(index) => rows.column(*index).clone(),
                Made::Computed(expr) => {
                    let (values, more) = evaluate_batch(expr, &self.input, rows);
                    failed.extend(more);
                    of_type(values, field)
                }
            });
        }
        let failed = failures::once_each(failed);
        if !failed.is_empty() {
            let mut mask = vec![false; rows.num_rows()];
            failed.iter().for_each(|failure| mask[failure.row as usize] = true);
            let mask = BooleanArray::from(mask);
            columns
                .iter_mut()
                .for_each(|column| *column = nullif(column, &mask).expect("a mask of the batch's length"));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.output.clone(), columns, &options)
            .expect("columns of the planned types and of the batch's length");
        Projected { rows, failed }
    }
}

/// Types are planned, but a function may return a close relative (`Utf8` for `Utf8View`).
fn of_type(values: ArrayRef, field: &Field) -> ArrayRef {
    if values.data_type() == field.data_type() {
        return values;
    }
    arrow::compute::cast(&values, field.data_type()).unwrap_or_else(|_| new_null_array(field.data_type(), values.len()))
}

fn evaluate_batch(expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef, rows: &RecordBatch) -> (ArrayRef, Vec<RowFailure>) {
    let mark = failures::mark();
    let values = positioned(rows, schema).and_then(|rows| evaluate(expr, &rows));
    let mut failed = failures::since(mark);
    let values = values.unwrap_or_else(|error| {
        // Not a row's fault, but a row must not pass uncomputed either.
        let reason = Reason::new("expression", error::message(&error));
        failed = (0..rows.num_rows() as u32).map(|row| RowFailure { row, reason: reason.clone() }).collect();
        let data_type = expr.data_type(schema).unwrap_or(DataType::Null);
        new_null_array(&data_type, rows.num_rows())
    });
    (values, failed)
}

/// Evaluates; where an error comes through all the same, halves the batch until it is one row's.
fn evaluate(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let count = rows.num_rows();
    let mark = failures::mark();
    match expr.evaluate(rows).and_then(|value| value.into_array(count)) {
        Ok(values) => Ok(values),
        Err(error) if count <= 1 => {
            failures::since(mark);
            if let Some(position) = rows.columns().last().filter(|_| count == 1) {
                let position = position.as_primitive::<arrow::datatypes::UInt32Type>().value(0);
                failures::report(position, Reason::new("expression", error::message(&error)));
            }
            Ok(new_null_array(&expr.data_type(&rows.schema())?, count))
        }
        Err(_) => {
            failures::since(mark);
            let half = count / 2;
            let first = evaluate(expr, &rows.slice(0, half))?;
            let second = evaluate(expr, &rows.slice(half, count - half))?;
            Ok(concat(&[&first, &second])?)
        }
    }
}
