//! Records of a topic on their way into the batches of a question.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};
use syncline_engine::tables::{TableError, Wanted};
use syncline_functions::decode::validate;

use super::{
    super::{headers, queue::Record},
    BYTES, HEADERS, KEY, OFFSET, PARTITION, ROWS, TIME, Topic, Values,
    registered::{Reader, Wrong},
};
use crate::questions::column::Column;

pub struct Rows {
    topic: String,
    schema: SchemaRef,
    /// What is wanted: of the value, or one of the topic's own.
    wanted: Vec<Is>,
    /// As many as are wanted; those of a schema stay empty.
    columns: Vec<Column>,
    /// Reads what is wanted of values with schemas.
    reader: Option<Reader>,
    raw: bool,
    pub held: usize,
    bytes: usize,
    pub left: usize,
}

/// What a column is.
#[derive(Clone, Copy)]
enum Is {
    /// The value, as it is.
    Value,
    /// A part of it, which the reader knows.
    Part,
    /// The topic's own one of this number.
    Own(usize),
}

impl Rows {
    pub fn of(topic: &Topic, wanted: &Wanted) -> Result<Self, TableError> {
        let schema = topic.schema.project(&wanted.columns).map_err(|error| TableError::Place(error.to_string()))?;
        let columns = schema.fields().iter().map(|field| Column::of(field)).collect();
        let (parts, reader) = match &topic.values {
            Values::Registered(values) => (true, values.reader(&wanted.columns)),
            _ => (false, None),
        };
        let first = topic.values.columns();
        let is = |place: &usize| match place.checked_sub(first) {
            Some(own) => Is::Own(own),
            None if parts => Is::Part,
            None => Is::Value,
        };
        Ok(Self {
            topic: topic.topic.clone(),
            schema: Arc::new(schema),
            wanted: wanted.columns.iter().map(is).collect(),
            columns,
            reader,
            raw: matches!(topic.values, Values::Raw),
            held: 0,
            bytes: 0,
            left: wanted.most.unwrap_or(usize::MAX),
        })
    }

    pub fn is_full(&self) -> bool {
        self.held >= ROWS || self.bytes >= BYTES
    }

    pub fn put(&mut self, partition: i32, record: &Record) -> Result<(), TableError> {
        if let Some(reader) = &mut self.reader {
            let value = record.value();
            self.bytes += value.map_or(0, <[u8]>::len);
            let put = reader.put((partition, record.offset()), value);
            put.map_err(|wrong| told(&self.topic, wrong))?;
        }
        for (is, column) in self.wanted.iter().zip(&mut self.columns) {
            match (*is, record.value(), record.key()) {
                (Is::Part, ..) => {}
                (Is::Value, Some(value), _) => {
                    self.bytes += value.len();
                    match std::str::from_utf8(value).ok().filter(|_| self.raw || validate(value).is_ok()) {
                        _ if self.raw => column.bytes(value),
                        Some(text) => column.text(text).map_err(TableError::Value)?,
                        None => {
                            let place = (partition, record.offset());
                            return Err(TableError::Value(no_record(&self.topic, place, "is no JSON")));
                        }
                    }
                }
                (Is::Own(KEY), _, Some(key)) => {
                    self.bytes += key.len();
                    column.bytes(key);
                }
                (Is::Own(PARTITION), ..) => column.integer(i64::from(partition)),
                (Is::Own(OFFSET), ..) => column.integer(record.offset()),
                (Is::Own(TIME), ..) => match record.time() {
                    Some(milliseconds) => column.integer(milliseconds.saturating_mul(1000)),
                    None => column.null(),
                },
                (Is::Own(HEADERS), ..) => match headers::text(record) {
                    Some(text) => column.text(&text).map_err(TableError::Value)?,
                    None => column.null(),
                },
                _ => column.null(),
            }
        }
        (self.held, self.left) = (self.held + 1, self.left - 1);
        Ok(())
    }

    pub fn batch(&mut self) -> Result<RecordBatch, TableError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.held));
        (self.held, self.bytes) = (0, 0);
        let parts = self.reader.as_mut().map(Reader::finish).transpose().map_err(|wrong| told(&self.topic, wrong))?;
        let mut parts = parts.into_iter().flatten();
        let one = |(is, column): (&Is, &mut Column)| match is {
            Is::Part => parts.next().unwrap_or_else(|| column.finish()),
            _ => column.finish(),
        };
        let arrays: Vec<ArrayRef> = self.wanted.iter().zip(&mut self.columns).map(one).collect();
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| TableError::Place(error.to_string()))
    }
}

fn no_record(topic: &str, (partition, offset): (i32, i64), what: &str) -> String {
    format!(
        "record {offset} of partition {partition} of topic {topic} {what}; \"{topic} FORMAT raw\" has values as bytes"
    )
}

fn told(topic: &str, wrong: Wrong) -> TableError {
    match wrong {
        Wrong::Away(error) => TableError::Place(error.to_string()),
        Wrong::Record(place, reason) => {
            TableError::Value(no_record(topic, place, &format!("cannot be read ({}): {}", reason.slug, reason.detail)))
        }
    }
}
