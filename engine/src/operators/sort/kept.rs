//! Rows that wait in a sort: their columns, their original bytes and their time, in memory and in segments alike.
//!
//! A segment body is any number of: length (4 bytes, little endian), an Arrow IPC stream of one batch.

use std::{io::Cursor, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringViewArray, UInt32Array},
    buffer::Buffer,
    compute::interleave_record_batch,
    datatypes::{DataType, Field, Int64Type, Schema, SchemaRef},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use syncline_record::{Batch, Headers, Micros, Origin, Partition, StepId, batch::ROW};

use crate::{operator::Damaged, segment::SEGMENT_BYTES};

/// The original bytes of a row.
const BYTES: &str = "__bytes";
/// Its time.
const TIME: &str = "__time";
/// Its headers, as JSON text.
const HEADERS: &str = "__headers";
/// When it was taken in.
const TAKEN: &str = "__taken";

/// The columns of rows that wait.
pub fn schema(rows: &Schema) -> Schema {
    let mut fields: Vec<Arc<Field>> = rows.fields().iter().filter(|field| field.name() != ROW).cloned().collect();
    fields.push(Arc::new(Field::new(BYTES, DataType::Binary, false)));
    fields.push(Arc::new(Field::new(TIME, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(TAKEN, DataType::Int64, false)));
    fields.push(Arc::new(Field::new(HEADERS, DataType::Utf8View, true)));
    Schema::new(fields)
}

pub fn of_batch(batch: &Batch) -> Result<RecordBatch, String> {
    let ids = batch.row_ids();
    let rows = || ids.values().iter().map(|row| *row as usize);
    let origin = &batch.origin;
    let given = batch.rows.schema();
    let columns = given.fields().iter().zip(batch.rows.columns()).filter(|(field, _)| field.name() != ROW);
    let mut columns: Vec<ArrayRef> = columns.map(|(_, column)| column.clone()).collect();
    columns.push(Arc::new(BinaryArray::from_iter_values(rows().map(|row| origin.bytes_of(row)))));
    columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| origin.times[row]))));
    columns.push(Arc::new(Int64Array::from_iter_values(rows().map(|row| origin.ingested_at.get(row)))));
    columns.push(Arc::new(StringViewArray::from_iter(rows().map(|row| origin.headers.get(row)))));
    let rows = RecordBatch::try_new(Arc::new(schema(&given)), columns).map_err(|error| error.to_string())?;
    Ok(compact(&rows))
}

pub fn together(batches: &[RecordBatch], places: &[(usize, usize)]) -> Result<RecordBatch, String> {
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    interleave_record_batch(&batches, places).map_err(|error| error.to_string())
}

/// Rows as they go out, `first` rows behind the first of the order.
pub fn released(
    batches: &[RecordBatch],
    places: &[(usize, usize)],
    first: u64,
    step: &StepId,
    watermark: Micros,
    schema: &SchemaRef,
) -> Result<Batch, String> {
    let kept = together(batches, places)?;
    let column = |name: &str| kept.column_by_name(name).ok_or_else(|| format!("no column {name}"));
    let texts = column(BYTES)?.as_binary::<i32>();
    let numbers = |name: &str| column(name).map(|column| column.as_primitive::<Int64Type>().values().to_vec());
    let count = kept.num_rows();
    let spans = (0..count).map(|row| {
        let ends = texts.value_offsets();
        (ends[row] as u32, ends[row + 1] as u32)
    });
    let origin = Origin {
        partition: Partition::new(step.as_str(), 0),
        payload: Buffer::from(texts.value_data()),
        spans: spans.collect(),
        texts: None,
        names: None,
        offsets: (first + 1..).take(count).collect(),
        bytes: None,
        times: numbers(TIME)?,
        ingested_at: syncline_record::Instants::Each(numbers(TAKEN)?),
        headers: headers(column(HEADERS)?.as_string_view()),
        keys: None,
    };
    Ok(Batch { origin: Arc::new(origin), rows: rows(&kept, schema)?, watermark })
}

/// Rows that are kept, as an expression over the columns of the step reads them.
pub fn rows(kept: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let column = |name: &String| kept.column_by_name(name).cloned().ok_or_else(|| format!("no column {name}"));
    let columns = schema.fields().iter().map(|field| match field.name() == ROW {
        true => Ok(Arc::new(UInt32Array::from_iter_values(0..kept.num_rows() as u32)) as ArrayRef),
        false => column(field.name()),
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?).map_err(|error| error.to_string())
}

fn headers(texts: &StringViewArray) -> Headers {
    match texts.null_count() == texts.len() {
        true => Headers::Absent,
        false => Headers::Each(texts.iter().map(|text| text.map(Arc::from)).collect()),
    }
}

/// How long the original of a row is.
pub fn length(rows: &RecordBatch, row: usize) -> usize {
    rows.column_by_name(BYTES).map_or(0, |texts| texts.as_binary::<i32>().value_length(row) as usize)
}

/// Rows as bodies that fit into a segment, as far as they can be told apart beforehand.
pub fn bodies(rows: &RecordBatch) -> Vec<Vec<u8>> {
    let encoded = encode(rows);
    let parts = encoded.len().div_ceil(SEGMENT_BYTES).min(rows.num_rows());
    if parts < 2 {
        return vec![encoded];
    }
    let size = rows.num_rows().div_ceil(parts);
    let starts = (0..rows.num_rows()).step_by(size);
    starts.map(|start| encode(&compact(&rows.slice(start, size.min(rows.num_rows() - start))))).collect()
}

/// The same rows without what their texts share with rows that are not here.
fn compact(rows: &RecordBatch) -> RecordBatch {
    let columns = rows.columns().iter().map(|column| match column.as_string_view_opt() {
        Some(texts) => Arc::new(texts.gc()) as ArrayRef,
        None => column.clone(),
    });
    RecordBatch::try_new(rows.schema(), columns.collect()).expect("the columns of these rows")
}

fn encode(rows: &RecordBatch) -> Vec<u8> {
    let mut body = vec![0; 4];
    let mut writer =
        StreamWriter::try_new(&mut body, &rows.schema()).expect("memory takes every schema that a batch has");
    writer.write(rows).and_then(|()| writer.finish()).expect("memory takes every batch of its schema");
    drop(writer);
    let length = (body.len() - 4) as u32;
    body[..4].copy_from_slice(&length.to_le_bytes());
    body
}

pub fn read(mut body: &[u8]) -> Result<Vec<RecordBatch>, Damaged> {
    let broken = || Damaged("a batch is cut off".into());
    let mut batches = vec![];
    while !body.is_empty() {
        let (length, rest) = body.split_first_chunk::<4>().ok_or_else(broken)?;
        let (stream, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize).ok_or_else(broken)?;
        let reader = StreamReader::try_new(Cursor::new(stream), None).map_err(|error| Damaged(error.to_string()))?;
        for rows in reader {
            batches.push(rows.map_err(|error| Damaged(error.to_string()))?);
        }
        body = rest;
    }
    Ok(batches)
}
