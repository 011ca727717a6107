//! The last step before a sink: the rows as the sink wants them.
//!
//! Evaluates `SEQUENCE BY` and `DELETE WHEN`, picks the columns that are written, and writes open records (a source without a
//! schema, no `SELECT`) as their original bytes with only the changed members spliced in.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, StringViewBuilder, UInt8Array, UInt64Array},
    datatypes::{Field, Schema, SchemaRef},
};
use syncline_functions::{Predicate, Projected, Projection, write};
use syncline_record::{
    Batch, Fate, Op, Reason, RowFailure,
    batch::{GROUP, LANE, MARK, OP, RECORD, ROW},
    keys::content_hash,
};

use crate::{
    operator::{Halt, Operator, Output, null_key, of_rows, without},
    sink::SEQUENCE,
};

/// Hidden column: the complete JSON text of a row, for sinks that write records.
pub const OUT: &str = "__out";
/// Hidden column: tells the record that a row came from from every other record of the source, whatever its partition.
pub const ORIGIN: &str = "__origin";
/// Hidden column: offset of that record in its partition.
pub const OFFSET: &str = "__offset";

/// What a delete does at this sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deletes {
    /// The row with its key goes away.
    Apply,
    /// Nothing: a derived row outlives its owner (`ON ORPHAN KEEP`), an `INSERT` never takes back. Counted as absorbed.
    Absorb,
    /// Its group becomes empty (`REPLACE`).
    Clear,
}

/// What a sink writes of an open record.
#[derive(Clone, Debug, Default)]
pub struct OpenRecord {
    pub dropped: Vec<String>,
    pub set: Vec<String>,
}

/// How the rows are to look.
pub struct Presentation {
    /// Visible columns, in order. With `open` those that go along beside the record, and are not in it.
    pub columns: Vec<String>,
    pub open: Option<OpenRecord>,
    pub sequence: Option<Projection>,
    pub delete_when: Option<Predicate>,
    pub deletes: Deletes,
    /// Columns of which none may be NULL (`UPSERT … KEY`): such a row is dead here, where its original bytes still are.
    pub keys: Vec<String>,
}

pub struct Present {
    how: Presentation,
    /// Watermarks go along, for steps of other pipelines.
    marks: bool,
}

impl Present {
    pub fn new(how: Presentation) -> Self {
        Self { how, marks: false }
    }

    /// The rows go on to steps of other pipelines, deletes among them.
    pub fn for_stream(self) -> Self {
        Self { how: Presentation { deletes: Deletes::Apply, ..self.how }, marks: true }
    }

    /// The columns that come out for a batch with columns `input`, as far as they are known before the first row.
    pub fn schema(&self, input: &Schema) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = vec![];
        for name in &self.how.columns {
            if let Some((_, field)) = input.fields().find(name) {
                fields.push(field.clone());
            }
        }
        Arc::new(Schema::new(fields))
    }

    fn columns(&self, batch: &Batch, sequence: Option<ArrayRef>) -> Result<RecordBatch, String> {
        let rows = &batch.rows;
        let mut fields: Vec<Arc<Field>> = vec![];
        let mut columns: Vec<ArrayRef> = vec![];
        let schema = rows.schema();
        let mut put = |field: Arc<Field>, column: ArrayRef| {
            fields.push(field);
            columns.push(column);
        };
        for name in &self.how.columns {
            let (index, field) = schema.column_with_name(name).ok_or_else(|| format!("no column {name}"))?;
            put(Arc::new(field.clone()), rows.column(index).clone());
        }
        let hidden: &[&str] = if self.marks { &[ROW, OP, MARK] } else { &[ROW, OP, LANE, GROUP] };
        for name in hidden {
            if let Some((index, field)) = schema.column_with_name(name) {
                put(Arc::new(field.clone()), rows.column(index).clone());
            }
        }
        if let Some(column) = sequence {
            put(Arc::new(Field::new(SEQUENCE, column.data_type().clone(), true)), column);
        }
        let ids = batch.row_ids();
        let offsets: UInt64Array = ids.values().iter().map(|row| batch.origin.offsets[*row as usize]).collect();
        let partition = content_hash(batch.origin.partition.to_string().as_bytes()) as u64;
        let origins: UInt64Array = offsets.values().iter().map(|offset| partition.wrapping_add(*offset)).collect();
        put(Arc::new(Field::new(ORIGIN, origins.data_type().clone(), false)), Arc::new(origins));
        put(Arc::new(Field::new(OFFSET, offsets.data_type().clone(), false)), Arc::new(offsets));
        if let Some(open) = &self.how.open {
            let texts = open_records(rows, open)?;
            put(Arc::new(Field::new(OUT, texts.data_type().clone(), true)), texts);
        }
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
    }

    fn mark_deletes(&self, batch: Batch, out: &mut Output) -> Batch {
        let Some(predicate) = &self.how.delete_when else { return batch };
        let verdict = predicate.judge(&batch.rows);
        let before = batch.operations();
        // What is a delete already is not asked whether it is one.
        let mut failed = of_rows(&batch, verdict.failed);
        failed.retain(|failure| before.get(failure.row as usize) != Op::Delete);
        let ops: UInt8Array = (0..batch.len())
            .map(|row| Some(if verdict.keep.value(row) { Op::Delete as u8 } else { before.get(row) as u8 }))
            .collect();
        out.dead(&batch, &failed);
        batch.with_rows(put_column(&batch.rows, OP, Arc::new(ops))).keep(&without(batch.len(), &failed))
    }

    fn settle_deletes(&self, batch: Batch, out: &mut Output) -> Batch {
        if self.how.deletes == Deletes::Apply || batch.ops().is_none() {
            return batch;
        }
        let ops = batch.operations();
        let deletes: Vec<usize> = (0..batch.len()).filter(|row| ops.get(*row) == Op::Delete).collect();
        out.stop(&batch, &deletes, Fate::Absorbed, "delete");
        if self.how.deletes == Deletes::Clear {
            return super::filter::clear(&batch, &deletes);
        }
        let gone: arrow::array::BooleanArray =
            (0..batch.len()).map(|row| Some(deletes.binary_search(&row).is_err())).collect();
        batch.keep(&gone)
    }
}

impl Present {
    fn refuse_null_keys(&self, batch: Batch, out: &mut Output) -> Batch {
        let mut failed: Vec<RowFailure> = vec![];
        for name in &self.how.keys {
            let Some(column) = batch.rows.column_by_name(name).filter(|column| column.null_count() > 0) else {
                continue;
            };
            let nulls = (0..batch.len()).filter(|row| column.is_null(*row));
            failed.extend(nulls.map(|row| RowFailure { row: row as u32, reason: null_key(name) }));
        }
        if failed.is_empty() {
            return batch;
        }
        failed.sort_by_key(|failure| failure.row);
        failed.dedup_by_key(|failure| failure.row);
        let failed = of_rows(&batch, failed);
        out.dead(&batch, &failed);
        batch.keep(&without(batch.len(), &failed))
    }
}

impl Operator for Present {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let batch = self.mark_deletes(batch, out);
        let batch = self.settle_deletes(batch, out);
        let batch = self.refuse_null_keys(batch, out);
        if batch.is_empty() {
            return Ok(());
        }
        let sequence = self.how.sequence.as_ref().map(|sequence| sequence.apply(&batch.rows));
        let failed = sequence.as_ref().map_or(vec![], |made| of_rows(&batch, unsequenced(made)));
        let step = out.step().clone();
        let rows = self
            .columns(&batch, sequence.map(|made| made.rows.column(0).clone()))
            .map_err(|detail| Halt::Broken { step, detail })?;
        out.dead(&batch, &failed);
        out.emit(batch.with_rows(rows).keep(&without(batch.len(), &failed)));
        Ok(())
    }
}

/// Rows that have no version: it cannot be computed, or is NULL and has no place in the order.
fn unsequenced(made: &Projected) -> Vec<RowFailure> {
    let column = made.rows.column(0);
    let mut failed = made.failed.clone();
    if column.null_count() > failed.len() {
        let nulls = (0..column.len()).filter(|row| column.is_null(*row)).map(|row| row as u32);
        let reason = Reason::new("null-sequence", "SEQUENCE BY is NULL");
        failed.extend(nulls.map(|row| RowFailure { row, reason: reason.clone() }));
        // The first of a row is what made it NULL.
        failed.sort_by_key(|failure| failure.row);
        failed.dedup_by_key(|failure| failure.row);
    }
    failed
}

/// The JSON text of each open record. Without any change these are the original bytes, not copied.
fn open_records(rows: &RecordBatch, open: &OpenRecord) -> Result<ArrayRef, String> {
    let records = rows.column_by_name(RECORD).ok_or("the whole record was not kept")?;
    if open.dropped.is_empty() && open.set.is_empty() {
        return Ok(records.clone());
    }
    let schema = rows.schema();
    let columns: Vec<(&str, &Field, &ArrayRef)> = open
        .set
        .iter()
        .map(|name| {
            let (index, field) = schema.column_with_name(name).ok_or_else(|| format!("no column {name}"))?;
            Ok((name.as_str(), field, rows.column(index)))
        })
        .collect::<Result<_, String>>()?;
    let records = records.as_string_view();
    let dropped = |name: &str| open.dropped.iter().any(|gone| gone == name);
    let mut texts = StringViewBuilder::with_capacity(rows.num_rows());
    let mut line = Vec::new();
    let mut tokens: Vec<Vec<u8>> = vec![vec![]; columns.len()];
    for row in 0..rows.num_rows() {
        for ((_, field, column), token) in columns.iter().zip(&mut tokens) {
            token.clear();
            write::token_of(column, field, row, token);
        }
        let set: Vec<(&str, &[u8])> =
            columns.iter().zip(&tokens).map(|((name, ..), token)| (*name, token.as_slice())).collect();
        line.clear();
        write::splice(records.value(row).as_bytes(), &dropped, &set, &mut line);
        texts.append_value(std::str::from_utf8(&line).map_err(|error| error.to_string())?);
    }
    Ok(Arc::new(texts.finish()))
}

/// The batch with this column in place of one of the same name, or at its end.
pub fn put_column(rows: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let field = Arc::new(Field::new(name, column.data_type().clone(), true));
    let schema = rows.schema();
    let mut fields: Vec<Arc<Field>> = schema.fields().iter().cloned().collect();
    let mut columns = rows.columns().to_vec();
    match schema.index_of(name) {
        Ok(index) => {
            fields[index] = field;
            columns[index] = column;
        }
        Err(_) => {
            fields.push(field);
            columns.push(column);
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("a column as long as its batch")
}
