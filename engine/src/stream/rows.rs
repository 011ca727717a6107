//! A frame of rows. Beside the columns that the writer puts out there are hidden ones:
//!
//! | column | type | meaning |
//! |---|---|---|
//! | `__out` | `Utf8View` | the whole record, where the rows have no named columns |
//! | `__op` | `UInt8`, optional | what the row does; absent: all are inserts |
//! | `__mark` | `Int64`, optional | the watermark of its partition before the row |
//! | `__offset`, `__time` | `UInt64`, `Int64` | its place in its partition, its time |
//! | `__ingested_at` | `Int64`, optional | when it was taken, where that is not one instant for all |
//! | `__byte`, `__key`, `__headers` | optional | as far as its source has such things |
//! | `__original` | `LargeBinary`, optional | the bytes of its record, where it has some and `__out` is not there; NULL: those of the row before |
//!
//! A frame of a hop (`hop`) has all columns of a batch, those that begin with `__` too, as the next step wants them.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, LargeBinaryArray, RecordBatch, StringArray,
        UInt8Array, UInt64Array,
    },
    buffer::Buffer,
    datatypes::{DataType, Field, FieldRef, Int64Type, Schema, UInt8Type, UInt64Type},
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use syncline_functions::decode::record_column;
use syncline_record::{
    Batch, Headers, Instants, Keys, Micros, Op, Origin, Partition,
    batch::{MARK, OP, RECORD, ROW, RowTexts},
};

use super::once;
use crate::operators::{
    aggregate::release::Answers,
    present::{OFFSET, ORIGIN, OUT, put_column},
};

const TIME: &str = "__time";
const INGESTED_AT: &str = "__ingested_at";
const BYTE: &str = "__byte";
const KEY: &str = "__key";
const HEADERS: &str = "__headers";
const ORIGINAL: &str = "__original";

/// The columns of a frame that are none of its rows.
const OURS: [&str; 7] = [OFFSET, TIME, INGESTED_AT, BYTE, KEY, HEADERS, ORIGINAL];

/// Metadata of a frame's schema: the id of the stream, the partition of its rows, and what all of them share.
const STREAM: &str = "stream";
const PARTITION: &str = "partition";
const NUMBER: &str = "number";
/// Metadata of a frame that has all columns; and of one whose column `__record` is what `__original` says.
const WHOLE: &str = "whole";
const SAME: &str = "record is original";

/// Rows as they come out of a stream.
#[derive(Debug)]
pub struct Carried {
    /// Where they came from in the writer. The payload is the record where the rows have no named columns.
    pub origin: Origin,
    /// Their named columns; of a hop all that the batch had, but `__row`.
    pub columns: Option<RecordBatch>,
    /// Of each row, where the writer has such things.
    pub marks: Option<Vec<Micros>>,
    pub ops: Option<UInt8Array>,
}

/// Without rows that only say something about a group: they mean something to a `REPLACE` of the same flow, and to nobody else.
pub fn without_clears(batch: Batch) -> Batch {
    let ops = batch.operations();
    let rows: BooleanArray = (0..batch.len()).map(|row| Some(!ops.is_clear(row))).collect();
    batch.keep(&rows)
}

/// The body of a frame of these rows, as they came out of `Present`. `id`: that of the stream.
pub fn encode(batch: &Batch, id: &str) -> Result<Vec<u8>, String> {
    written(batch, id, HashMap::new())
}

/// The same of rows with all their columns.
pub fn encode_whole(batch: &Batch, id: &str) -> Result<Vec<u8>, String> {
    let mut metadata = HashMap::from([(WHOLE.to_owned(), String::new())]);
    let ids = batch.row_ids();
    let offsets: UInt64Array = ids.values().iter().map(|row| batch.origin.offsets[*row as usize]).collect();
    let mut rows = put_column(&batch.rows, OFFSET, Arc::new(offsets));
    if let Some(records) = record_as_it_came(batch) {
        metadata.insert(SAME.to_owned(), String::new());
        rows.remove_column(records);
    }
    written(&batch.with_rows(rows), id, metadata)
}

/// The column of the whole record, where it is nothing but the record's bytes.
fn record_as_it_came(batch: &Batch) -> Option<usize> {
    let index = batch.rows.schema().index_of(RECORD).ok()?;
    let records = batch.rows.column(index).as_string_view_opt()?;
    let ids = batch.row_ids().values();
    let same = |(row, id): (usize, &u32)| {
        let (record, came) = (records.value(row).as_bytes(), &*batch.origin.bytes_of(*id as usize));
        // Mostly they lie in one place, and thousands of rows may be of one long record.
        records.is_valid(row) && (std::ptr::eq(record, came) || record == came)
    };
    (batch.origin.texts.is_none() && ids.iter().enumerate().all(same)).then_some(index)
}

fn written(batch: &Batch, id: &str, more: HashMap<String, String>) -> Result<Vec<u8>, String> {
    let origin = &*batch.origin;
    let mut metadata = HashMap::from([
        (STREAM.to_owned(), id.to_owned()),
        (PARTITION.to_owned(), origin.partition.name.to_string()),
        (NUMBER.to_owned(), origin.partition.number.to_string()),
    ]);
    metadata.extend(more);
    let given = batch.rows.schema();
    let kept = |field: &&FieldRef| ![ROW, ORIGIN].contains(&field.name().as_str());
    let mut fields: Vec<FieldRef> = given.fields().iter().filter(kept).cloned().collect();
    let mut columns: Vec<ArrayRef> =
        fields.iter().filter_map(|field| batch.rows.column_by_name(field.name()).cloned()).collect();
    for (name, column) in hidden(batch, &mut metadata) {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    }
    let schema = Arc::new(Schema::new_with_metadata(fields, metadata));
    let rows = RecordBatch::try_new(schema, columns).map_err(|error| error.to_string())?;
    let repeated = rows.column_by_name(ORIGINAL).is_some_and(|originals| originals.null_count() > 0);
    // Views would drag the whole payload along: only what the rows show is written.
    let (rows, shared) = once::compact(rows)?;
    let mut body = Vec::with_capacity(16 << 10);
    body.push(if shared || repeated { super::SHARED } else { super::ROWS });
    let mut writer = StreamWriter::try_new(body, &rows.schema()).map_err(|error| error.to_string())?;
    writer.write(&rows).and_then(|()| writer.finish()).map_err(|error| error.to_string())?;
    writer.into_inner().map_err(|error| error.to_string())
}

fn hidden(batch: &Batch, metadata: &mut HashMap<String, String>) -> Vec<(&'static str, ArrayRef)> {
    let origin = &*batch.origin;
    let rows: Vec<usize> = batch.row_ids().values().iter().map(|row| *row as usize).collect();
    let each = |of: &dyn Fn(usize) -> Micros| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| of(*row))))
    };
    let mut columns = vec![(TIME, each(&|row| origin.times[row]))];
    match &origin.ingested_at {
        Instants::All(instant) => {
            metadata.insert(INGESTED_AT.to_owned(), instant.to_string());
        }
        Instants::Each(instants) => columns.push((INGESTED_AT, each(&|row| instants[row]))),
    }
    if let Some(bytes) = &origin.bytes {
        let bytes: UInt64Array = rows.iter().map(|row| bytes[*row]).collect();
        columns.push((BYTE, Arc::new(bytes)));
    }
    if let Some(keys) = &origin.keys {
        columns.push((KEY, Arc::new(rows.iter().map(|row| keys.get(*row)).collect::<BinaryArray>())));
    }
    match &origin.headers {
        Headers::Absent => {}
        Headers::Same(text) => {
            metadata.insert(HEADERS.to_owned(), text.to_string());
        }
        Headers::Each(_) => {
            let texts: StringArray = rows.iter().map(|row| origin.headers.get(*row)).collect();
            columns.push((HEADERS, Arc::new(texts)));
        }
    }
    if origin.texts.is_none() && batch.rows.column_by_name(OUT).is_none() {
        let repeats = |at: usize| at > 0 && once::of_one_record(batch, rows[at - 1], rows[at]);
        let original = |(at, row): (usize, &usize)| (!repeats(at)).then(|| origin.bytes_of(*row));
        columns.push((ORIGINAL, Arc::new(rows.iter().enumerate().map(original).collect::<LargeBinaryArray>())));
    }
    columns
}

/// The inverse of [`encode`], behind its first byte: the id of the stream, and the rows. `shared`: some of what they show was written once.
pub(super) fn decode(body: &[u8], shared: bool) -> Result<(String, Carried), String> {
    let mut reader = StreamReader::try_new(body, None).map_err(|error| error.to_string())?;
    let rows = reader.next().ok_or("an empty frame")?.map_err(|error| error.to_string())?;
    let rows = if shared { once::spread(rows)? } else { rows };
    let frame = Frame { metadata: rows.schema().metadata().clone(), rows };
    Ok((frame.said(STREAM)?.to_owned(), frame.carried()?))
}

/// A frame of rows, taken apart.
struct Frame {
    rows: RecordBatch,
    metadata: HashMap<String, String>,
}

impl Frame {
    fn said(&self, what: &str) -> Result<&str, String> {
        self.metadata.get(what).map(String::as_str).ok_or_else(|| format!("a frame does not say its {what}"))
    }

    fn number<T: std::str::FromStr>(&self, what: &str) -> Result<T, String> {
        self.said(what)?.parse().map_err(|_| format!("a frame says no number for its {what}"))
    }

    fn instants(&self, name: &str) -> Result<Option<Vec<Micros>>, String> {
        let Some(column) = self.rows.column_by_name(name) else { return Ok(None) };
        let column = column.as_primitive_opt::<Int64Type>().ok_or_else(|| strange(name))?;
        Ok(Some(column.values().to_vec()))
    }

    fn numbers(&self, name: &str) -> Result<Option<Vec<u64>>, String> {
        let Some(column) = self.rows.column_by_name(name) else { return Ok(None) };
        let column = column.as_primitive_opt::<UInt64Type>().ok_or_else(|| strange(name))?;
        Ok(Some(column.values().to_vec()))
    }

    fn carried(self) -> Result<Carried, String> {
        let ops = match self.rows.column_by_name(OP) {
            None => None,
            Some(ops) => Some(ops.as_primitive_opt::<UInt8Type>().ok_or_else(|| strange(OP))?.clone()),
        };
        if ops.as_ref().is_some_and(|ops| ops.values().iter().any(|op| Op::from_u8(*op).is_none())) {
            return Err(strange(OP));
        }
        let columns = self.columns()?;
        Ok(Carried { origin: self.origin(columns.as_ref())?, marks: self.instants(MARK)?, ops, columns })
    }

    /// The named columns, where the rows have such.
    fn columns(&self) -> Result<Option<RecordBatch>, String> {
        if self.rows.column_by_name(OUT).is_some() {
            return Ok(None);
        }
        let schema = self.rows.schema();
        let whole = self.metadata.contains_key(WHOLE);
        let is_theirs = |name: &str| if whole { !OURS.contains(&name) } else { !name.starts_with("__") };
        let named: Vec<usize> =
            (0..schema.fields().len()).filter(|index| is_theirs(schema.field(*index).name())).collect();
        let columns = self.rows.project(&named).map_err(|error| error.to_string())?;
        if !self.metadata.contains_key(SAME) {
            return Ok(Some(columns));
        }
        let (payload, spans) = self.payload()?;
        Ok(Some(put_column(&columns, RECORD, Arc::new(record_column(&payload, &spans)))))
    }

    fn origin(&self, columns: Option<&RecordBatch>) -> Result<Origin, String> {
        let missing = |name: &str| format!("a frame has no {name}");
        let (payload, spans) = self.payload()?;
        let texts = match columns {
            Some(columns) if spans.is_empty() => Some(Arc::new(Answers(columns.clone())) as Arc<dyn RowTexts>),
            _ => None,
        };
        let ingested_at = match self.instants(INGESTED_AT)? {
            Some(each) => Instants::Each(each),
            None => Instants::All(self.number(INGESTED_AT)?),
        };
        Ok(Origin {
            partition: Partition::new(self.said(PARTITION)?, self.number(NUMBER)?),
            payload,
            spans,
            texts,
            names: None,
            offsets: self.numbers(OFFSET)?.ok_or_else(|| missing(OFFSET))?,
            bytes: self.numbers(BYTE)?,
            times: self.instants(TIME)?.ok_or_else(|| missing(TIME))?,
            ingested_at,
            headers: self.headers()?,
            keys: self.keys()?,
        })
    }

    /// The records, and where each lies; none where the rows never had bytes.
    fn payload(&self) -> Result<(Buffer, Vec<(u32, u32)>), String> {
        if let Some(texts) = self.rows.column_by_name(OUT) {
            let texts = texts.as_string_view_opt().ok_or_else(|| strange(OUT))?;
            let (mut bytes, mut spans) = (vec![], Vec::with_capacity(texts.len()));
            for row in 0..texts.len() {
                if texts.is_null(row) {
                    return Err("a record without a text".into());
                }
                let start = end_of(bytes.len())?;
                bytes.extend_from_slice(texts.value(row).as_bytes());
                spans.push((start, end_of(bytes.len())?));
            }
            return Ok((Buffer::from_vec(bytes), spans));
        }
        let Some(originals) = self.rows.column_by_name(ORIGINAL) else {
            return Ok((Buffer::from_vec(Vec::<u8>::new()), vec![]));
        };
        let originals = originals.as_binary_opt::<i64>().ok_or_else(|| strange(ORIGINAL))?;
        let ends = originals.value_offsets();
        let mut spans: Vec<(u32, u32)> = Vec::with_capacity(originals.len());
        for row in 0..originals.len() {
            spans.push(match originals.is_valid(row) {
                true => (end_of(ends[row] as usize)?, end_of(ends[row + 1] as usize)?),
                false => *spans.last().ok_or("the first row of a frame has no record")?,
            });
        }
        Ok((originals.values().clone(), spans))
    }

    fn headers(&self) -> Result<Headers, String> {
        if let Some(text) = self.metadata.get(HEADERS) {
            return Ok(Headers::Same(text.as_str().into()));
        }
        let Some(texts) = self.rows.column_by_name(HEADERS) else { return Ok(Headers::Absent) };
        let texts = texts.as_string_opt::<i32>().ok_or_else(|| strange(HEADERS))?;
        Ok(Headers::Each(texts.iter().map(|text| text.map(Arc::from)).collect()))
    }

    fn keys(&self) -> Result<Option<Keys>, String> {
        let Some(keys) = self.rows.column_by_name(KEY) else { return Ok(None) };
        let keys = keys.as_binary_opt::<i32>().ok_or_else(|| strange(KEY))?;
        Ok(Some(keys.iter().collect()))
    }
}

fn end_of(length: usize) -> Result<u32, String> {
    u32::try_from(length).map_err(|_| "a frame of more than 4 GiB".to_owned())
}

fn strange(name: &str) -> String {
    format!("{name} is not of its type")
}

/// The type of a column that says what rows do.
pub(crate) fn op_field() -> Field {
    Field::new(OP, DataType::UInt8, true)
}
