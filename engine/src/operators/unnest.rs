//! UNNEST: one row for each element of an array; of several arrays in step, as long as the longest, the others padded with NULL.
//!
//! A row without elements is filtered, and clears its group where a `REPLACE … PER` follows. A value that is no array is a dead letter. The
//! order is that of the rows, and of the elements in each.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, UInt8Array, UInt32Array},
    compute::{take, take_record_batch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use syncline_functions::{ExprError, Projection, Unnested, element_field, unnest};
use syncline_record::{Batch, Fate, Op, RowFailure, StepId, batch::OP};

use super::arms::{ID, numbered};
use crate::operator::{Halt, Operator, Output, of_rows};

/// Rows of one batch that goes out: one record may have millions of elements, and later steps compute a batch at once.
const CHUNK: usize = 4_096;

pub struct Unnest {
    arrays: Projection,
    /// The arrays as the pipeline has them, for who is told of one that is none.
    written: Vec<String>,
    elements: Vec<Field>,
    clears_groups: bool,
    /// `_id` says which derived row of its record a row is: the step's id, which tells its elements from those of other steps.
    ids: Option<StepId>,
}

impl Unnest {
    pub fn new(
        arrays: Projection,
        written: Vec<String>,
        clears_groups: bool,
        ids: Option<StepId>,
    ) -> Result<Self, ExprError> {
        let elements = arrays.schema().fields().iter().map(|field| element_field(field)).collect::<Result<_, _>>()?;
        Ok(Self { arrays, written, elements, clears_groups, ids })
    }

    /// The columns that come out for rows with columns `input`.
    pub fn schema(&self, input: &Schema) -> SchemaRef {
        let mut fields: Vec<Arc<Field>> = input.fields().iter().cloned().collect();
        fields.extend(self.elements.iter().cloned().map(Arc::new));
        if self.clears_groups && input.index_of(OP).is_err() {
            fields.push(Arc::new(Field::new(OP, DataType::UInt8, true)));
        }
        Arc::new(Schema::new(fields))
    }

    fn rows(&self, batch: &Batch, made: &Made, taken: &[Unnested], from: usize) -> Result<RecordBatch, String> {
        let to = made.owners.len().min(from + CHUNK);
        let owners = UInt32Array::from(made.owners[from..to].to_vec());
        let rows = take_record_batch(&batch.rows, &owners).map_err(|error| error.to_string())?;
        let mut columns = rows.columns().to_vec();
        for (unnested, places) in taken.iter().zip(&made.places) {
            let places = UInt32Array::from(places[from..to].to_vec());
            columns.push(take(&unnested.elements, &places, None).map_err(|error| error.to_string())?);
        }
        let schema = self.schema(&rows.schema());
        if self.clears_groups {
            let ops: ArrayRef = Arc::new(UInt8Array::from(made.ops[from..to].to_vec()));
            match rows.schema().index_of(OP) {
                Ok(index) => columns[index] = ops,
                Err(_) => columns.push(ops),
            }
        }
        if let Some(step) = &self.ids
            && let Ok(index) = schema.index_of(ID)
        {
            columns[index] = numbered(&columns[index], step, made.ordinals[from..to].iter().copied());
        }
        RecordBatch::try_new(schema, columns).map_err(|error| error.to_string())
    }
}

/// The rows that come out.
#[derive(Default)]
struct Made {
    /// The row of the batch that each comes from.
    owners: Vec<u32>,
    /// Which element of that row it has.
    ordinals: Vec<u32>,
    ops: Vec<u8>,
    /// Per array: where its element is, if it has one.
    places: Vec<Vec<Option<u32>>>,
}

impl Made {
    fn push(&mut self, owner: usize, ordinal: u32, op: Op, places: &[Range]) {
        self.owners.push(owner as u32);
        self.ordinals.push(ordinal);
        self.ops.push(op as u8);
        for (column, range) in self.places.iter_mut().zip(places) {
            column.push((ordinal < range.length).then(|| range.start + ordinal));
        }
    }
}

/// The elements of one row in one array.
#[derive(Clone, Copy, Default)]
struct Range {
    start: u32,
    length: u32,
}

fn ranges(unnested: &Unnested, rows: usize) -> Vec<Range> {
    let mut ranges = vec![Range::default(); rows];
    for (place, row) in unnested.rows.values().iter().enumerate() {
        let range = &mut ranges[*row as usize];
        if range.length == 0 {
            range.start = place as u32;
        }
        range.length += 1;
    }
    ranges
}

impl Operator for Unnest {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let arrays = self.arrays.apply(&batch.rows);
        let schema = self.arrays.schema();
        let columns = arrays.rows.columns().iter().zip(schema.fields()).zip(&self.written);
        let taken: Vec<Unnested> = columns.map(|((column, field), written)| unnest(column, field, written)).collect();
        let failed = of_rows(&batch, once_each(arrays.failed, &taken));
        let lengths: Vec<Vec<Range>> = taken.iter().map(|unnested| ranges(unnested, batch.len())).collect();
        let mut made = Made { places: vec![vec![]; taken.len()], ..Made::default() };
        let (mut passed, mut empty) = (vec![], vec![]);
        let mut dead = failed.iter().map(|failure| failure.row as usize).peekable();
        let ops = batch.operations();
        for row in 0..batch.len() {
            if dead.next_if_eq(&row).is_some() {
                continue;
            }
            let places: Vec<Range> = lengths.iter().map(|of_array| of_array[row]).collect();
            let count = places.iter().map(|range| range.length).max().unwrap_or(0);
            let nothing = vec![Range::default(); places.len()];
            if ops.is_clear(row) {
                made.push(row, 0, ops.get(row).cleared(), &nothing);
                continue;
            }
            (0..count).for_each(|ordinal| made.push(row, ordinal, ops.get(row), &places));
            if count > 0 {
                passed.push(row);
                continue;
            }
            empty.push(row);
            if self.clears_groups {
                made.push(row, 0, ops.get(row).cleared(), &nothing);
            }
        }
        out.stop(&batch, &empty, Fate::Filtered, "no-elements");
        out.dead(&batch, &failed);
        out.pass(&batch, &passed);
        for from in (0..made.owners.len()).step_by(CHUNK) {
            let rows = self.rows(&batch, &made, &taken, from);
            let rows = rows.map_err(|detail| Halt::Broken { step: out.step().clone(), detail })?;
            out.release(batch.with_rows(rows));
        }
        Ok(())
    }
}

/// The first that is wrong with a row, in order of the rows.
fn once_each(mut failed: Vec<RowFailure>, taken: &[Unnested]) -> Vec<RowFailure> {
    for failure in taken.iter().flat_map(|unnested| &unnested.failed) {
        failed.push(failure.clone());
    }
    failed.sort_by_key(|failure| failure.row);
    failed.dedup_by_key(|failure| failure.row);
    failed
}
