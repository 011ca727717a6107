//! Rows that go out of a join: the columns of both sides, as records of a partition that bears the step's name and the number of the task.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, TimestampMicrosecondArray, UInt32Array, new_null_array,
    },
    buffer::Buffer,
    compute::{filter_record_batch, take},
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use syncline_functions::{ExprError, Verdict};
use syncline_record::{Batch, Headers, Micros, Origin, Partition, RowFailure, StepId, batch::ROW, time::NO_WATERMARK};

use super::{
    partner,
    side::{Kept, Place},
};
use crate::{
    operator::{Output, Side},
    operators::{
        aggregate::{body::Notes, release::Answers},
        arms::ID,
    },
};

/// A row of the batch and one that is kept.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// The place of the row among those that look for partners.
    pub index: usize,
    pub row: u32,
    pub place: Place,
    /// The time of the joined row.
    pub time: Micros,
}

/// What joined rows look like.
pub struct Pairs {
    both: SchemaRef,
    right: SchemaRef,
    out: SchemaRef,
    timed: bool,
    /// The column of the ids of pairs, and the step that makes them; the last column of `both` then holds the partner's place.
    ids: Option<(usize, StepId)>,
    partners: bool,
    /// Rows of every task count from 0: they are records of its own partition.
    task: u32,
}

impl Pairs {
    /// `time`: the name of a column for the time of a joined row. `ids`: the last column of `right` is the place of its rows.
    pub fn new(left: &Schema, right: &SchemaRef, time: Option<&str>, ids: Option<StepId>) -> Self {
        let mut fields: Vec<Arc<Field>> = left.fields().iter().chain(right.fields()).cloned().collect();
        let both = Arc::new(Schema::new(fields.clone()));
        let partners = ids.is_some();
        if partners {
            fields.pop();
        }
        let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
        fields.extend(time.map(|name| Arc::new(Field::new(name, timestamp, true))));
        fields.push(Arc::new(Field::new(ROW, DataType::UInt32, false)));
        Self {
            both,
            right: right.clone(),
            out: Arc::new(Schema::new(fields)),
            timed: time.is_some(),
            ids: left.index_of(ID).ok().zip(ids),
            partners,
            task: 0,
        }
    }

    pub fn of_task(self, task: u32) -> Self {
        Self { task, ..self }
    }

    pub fn schema(&self) -> SchemaRef {
        self.out.clone()
    }

    /// The columns of both sides, pair by pair.
    pub fn rows(&self, side: Side, taken: &[ArrayRef], other: &Kept, pairs: &[Pair]) -> Result<RecordBatch, ExprError> {
        let own = UInt32Array::from_iter_values(pairs.iter().map(|pair| pair.row));
        let own = some(taken, &own)?;
        let theirs = other.columns(pairs.iter().map(|pair| pair.place))?;
        let (mut columns, right) = if side == Side::Left { (own, theirs) } else { (theirs, own) };
        columns.extend(right);
        batch(&self.both, columns, pairs.len())
    }

    /// The pairs that hold go out; the condition's failures are dead, as rows of the join's own.
    pub fn put_out(
        &self,
        rows: &RecordBatch,
        pairs: &[Pair],
        verdict: Option<Verdict>,
        notes: &mut Notes,
        out: &mut Output,
    ) -> Result<(), ExprError> {
        let times: Vec<Micros> = pairs.iter().map(|pair| pair.time).collect();
        let Some(verdict) = verdict else {
            let batch = self.batch(rows, times, notes, out.step())?;
            out.release(batch);
            return Ok(());
        };
        let kept = filter_record_batch(rows, &verdict.keep).map_err(other)?;
        let held = times.iter().zip(verdict.keep.values()).filter(|(_, holds)| *holds).map(|(time, _)| *time).collect();
        let batch = self.batch(&kept, held, notes, out.step())?;
        out.release(batch);
        self.bury(rows, &times, verdict.failed, notes, out)
    }

    fn bury(
        &self,
        rows: &RecordBatch,
        times: &[Micros],
        failed: Vec<RowFailure>,
        notes: &mut Notes,
        out: &mut Output,
    ) -> Result<(), ExprError> {
        if failed.is_empty() {
            return Ok(());
        }
        let mut mask = vec![false; rows.num_rows()];
        failed.iter().for_each(|failure| mask[failure.row as usize] = true);
        let dead = filter_record_batch(rows, &BooleanArray::from(mask)).map_err(other)?;
        let times = failed.iter().map(|failure| times[failure.row as usize]).collect();
        let batch = self.batch(&dead, times, notes, out.step())?;
        let failed: Vec<RowFailure> =
            failed.into_iter().enumerate().map(|(row, one)| RowFailure { row: row as u32, ..one }).collect();
        // A pair is no row that came in: it is counted as one, so that its fate has a place in the books.
        out.books.rows_in += failed.len() as u64;
        out.dead(&batch, &failed);
        Ok(())
    }

    /// Rows of the left side without a partner.
    pub fn put_out_alone(
        &self,
        left: &[ArrayRef],
        rows: &[u32],
        times: Vec<Micros>,
        notes: &mut Notes,
        out: &mut Output,
    ) -> Result<(), ExprError> {
        if rows.is_empty() {
            return Ok(());
        }
        let mut columns = some(left, &UInt32Array::from(rows.to_vec()))?;
        columns.extend(self.right.fields().iter().map(|field| new_null_array(field.data_type(), rows.len())));
        let made = batch(&self.both, columns, rows.len())?;
        let made = self.batch(&made, times, notes, out.step())?;
        out.release(made);
        Ok(())
    }

    fn batch(
        &self,
        rows: &RecordBatch,
        times: Vec<Micros>,
        notes: &mut Notes,
        step: &StepId,
    ) -> Result<Batch, ExprError> {
        let count = rows.num_rows();
        let mut columns = rows.columns().to_vec();
        if self.partners
            && let Some(partners) = columns.pop()
            && let Some((index, step)) = &self.ids
        {
            columns[*index] = partner::ids(&columns[*index], &partners, step);
        }
        if self.timed {
            columns.push(Arc::new(TimestampMicrosecondArray::from(times.clone())));
        }
        columns.push(Arc::new(UInt32Array::from_iter_values(0..count as u32)));
        let rows = batch(&self.out, columns, count)?;
        let offsets: Vec<u64> = (notes.next..).take(count).collect();
        notes.next += count as u64;
        let ingested_at = times.iter().max().copied().unwrap_or_default().into();
        let origin = Origin {
            partition: Partition::new(step.as_str(), self.task),
            payload: Buffer::from_vec(Vec::<u8>::new()),
            spans: vec![],
            texts: Some(Arc::new(Answers(rows.clone()))),
            names: None,
            offsets,
            bytes: None,
            times,
            ingested_at,
            headers: Headers::Absent,
            keys: None,
        };
        Ok(Batch { origin: Arc::new(origin), rows, watermark: NO_WATERMARK })
    }
}

fn some(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>, ExprError> {
    columns.iter().map(|column| take(column, rows, None).map_err(other)).collect()
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, ExprError> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).map_err(other)
}

fn other(error: arrow::error::ArrowError) -> ExprError {
    ExprError::other(error.to_string())
}
