//! Topics as questions read them: what is committed, from the first record to where the topic ends when the reading begins.
//!
//! | column | |
//! |---|---|
//! | `value` | JSON; NULL for a record without one. A record that is no JSON is an error of whoever asks for its value |
//! | those of a schema | instead, where the registry of the connection has one for the topic's values |
//! | `_key` | BYTES |
//! | `_partition`, `_offset` | where it lies |
//! | `_timestamp` | its time; NULL where the topic has none |
//! | `_headers` | JSON, as in pipelines |
//!
//! `"orders FORMAT raw"` is the same topic with its values as BYTES, `"orders FORMAT json"` with them as JSON: neither asks a registry. A condition on `_partition`, `_offset`, or on a least `_timestamp` says
//! where the reading begins and ends; that of a greatest one does not, for times need not be in order.

mod registered;
mod rows;

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError,
};
use syncline_engine::tables::{Condition, Give, Is, Listed, Literal, Stop, Table, TableError, Tables, Wanted};
use syncline_functions::json_field;

use self::rows::Rows;
use super::{
    client::{Ears, Held, Settings},
    queue::{Queue, Taken},
    start::Start,
    topic,
    trouble::{event, metadata, of_partition, words},
};
use crate::{
    questions::column::TIMESTAMP,
    registered::client::Client as Registry,
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
/// What stands behind the name of a topic whose values are taken for that, whatever a registry says.
const RAW: &str = " format raw";
const JSON: &str = " format json";

/// Places of a topic's own columns, behind those of its values.
const KEY: usize = 0;
const PARTITION: usize = 1;
const OFFSET: usize = 2;
const TIME: usize = 3;
const HEADERS: usize = 4;

fn own() -> [Field; 5] {
    [
        Field::new("_key", DataType::Binary, true),
        Field::new("_partition", DataType::Int64, false),
        Field::new("_offset", DataType::Int64, false),
        Field::new("_timestamp", TIMESTAMP, true),
        json_field("_headers"),
    ]
}

/// What the values of a topic are.
#[derive(Clone)]
enum Values {
    Json,
    Raw,
    Registered(registered::Values),
}

impl Values {
    fn fields(&self) -> Vec<Field> {
        match self {
            Self::Json => vec![json_field("value")],
            Self::Raw => vec![Field::new("value", DataType::Binary, true)],
            Self::Registered(values) => values.fields.clone(),
        }
    }

    /// How many columns stand before the topic's own.
    fn columns(&self) -> usize {
        match self {
            Self::Json | Self::Raw => 1,
            Self::Registered(values) => values.fields.len(),
        }
    }

    /// None: a column would have two meanings; then its name.
    fn schema(&self) -> Result<SchemaRef, String> {
        let mut fields: Vec<Field> = self.fields();
        for field in own() {
            match fields.iter().any(|known| known.name() == field.name()) {
                true => return Err(field.name().clone()),
                false => fields.push(field),
            }
        }
        Ok(Arc::new(Schema::new(fields)))
    }
}

/// Of a topic of which no more is known.
fn own_schema() -> SchemaRef {
    Arc::new(Schema::new(own().to_vec()))
}

#[derive(Clone)]
struct Cluster {
    settings: Settings,
    registry: Option<Registry>,
}

pub(crate) fn questions(arguments: &Arguments, around: &Surroundings) -> Result<Arc<dyn Tables>, ConnectorError> {
    let registry = match arguments.text("schema_registry") {
        "" => None,
        _ => Some(Registry::new(arguments, around)?),
    };
    Ok(Arc::new(Cluster { settings: Settings::new(arguments, around)?, registry }))
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
        let ours = topics.into_iter().map(|(name, _)| name).filter(|name| !name.starts_with("__"));
        Ok(self.listed(ours.collect()))
    }

    fn table(&self, name: &str) -> Result<Option<Arc<dyn Table>>, TableError> {
        let lower = name.to_ascii_lowercase();
        let said = [(RAW, Values::Raw), (JSON, Values::Json)].into_iter().find(|(suffix, _)| lower.ends_with(suffix));
        let name = said.as_ref().map_or(name, |(suffix, _)| &name[..name.len() - suffix.len()]);
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
        let Some((topic, _)) = found.into_iter().next() else { return Ok(None) };
        let values = match (said, &self.registry) {
            (Some((_, values)), _) => values,
            (None, Some(registry)) => self.registered(registry, &topic)?,
            (None, None) => Values::Json,
        };
        let schema = values.schema().map_err(|name| self.failed(&twice(&topic, &name)))?;
        Ok(Some(Arc::new(Topic { cluster: self.clone(), topic, values, schema })))
    }
}

impl Cluster {
    /// What the registry says of a topic's values.
    fn registered(&self, registry: &Registry, topic: &str) -> Result<Values, TableError> {
        match registered::Values::of(registry, topic) {
            Ok(found) => Ok(found.map_or(Values::Json, Values::Registered)),
            Err(error) => {
                let without = format!("\"{topic} FORMAT json\" and \"{topic} FORMAT raw\" are read without it");
                Err(TableError::Place(format!("{error}; {without}")))
            }
        }
    }

    /// Topics with their columns. Those of values are left out where the registry does not tell them: nothing else is known.
    fn listed(&self, topics: Vec<String>) -> Vec<Listed> {
        let known = match &self.registry {
            None => Ok(Default::default()),
            Some(registry) => registered::Values::all(registry, &topics),
        };
        if let Err(error) = &known {
            tracing::debug!("columns of values are not listed: {error}");
        }
        let of = |name: String| {
            let schema = match known.as_ref().map(|known| known.get(&name)) {
                Ok(None) => Values::Json.schema().ok(),
                Ok(Some(Some(values))) => Values::Registered(values.clone()).schema().ok(),
                Ok(Some(None)) | Err(_) => None,
            };
            Listed { name, schema: schema.unwrap_or_else(own_schema) }
        };
        topics.into_iter().map(of).collect()
    }
}

fn twice(topic: &str, name: &str) -> String {
    format!(
        "the schema of topic {topic} has a field {name}, which is a column of every topic; \"{topic} FORMAT raw\" has values as bytes"
    )
}

struct Topic {
    cluster: Cluster,
    topic: String,
    values: Values,
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
    /// `own`: where the topic's own columns begin.
    fn of(conditions: &[Condition], own: usize) -> Self {
        let mut range = Self { partitions: (0, i64::MAX), offsets: (0, i64::MAX), least_time: None };
        for condition in conditions {
            match (condition.column.checked_sub(own), bounds(&condition.is)) {
                (Some(PARTITION), (least, most)) => narrow(&mut range.partitions, least, most),
                (Some(OFFSET), (least, most)) => narrow(&mut range.offsets, least, most),
                (Some(TIME), (least, _)) => range.least_time = range.least_time.max(least),
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
            let (oldest, end) = topic::ends(&client, &self.topic, number).map_err(said)?;
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
        match condition.column.checked_sub(self.values.columns()) {
            Some(PARTITION | OFFSET) => bounds(&condition.is) != (None, None),
            Some(TIME) => bounds(&condition.is).0.is_some(),
            _ => false,
        }
    }

    fn read(&self, wanted: &Wanted, stop: &Arc<Stop>, give: &mut Give<'_>) -> Result<(), TableError> {
        let mut reading = Held::new(self.open(&Range::of(&wanted.conditions, self.values.columns()))?);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_where_a_reading_begins_and_ends() {
        let condition = |column, is| Condition { column: 1 + column, is };
        let conditions = [
            condition(PARTITION, Is::OneOf(vec![Literal::Integer(2), Literal::Integer(1)])),
            condition(OFFSET, Is::AtLeast(Literal::Integer(10))),
            condition(OFFSET, Is::AtMost(Literal::Integer(20))),
            condition(OFFSET, Is::AtLeast(Literal::Integer(5))),
            condition(TIME, Is::AtLeast(Literal::Time(7))),
            condition(TIME, Is::AtMost(Literal::Time(9))),
        ];
        let expected = Range { partitions: (1, 3), offsets: (10, 21), least_time: Some(7) };
        assert_eq!(Range::of(&conditions, 1), expected);
    }
}
