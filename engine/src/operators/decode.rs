//! The first step of every chain: original bytes become columns.
//!
//! Only the fields that the pipeline reads are taken out; the whole record is checked all the same. A record that is not one
//! JSON object or CSV record in UTF-8, or breaks its schema, is dead. Here a record also gets its time, and its partition a watermark.

mod key;

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray, UInt8Array,
        UInt32Array, UInt64Array, new_null_array,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType},
};
use syncline_functions::{
    JsonWriter,
    csv::{self, CsvDecoder, Dialect},
    decode::{Decoder, Unknown, record_column},
    is_json,
    json::json_field,
    raw_column, sql_type_of,
};
use syncline_record::{
    Batch, Micros, Op, Origin, Partition, Reason, RowFailure,
    batch::{GROUP, LANE, MARK, OP, RECORD, ROW},
    time::NO_WATERMARK,
};

use self::key::KeyFields;
use crate::{
    operator::{Output, without},
    stream::{Carried, op_field},
};

/// A time this far ahead of the clock is a mistake, not an event, where nothing else is said: it would close every window.
pub const FUTURE: Micros = 3_600_000_000;

/// Metadata columns that a pipeline can read.
pub const METADATA: [&str; 8] =
    ["_key", "_topic", "_partition", "_offset", "_timestamp", "_headers", "_source", "_ingested_at"];

/// The column that is a record's time, and how long its watermark waits.
#[derive(Clone, Debug)]
pub struct EventTime {
    pub column: String,
    pub delay: Micros,
}

/// What is taken out of a record.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub fields: Vec<Field>,
    pub reject_unknown: bool,
    pub whole_record: bool,
    pub metadata: Vec<String>,
    pub event_time: Option<EventTime>,
    /// The records are CSV, not JSON.
    pub csv: Option<CsvRecords>,
    /// The records are one value, of the one field that is not among `key`.
    pub raw: bool,
    /// They come out of a stream.
    pub stream: Option<FromStream>,
    /// Fields that the keys of records hold: a record without a value deletes the row of its key.
    pub key: Vec<String>,
}

impl Wanted {
    /// Rows say what each of them does.
    fn changes(&self) -> bool {
        self.stream.is_some_and(|stream| stream.changes) || !self.key.is_empty()
    }
}

/// Rows that another pipeline wrote bring the marks of their own partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FromStream {
    /// They say what each of them does.
    pub changes: bool,
}

/// How records of CSV are read.
#[derive(Clone, Debug)]
pub struct CsvRecords {
    pub dialect: Dialect,
    /// The fields are those of a schema, in its order; else those that some step reads.
    pub declared: bool,
}

/// Reads the fields of records.
enum Reader {
    Json(Decoder),
    Csv(CsvDecoder),
    /// The fields, and the place of the one that a record is.
    Raw(Vec<Field>, usize),
}

pub struct Decode {
    wanted: Wanted,
    reader: Reader,
    key: Option<KeyFields>,
    schema: SchemaRef,
    /// Highest watermark per partition; never goes back.
    watermarks: BTreeMap<String, Micros>,
    /// Told of every field that is not wanted, once.
    tell: Option<Tell>,
    /// How far ahead of the clock a time may be.
    future: Micros,
    /// The rows are as they left an earlier stage (`hop`), and have all columns.
    whole: bool,
}

/// What happens when a record has a field that none had before.
pub type Tell = Box<dyn Fn(&str) + Send + Sync>;

impl Decode {
    pub fn new(wanted: Wanted) -> Self {
        let unknown = if wanted.reject_unknown { Unknown::Reject } else { Unknown::Ignore };
        let reader = Reader::new(&wanted, unknown);
        let mut fields: Vec<Field> = wanted.fields.iter().map(|field| field.clone().with_nullable(true)).collect();
        fields.extend(wanted.metadata.iter().map(|name| metadata_field(name)));
        if wanted.whole_record {
            fields.push(json_field(RECORD));
        }
        if wanted.event_time.is_some() || wanted.stream.is_some() {
            fields.push(Field::new(MARK, DataType::Int64, false));
        }
        if wanted.changes() {
            fields.push(op_field());
        }
        fields.push(Field::new(ROW, DataType::UInt32, false));
        Self {
            key: KeyFields::of(&wanted.key, &wanted.fields),
            wanted,
            reader,
            schema: Arc::new(Schema::new(fields)),
            watermarks: BTreeMap::new(),
            tell: None,
            future: FUTURE,
            whole: false,
        }
    }

    /// Of rows that come through a hop, with these columns.
    pub fn whole(schema: SchemaRef) -> Self {
        let wanted = Wanted {
            fields: vec![],
            reject_unknown: false,
            whole_record: false,
            metadata: vec![],
            event_time: None,
            csv: None,
            raw: false,
            stream: None,
            key: vec![],
        };
        Self { schema, whole: true, ..Self::new(wanted) }
    }

    /// Fields that are not wanted are told, once each.
    pub fn telling(mut self, tell: Tell) -> Self {
        self.reader = Reader::new(&self.wanted, Unknown::Tell);
        self.tell = Some(tell);
        self
    }

    /// Times may be as far ahead of the clock as this.
    pub fn ahead(mut self, future: Micros) -> Self {
        self.future = future;
        self
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Watermark per partition, for the checkpoint.
    pub fn watermarks(&self) -> &BTreeMap<String, Micros> {
        &self.watermarks
    }

    pub fn restore(&mut self, watermarks: BTreeMap<String, Micros>) {
        self.watermarks = watermarks;
    }

    /// Rows of one poll, with their fields where the source has types. `now` is the clock, against which a time can be too far ahead.
    pub fn push(&mut self, mut origin: Origin, columns: Option<RecordBatch>, now: Micros, out: &mut Output) {
        let typed = columns;
        let Read { mut columns, mut records, bad, new_names } = self.reader.read(&origin, typed.as_ref());
        if let Some(typed) = typed.filter(|_| self.wanted.whole_record && origin.texts.is_none()) {
            records = Some(written(&typed));
        }
        if let Some(tell) = &self.tell {
            new_names.iter().for_each(|name| tell(name));
        }
        let metadata: Vec<ArrayRef> = self.wanted.metadata.iter().map(|name| metadata_column(name, &origin)).collect();
        let mut failed: Vec<RowFailure> = bad.into_iter().map(|(row, reason)| RowFailure { row, reason }).collect();
        let ops = match &self.key {
            Some(key) => Some(key.fill(&origin, &mut columns, &mut failed)),
            None => {
                key::refuse(&origin, &mut failed);
                None
            }
        };
        self.take_event_times(&columns, &mut origin);
        self.refuse_future(&origin, now, &mut failed);
        let (marks, watermark) = self.advance(&origin, &failed);
        columns.extend(metadata);
        self.put_out(origin, columns, records, Told { marks, ops, watermark }, failed, out);
    }

    /// Rows out of a stream: their times and their marks are what they were in the writer.
    /// What is said of rows that do not have the columns of the step before.
    pub fn push_streamed(&mut self, stream: &Partition, rows: Carried, out: &mut Output) -> Result<(), String> {
        if self.whole {
            out.emit(self.as_they_were(stream, rows)?);
            return Ok(());
        }
        let Carried { origin, columns, marks, ops } = rows;
        let Read { mut columns, records, bad, .. } = self.reader.read(&origin, columns.as_ref());
        let metadata: Vec<ArrayRef> = self.wanted.metadata.iter().map(|name| metadata_column(name, &origin)).collect();
        let failed: Vec<RowFailure> = bad.into_iter().map(|(row, reason)| RowFailure { row, reason }).collect();
        let watermark = self.watermarks.get(&stream.to_string()).copied().unwrap_or(NO_WATERMARK);
        let marks = marks.unwrap_or_else(|| vec![NO_WATERMARK; origin.rows()]);
        columns.extend(metadata);
        self.put_out(origin, columns, records, Told { marks, ops, watermark }, failed, out);
        Ok(())
    }

    fn as_they_were(&self, writer: &Partition, rows: Carried) -> Result<Batch, String> {
        let Carried { origin, columns, .. } = rows;
        let given = columns.ok_or("they are whole records, and named columns are read")?;
        let count = origin.rows();
        let had = given.schema();
        let column = |field: &Arc<Field>| -> Result<ArrayRef, String> {
            let there = had.column_with_name(field.name()).map(|(index, had)| (had, given.column(index)));
            match (field.name().as_str(), there) {
                (ROW, _) => Ok(Arc::new(UInt32Array::from_iter_values(0..count as u32))),
                (_, Some((had, column))) if is_of_the_type(had, field) => Ok(column.clone()),
                // Whoever writes rows that all do the same does not say so.
                (OP, None) => Ok(Arc::new(UInt8Array::from_value(Op::Insert as u8, count))),
                (LANE | GROUP, None) => Ok(new_null_array(field.data_type(), count)),
                (name, Some((had, _))) => {
                    Err(format!("{name} is {}, and {} is read now", sql_type_of(had), sql_type_of(field)))
                }
                (name, None) => Err(format!("they have no column {name}")),
            }
        };
        let columns = self.schema.fields().iter().map(column).collect::<Result<_, _>>()?;
        let rows = RecordBatch::try_new(self.schema.clone(), columns).map_err(|error| error.to_string())?;
        let watermark = self.watermarks.get(&writer.to_string()).copied().unwrap_or(NO_WATERMARK);
        Ok(Batch { origin: Arc::new(origin), rows, watermark })
    }

    /// Time has come so far in the writer of a stream.
    pub fn mark(&mut self, stream: &Partition, mark: Micros) {
        let watermark = self.watermarks.entry(stream.to_string()).or_insert(mark);
        *watermark = mark.max(*watermark);
    }

    fn put_out(
        &self,
        origin: Origin,
        mut columns: Vec<ArrayRef>,
        records: Option<StringViewArray>,
        Told { marks, ops, watermark }: Told,
        failed: Vec<RowFailure>,
        out: &mut Output,
    ) {
        let rows = origin.rows();
        if self.wanted.whole_record {
            let records = records.unwrap_or_else(|| record_column_or_null(&origin, &failed));
            columns.push(Arc::new(key::whole(&origin, records)));
        }
        if self.wanted.event_time.is_some() || self.wanted.stream.is_some() {
            columns.push(Arc::new(Int64Array::from(marks)));
        }
        if self.wanted.changes() {
            columns.push(Arc::new(ops.unwrap_or_else(|| UInt8Array::from_value(Op::Insert as u8, rows))));
        }
        columns.push(Arc::new(UInt32Array::from_iter_values(0..rows as u32)));
        let rows_batch =
            RecordBatch::try_new(self.schema.clone(), columns).expect("the decoder returns the columns of its fields");
        let batch = Batch { origin: Arc::new(origin), rows: rows_batch, watermark };
        out.dead(&batch, &failed);
        out.emit(batch.keep(&without(rows, &failed)));
    }

    fn take_event_times(&self, columns: &[ArrayRef], origin: &mut Origin) {
        let Some(event) = &self.wanted.event_time else { return };
        let Some(index) = self.wanted.fields.iter().position(|field| *field.name() == event.column) else { return };
        let Some(times) = columns[index].as_primitive_opt::<TimestampMicrosecondType>() else { return };
        for row in 0..times.len() {
            if times.is_valid(row) {
                origin.times[row] = times.value(row);
            }
        }
    }

    fn refuse_future(&self, origin: &Origin, now: Micros, failed: &mut Vec<RowFailure>) {
        let latest = now.saturating_add(self.future);
        if origin.times.iter().all(|time| *time <= latest) {
            return;
        }
        for (row, time) in origin.times.iter().enumerate() {
            let known = failed.iter().any(|failure| failure.row as usize == row);
            if *time > latest && !known {
                let detail = format!("its time is {} ms ahead of the clock", (time - now) / 1000);
                failed.push(RowFailure { row: row as u32, reason: Reason::new("future", detail) });
            }
        }
        failed.sort_by_key(|failure| failure.row);
    }

    /// Moves the partition's watermark by the rows that live; returns it as it was before each row.
    fn advance(&mut self, origin: &Origin, failed: &[RowFailure]) -> (Vec<Micros>, Micros) {
        let delay = self.delay();
        let name = origin.partition.to_string();
        let mut watermark = self.watermarks.get(&name).copied().unwrap_or(NO_WATERMARK);
        let mut marks = Vec::with_capacity(origin.rows());
        let mut dead = failed.iter().map(|failure| failure.row as usize).peekable();
        // What has no value has no time of its own: it would push the others' aside.
        let timeless = origin.keys.as_ref().filter(|_| self.wanted.event_time.is_some());
        let timeless = timeless.map_or(&[][..], |keys| keys.alone());
        for (row, time) in origin.times.iter().enumerate() {
            marks.push(watermark);
            if dead.next_if_eq(&row).is_none() && timeless.binary_search(&(row as u32)).is_err() {
                watermark = watermark.max(time.saturating_sub(delay));
            }
        }
        if watermark != NO_WATERMARK {
            self.watermarks.insert(name, watermark);
        }
        (marks, watermark)
    }

    /// How long the watermark waits behind the highest time.
    pub fn delay(&self) -> Micros {
        self.wanted.event_time.as_ref().map_or(0, |event| event.delay)
    }
}

/// Whether the values of a column are what is read now. JSON and STRING are one in memory: only their fields say which it is. Columns of
/// our own are never told apart by that.
fn is_of_the_type(had: &Field, read: &Field) -> bool {
    had.data_type() == read.data_type() && (read.name().starts_with("__") || is_json(had) == is_json(read))
}

/// What is known of the rows of one poll beside their columns.
struct Told {
    /// The watermark of its partition before each row.
    marks: Vec<Micros>,
    ops: Option<UInt8Array>,
    /// The watermark behind them.
    watermark: Micros,
}

/// What a reader makes of the records of one poll.
struct Read {
    columns: Vec<ArrayRef>,
    /// The records as JSON objects, where they are something else.
    records: Option<StringViewArray>,
    bad: Vec<(u32, Reason)>,
    /// Of fields that are not wanted, where somebody asks for them.
    new_names: Vec<String>,
}

impl Reader {
    fn new(wanted: &Wanted, unknown: Unknown) -> Self {
        // What a key holds, the value need not hold again.
        let of_key = |field: &Field| field.is_nullable() || wanted.key.contains(field.name());
        let fields: Vec<Field> = wanted.fields.iter().map(|field| field.clone().with_nullable(of_key(field))).collect();
        match &wanted.csv {
            None if wanted.raw => {
                let value = fields.iter().position(|field| !wanted.key.contains(field.name()));
                Self::Raw(fields, value.unwrap_or_default())
            }
            None => Self::Json(Decoder::new(&fields, unknown)),
            Some(CsvRecords { dialect, declared }) => {
                let whole = wanted.whole_record;
                Self::Csv(CsvDecoder::new(&fields, unknown, *declared, dialect.clone(), whole))
            }
        }
    }

    fn read(&mut self, origin: &Origin, typed: Option<&RecordBatch>) -> Read {
        let decoded = match (self, typed) {
            (Self::Json(decoder), None) => decoder.decode(&origin.payload, &origin.spans),
            (Self::Json(decoder), Some(typed)) => decoder.take(typed),
            (Self::Raw(fields, value), _) => {
                let (column, bad) = raw_column(&origin.payload, &origin.spans, &fields[*value]);
                let mut columns: Vec<ArrayRef> =
                    fields.iter().map(|field| new_null_array(field.data_type(), origin.rows())).collect();
                columns[*value] = column;
                return Read { columns, records: None, bad, new_names: vec![] };
            }
            (Self::Csv(decoder), _) => {
                let csv::Decoded { columns, records, bad, new_names } =
                    decoder.decode(&origin.payload, &origin.spans, origin.names.as_ref());
                return Read { columns, records, bad, new_names };
            }
        };
        Read { columns: decoded.columns, records: None, bad: decoded.bad, new_names: decoded.new_names }
    }
}

fn record_column_or_null(origin: &Origin, failed: &[RowFailure]) -> StringViewArray {
    if origin.texts.is_some() {
        let texts = (0..origin.rows()).map(|row| String::from_utf8(origin.bytes_of(row).into_owned()).ok());
        return texts.collect();
    }
    if failed.is_empty() {
        return record_column(&origin.payload, &origin.spans);
    }
    let dead: Vec<u32> = failed.iter().map(|failure| failure.row).collect();
    let payload = origin.payload.as_slice();
    let spans = origin.spans.iter().enumerate();
    spans
        .map(|(row, (start, end))| match dead.binary_search(&(row as u32)) {
            Ok(_) => None,
            Err(_) => std::str::from_utf8(&payload[*start as usize..*end as usize]).ok(),
        })
        .collect()
}

/// Rows of a source that has types and bytes: the bytes are no documents.
fn written(rows: &RecordBatch) -> StringViewArray {
    let writer = JsonWriter::new(&rows.schema());
    let mut text = Vec::new();
    let texts = (0..rows.num_rows()).map(|row| {
        text.clear();
        writer.write_row(rows, row, &mut text);
        std::str::from_utf8(&text).ok().map(str::to_owned)
    });
    texts.collect()
}

fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

/// Name and type of a metadata column.
pub fn metadata_field(name: &str) -> Field {
    match name {
        "_headers" => json_field(name),
        "_offset" => Field::new(name, DataType::UInt64, true),
        "_partition" => Field::new(name, DataType::UInt32, true),
        "_timestamp" | "_ingested_at" => Field::new(name, timestamp(), true),
        "_key" => Field::new(name, DataType::Binary, true),
        _ => Field::new(name, DataType::Utf8View, true),
    }
}

fn metadata_column(name: &str, origin: &Origin) -> ArrayRef {
    let rows = origin.rows();
    match name {
        "_headers" => Arc::new(StringViewArray::from_iter((0..rows).map(|row| origin.headers.get(row)))),
        "_offset" => Arc::new(UInt64Array::from(origin.offsets.clone())),
        "_partition" => Arc::new(UInt32Array::from_value(origin.partition.number, rows)),
        "_timestamp" => Arc::new(TimestampMicrosecondArray::from(origin.times.clone())),
        "_ingested_at" => {
            Arc::new(TimestampMicrosecondArray::from_iter_values((0..rows).map(|row| origin.ingested_at.get(row))))
        }
        "_key" => Arc::new(arrow::array::BinaryArray::from_iter((0..rows).map(|row| origin.keys.as_ref()?.get(row)))),
        _ => Arc::new(StringViewArray::from_iter((0..rows).map(|_| Some(&*origin.partition.name)))),
    }
}
