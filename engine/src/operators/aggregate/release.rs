//! Rows that go out: what was known of groups, as records of a partition that bears the step's name and the number of the task.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use syncline_functions::JsonWriter;
use syncline_record::{
    Batch, Headers, Micros, Origin, Partition, StepId,
    batch::{MARK, ROW, RowTexts},
};

/// Rows of one batch that goes out: as many as those that come in.
const BATCH: usize = 1_024;

/// The columns that go out, and where they come from.
pub struct Shape {
    schema: SchemaRef,
    /// The place of the window's start among the keys.
    window: Option<usize>,
    marked: bool,
    task: u32,
}

impl Shape {
    /// `answers`: the keys without the window, and the calls. `window`: its name and its place among them. `marked`: later steps
    /// judge by time.
    pub fn new(answers: &Schema, window: Option<(&str, usize)>, marked: bool) -> Self {
        let mut fields: Vec<Arc<Field>> = answers.fields().iter().cloned().collect();
        if let Some((name, at)) = window {
            let start = Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, None), true);
            fields.insert(at.min(fields.len()), Arc::new(start));
        }
        if marked {
            fields.push(Arc::new(Field::new(MARK, DataType::Int64, false)));
        }
        fields.push(Arc::new(Field::new(ROW, DataType::UInt32, false)));
        Self { schema: Arc::new(Schema::new(fields)), window: window.map(|(_, at)| at), marked, task: 0 }
    }

    /// Rows of this task, which count from 0 as those of every other do: they are records of its own partition.
    pub fn of_task(self, task: u32) -> Self {
        Self { task, ..self }
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

/// Time as it is for rows that go out together.
#[derive(Clone, Copy)]
pub struct Moment {
    pub start: Micros,
    pub time: Micros,
    /// The lowest watermark before they are set free: none of them is behind it.
    pub mark: Micros,
    pub watermark: Micros,
}

/// Answers, how many they are, and the start of the window of each; the same for all where it is not given.
pub struct Answered {
    pub columns: Vec<ArrayRef>,
    pub starts: Option<ArrayRef>,
    pub rows: usize,
}

impl From<&RecordBatch> for Answered {
    fn from(answers: &RecordBatch) -> Self {
        Self { columns: answers.columns().to_vec(), starts: None, rows: answers.num_rows() }
    }
}

/// Batches of these answers. `next` is the offset of the first row, and moves on.
pub fn batches(
    shape: &Shape,
    step: &StepId,
    answers: Answered,
    at: Moment,
    next: &mut u64,
) -> Result<Vec<Batch>, String> {
    let part = |from: usize| {
        let rows = BATCH.min(answers.rows - from);
        let slice = |column: &ArrayRef| column.slice(from, rows);
        Answered {
            columns: answers.columns.iter().map(slice).collect(),
            starts: answers.starts.as_ref().map(slice),
            rows,
        }
    };
    (0..answers.rows).step_by(BATCH).map(|from| batch(shape, step, part(from), at, next)).collect()
}

fn batch(
    shape: &Shape,
    step: &StepId,
    Answered { mut columns, starts, rows }: Answered,
    at: Moment,
    next: &mut u64,
) -> Result<Batch, String> {
    if let Some(place) = shape.window {
        let start = starts.unwrap_or_else(|| Arc::new(TimestampMicrosecondArray::from_value(at.start, rows)));
        columns.insert(place.min(columns.len()), start);
    }
    if shape.marked {
        columns.push(Arc::new(Int64Array::from_value(at.mark, rows)));
    }
    columns.push(Arc::new(UInt32Array::from_iter_values(0..rows as u32)));
    let made = RecordBatch::try_new(shape.schema.clone(), columns).map_err(|error| error.to_string())?;
    let offsets: Vec<u64> = (*next..).take(rows).collect();
    *next += rows as u64;
    let origin = Origin {
        partition: Partition::new(step.as_str(), shape.task),
        payload: Buffer::from_vec(Vec::<u8>::new()),
        spans: vec![],
        texts: Some(Arc::new(Answers(made.clone()))),
        names: None,
        offsets,
        bytes: None,
        times: vec![at.time; rows],
        ingested_at: at.time.into(),
        headers: Headers::Absent,
        keys: None,
    };
    Ok(Batch { origin: Arc::new(origin), rows: made, watermark: at.watermark })
}

/// The rows themselves are their text.
#[derive(Debug)]
pub struct Answers(pub RecordBatch);

impl RowTexts for Answers {
    fn text(&self, row: usize) -> Vec<u8> {
        let mut text = vec![];
        JsonWriter::new(&self.0.schema()).write_row(&self.0, row, &mut text);
        text
    }
}
