//! Topics as questions read them: what is committed, from the first record to where the topic ends when the reading begins.
//!
//! | column | |
//! |---|---|
//! | `value` | JSON; NULL for a record without one. A record that is no JSON is an error of whoever asks for its value |
//! | `_key` | BYTES |
//! | `_partition`, `_offset` | where it lies |
//! | `_timestamp` | its time; NULL where the topic has none |
//! | `_headers` | JSON, as in pipelines |
//!
//! `"orders FORMAT raw"` is the same topic with its values as BYTES. A condition on `_partition`, `_offset`, or on a least `_timestamp` says
//! where the reading begins and ends; that of a greatest one does not, for times need not be in order.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use syncline_engine::tables::{Condition, Give, Is, Listed, Literal, Stop, Table, TableError, Tables, Wanted};
use syncline_functions::{decode::validate, json_field};

use super::{
    client::{Ears, Held, Settings},
    headers,
    queue::{Queue, Record, Taken},
    start::Start,
    trouble::{event, metadata, of_partition, words},
};
use crate::{
    questions::column::{Column, TIMESTAMP},
    spec::{Arguments, ConnectorError, Surroundings},
};

/// How long somebody who waits for an answer is kept.
const PATIENCE: Duration = Duration::from_secs(5);
/// A reading in which nothing comes for so long is over.
const STALLED: Duration = Duration::from_secs(15);
/// Between two looks for records where there were none.
const BLINK: Duration = Duration::from_millis(5);
/// Records that are taken at once, and rows and bytes of a batch.
const TAKEN: usize = 1024;
const ROWS: usize = 4096;
const BYTES: usize = 4 << 20;
/// KiB that the client holds of records that nobody has taken yet, of all partitions together.
const AHEAD_KIB: usize = 32 << 10;
/// The longest name of a topic.
const LONGEST_NAME: usize = 249;
/// What stands behind the name of a topic whose values are bytes.
const RAW: &str = " format raw";

/// Places of the columns.
const VALUE: usize = 0;
const KEY: usize = 1;
const PARTITION: usize = 2;
const OFFSET: usize = 3;
const TIME: usize = 4;
const HEADERS: usize = 5;

fn schema(raw: bool) -> SchemaRef {
    let value = if raw { Field::new("value", DataType::Binary, true) } else { json_field("value") };
    Arc::new(Schema::new(vec![
        value,
        Field::new("_key", DataType::Binary, true),
        Field::new("_partition", DataType::Int64, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_timestamp", TIMESTAMP, true),
        json_field("_headers"),
    ]))
}

#[derive(Clone)]
struct Cluster {
    settings: Settings,
}

pub(crate) fn questions(arguments: &Arguments, around: &Surroundings) -> Result<Arc<dyn Tables>, ConnectorError> {
    Ok(Arc::new(Cluster { settings: Settings::new(arguments, around)? }))
}

type Client = BaseConsumer<Ears>;

impl Cluster {
    fn failed(&self, detail: &str) -> TableError {
        TableError::Place(format!("{}: {detail}", self.settings.brokers))
    }

    fn said(&self, error: &KafkaError) -> TableError {
        self.failed(&words(error))
    }

    /// `partitions`: of which there will be records.
    fn client(&self, partitions: usize) -> Result<Client, TableError> {
        let each = (AHEAD_KIB / partitions.max(1)).max(64).to_string();
        let mut config = self.settings.reading(&[("fetch.wait.max.ms", "100"), ("queued.max.messages.kbytes", &each)]);
        // The client wants one, and nothing is committed to it.
        config.set("group.id", "syncline.query");
        config.create_with_context(Ears::default()).map_err(|error| self.said(&error))
    }

    /// The topics of the cluster, with their partitions; of this name, or all.
    fn topics(&self, client: &Client, name: Option<&str>) -> Result<Vec<(String, Vec<i32>)>, TableError> {
        let found = metadata(client, name, PATIENCE).map_err(|none| self.failed(&none.words()))?;
        let topics = found.topics().iter().filter(|topic| topic.error().is_none());
        let topics = topics.map(|topic| {
            let numbers = topic.partitions().iter().map(|partition| partition.id());
            (topic.name().to_owned(), numbers.collect::<Vec<_>>())
        });
        Ok(topics.filter(|(_, partitions)| !partitions.is_empty()).collect())
    }
}

impl Tables for Cluster {
    fn all(&self) -> Result<Vec<Listed>, TableError> {
        let client = Held::new(self.client(1)?);
        let topics = self.topics(&client, None)?;
        // Kafka's own are nobody's.
        let ours = topics.into_iter().filter(|(name, _)| !name.starts_with("__"));
        Ok(ours.map(|(name, _)| Listed { name, schema: schema(false) }).collect())
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        let raw = name.to_ascii_lowercase().ends_with(RAW);
        let name = if raw { &name[..name.len() - RAW.len()] } else { name };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(plain) {
            return Ok(None);
        }
        let client = Held::new(self.client(1)?);
        let mut found = self.topics(&client, Some(name))?;
        if found.is_empty() {
            found = self.topics(&client, None)?;
            found.retain(|(topic, _)| topic.eq_ignore_ascii_case(name));
        }
        let topic = found.into_iter().next();
        Ok(topic
            .map(|(topic, _)| Arc::new(Topic { cluster: self.clone(), topic, schema: schema(raw) }) as Arc<dyn Table>))
    }
}

struct Topic {
    cluster: Cluster,
    topic: String,
    schema: SchemaRef,
}

/// What conditions leave of a topic.
#[derive(Debug, PartialEq)]
struct Range {
    partitions: (i64, i64),
    /// From, and before.
    offsets: (i64, i64),
    least_time: Option<i64>,
}

impl Range {
    fn of(conditions: &[Condition]) -> Self {
        let mut range = Self { partitions: (0, i64::MAX), offsets: (0, i64::MAX), least_time: None };
        for condition in conditions {
            match (condition.column, bounds(&condition.is)) {
                (PARTITION, (least, most)) => narrow(&mut range.partitions, least, most),
                (OFFSET, (least, most)) => narrow(&mut range.offsets, least, most),
                (TIME, (least, _)) => range.least_time = range.least_time.max(least),
                _ => {}
            }
        }
        range
    }
}

fn narrow(range: &mut (i64, i64), least: Option<i64>, most: Option<i64>) {
    range.0 = range.0.max(least.unwrap_or(i64::MIN));
    range.1 = range.1.min(most.map_or(i64::MAX, |most| most.saturating_add(1)));
}

/// The least and the greatest that a condition allows.
fn bounds(is: &Is) -> (Option<i64>, Option<i64>) {
    let number = |literal: &Literal| match literal {
        Literal::Integer(number) | Literal::Time(number) => Some(*number),
        _ => None,
    };
    match is {
        Is::OneOf(literals) => {
            let numbers: Option<Vec<i64>> = literals.iter().map(number).collect();
            numbers.map_or((None, None), |numbers| (numbers.iter().min().copied(), numbers.iter().max().copied()))
        }
        Is::AtLeast(literal) => (number(literal), None),
        Is::AtMost(literal) => (None, number(literal)),
    }
}

/// What is open.
struct Reading {
    // Before the client, which has to go last.
    lanes: Vec<Lane>,
    client: Arc<Client>,
}

/// A partition.
struct Lane {
    number: i32,
    queue: Queue<Ears>,
    next: i64,
    until: i64,
    over: bool,
}

impl Topic {
    fn what(&self) -> String {
        format!("topic {} at {}", self.topic, self.cluster.settings.brokers)
    }

    /// Begins to read what there is in a range.
    fn open(&self, range: &Range) -> Result<Reading, TableError> {
        let said = |error: KafkaError| self.cluster.said(&error);
        let topics = self.cluster.topics(&Held::new(self.cluster.client(1)?), Some(&self.topic))?;
        let (_, mut numbers) = topics.into_iter().next().ok_or_else(|| self.cluster.failed("the topic is gone"))?;
        numbers.retain(|number| (range.partitions.0..range.partitions.1).contains(&i64::from(*number)));
        let client = Arc::new(self.cluster.client(numbers.len())?);
        let mut reading = Reading { lanes: vec![], client: client.clone() };
        let mut list = TopicPartitionList::new();
        for number in numbers {
            let (oldest, end) = client.fetch_watermarks(&self.topic, number, PATIENCE).map_err(said)?;
            let mut next = oldest.max(range.offsets.0);
            if let Some(least) = range.least_time {
                next = next.max(Start::Time(least).offset(&client, &self.topic, number, (oldest, end)).map_err(said)?);
            }
            let until = end.min(range.offsets.1);
            if next >= until {
                continue;
            }
            let queue = Queue::of(&client, &self.topic, number);
            let queue = queue.ok_or_else(|| self.cluster.failed("the client has no such partition"))?;
            list.add_partition_offset(&self.topic, number, Offset::Offset(next)).map_err(said)?;
            reading.lanes.push(Lane { number, queue, next, until, over: false });
        }
        client.assign(&list).map_err(said)?;
        Ok(reading)
    }
}

impl Table for Topic {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn takes(&self, condition: &Condition) -> bool {
        match condition.column {
            PARTITION | OFFSET => bounds(&condition.is) != (None, None),
            TIME => bounds(&condition.is).0.is_some(),
            _ => false,
        }
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        let mut reading = Held::new(self.open(&Range::of(&wanted.conditions))?);
        let Reading { lanes, client } = &mut *reading;
        let mut rows = Rows::of(self, wanted)?;
        let mut heard = Instant::now();
        while lanes.iter().any(|lane| !lane.over) && rows.left > 0 {
            if stop.is_stopped() {
                return Err(TableError::Over);
            }
            let mut came = false;
            for lane in lanes.iter_mut().filter(|lane| !lane.over) {
                came |= lane.take(&self.what(), &mut rows)?;
                if rows.is_full() && !give(rows.batch()?) {
                    return Err(TableError::Over);
                }
            }
            match came {
                true => heard = Instant::now(),
                false if heard.elapsed() > STALLED => {
                    let detail = format!("nothing more of topic {} has come in {} s", self.topic, STALLED.as_secs());
                    return Err(self.cluster.failed(&detail));
                }
                false => {
                    event(client, &self.what()).map_err(|error| TableError::Place(error.to_string()))?;
                    thread::sleep(BLINK);
                }
            }
        }
        if rows.held > 0 {
            give(rows.batch()?);
        }
        Ok(())
    }
}

impl Lane {
    /// Whether anything came.
    fn take(&mut self, what: &str, rows: &mut Rows) -> Result<bool, TableError> {
        let Self { number, queue, next, until, over } = self;
        let mut wrong = None;
        let came = queue.take(TAKEN, |taken| match taken {
            Taken::Record(record) if record.offset() >= *until => *over = true,
            // It came twice after a reconnection, or nobody wants it any more.
            Taken::Record(record) if record.offset() < *next || rows.left == 0 || wrong.is_some() => {}
            Taken::Record(record) => {
                *next = record.offset() + 1;
                // What comes behind it may be marks of transactions, which nobody is told of.
                *over |= *next >= *until;
                wrong = rows.put(*number, &record).err();
            }
            // What is not committed by now is not in the answer.
            Taken::End(_) => *over = true,
            Taken::Trouble(code, text) => {
                let error = of_partition(format!("partition {number} of {what}"), code, &text);
                wrong = Some(TableError::Place(error.to_string()));
            }
        });
        wrong.map_or(Ok(came), Err)
    }
}

/// Rows on their way into batches.
struct Rows {
    topic: String,
    schema: SchemaRef,
    wanted: Vec<usize>,
    columns: Vec<Column>,
    raw: bool,
    held: usize,
    bytes: usize,
    left: usize,
}

impl Rows {
    fn of(topic: &Topic, wanted: &Wanted) -> Result<Self, TableError> {
        let schema = topic.schema.project(&wanted.columns).map_err(|error| TableError::Place(error.to_string()))?;
        let columns = schema.fields().iter().map(|field| Column::of(field)).collect();
        Ok(Self {
            topic: topic.topic.clone(),
            schema: Arc::new(schema),
            wanted: wanted.columns.clone(),
            columns,
            raw: topic.schema.field(VALUE).data_type() == &DataType::Binary,
            held: 0,
            bytes: 0,
            left: wanted.most.unwrap_or(usize::MAX),
        })
    }

    fn is_full(&self) -> bool {
        self.held >= ROWS || self.bytes >= BYTES
    }

    fn put(&mut self, partition: i32, record: &Record) -> Result<(), TableError> {
        for (place, column) in self.wanted.iter().zip(&mut self.columns) {
            match (*place, record.value(), record.key()) {
                (VALUE, Some(value), _) => {
                    self.bytes += value.len();
                    match std::str::from_utf8(value).ok().filter(|_| self.raw || validate(value).is_ok()) {
                        _ if self.raw => column.bytes(value),
                        Some(text) => column.text(text).map_err(TableError::Value)?,
                        None => {
                            let topic = &self.topic;
                            return Err(TableError::Value(format!(
                                "record {} of partition {partition} of topic {topic} is no JSON; \"{topic} FORMAT raw\" has values as bytes",
                                record.offset()
                            )));
                        }
                    }
                }
                (KEY, _, Some(key)) => {
                    self.bytes += key.len();
                    column.bytes(key);
                }
                (PARTITION, ..) => column.integer(i64::from(partition)),
                (OFFSET, ..) => column.integer(record.offset()),
                (TIME, ..) => match record.time() {
                    Some(milliseconds) => column.integer(milliseconds.saturating_mul(1000)),
                    None => column.null(),
                },
                (HEADERS, ..) => match headers::text(record) {
                    Some(text) => column.text(&text).map_err(TableError::Value)?,
                    None => column.null(),
                },
                _ => column.null(),
            }
        }
        (self.held, self.left) = (self.held + 1, self.left - 1);
        Ok(())
    }

    fn batch(&mut self) -> Result<RecordBatch, TableError> {
        let options = RecordBatchOptions::new().with_row_count(Some(self.held));
        (self.held, self.bytes) = (0, 0);
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        RecordBatch::try_new_with_options(self.schema.clone(), arrays, &options)
            .map_err(|error| TableError::Place(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_where_a_reading_begins_and_ends() {
        let condition = |column, is| Condition { column, is };
        let conditions = [
            condition(PARTITION, Is::OneOf(vec![Literal::Integer(2), Literal::Integer(1)])),
            condition(OFFSET, Is::AtLeast(Literal::Integer(10))),
            condition(OFFSET, Is::AtMost(Literal::Integer(20))),
            condition(OFFSET, Is::AtLeast(Literal::Integer(5))),
            condition(TIME, Is::AtLeast(Literal::Time(7))),
            condition(TIME, Is::AtMost(Literal::Time(9))),
        ];
        let expected = Range { partitions: (1, 3), offsets: (10, 21), least_time: Some(7) };
        assert_eq!(Range::of(&conditions), expected);
    }
}
