//! The topics of a cluster, with how much is in them and how new it is. Writes nothing.

use std::time::{Duration, Instant};

use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};
use syncline_record::Micros;

use super::{
    client::{Ears, Settings},
    look::named,
    trouble::{PATIENCE, words},
};
use crate::{
    listing::Listed,
    registry::connector,
    spec::{Args, Arguments, Surroundings},
};

/// The last places of a partition at which its newest record is looked for: behind it stand marks of transactions.
const LAST: i64 = 10;
/// How long one look for a record waits before the next.
const BLINK: Duration = Duration::from_millis(100);

/// Where a partition begins and ends.
struct Part {
    topic: usize,
    number: i32,
    oldest: i64,
    end: i64,
}

pub fn list(args: &Args, around: &Surroundings) -> Result<Vec<Listed>, String> {
    let args = named(args);
    let arguments = connector("kafka").and_then(|kafka| Arguments::checked(kafka, &args));
    let arguments = arguments.map_err(|error| error.to_string())?;
    let settings = Settings::new(&arguments, around).map_err(|error| error.to_string())?;
    let failed = |error| format!("{}: {}", settings.brokers, words(&error));
    let mut config = settings.with(&[
        ("isolation.level", "read_committed"),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
    ]);
    // The client wants one, and nothing is committed to it.
    config.set("group.id", "syncline.discover");
    let client: BaseConsumer<Ears> = config.create_with_context(Ears::default()).map_err(failed)?;
    let (mut topics, parts) = measured(&client).map_err(failed)?;
    newest(&client, &mut topics, &parts).map_err(failed)?;
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(topics)
}

/// What is said of a topic that has just gone, or is not quite there yet.
const GONE: [RDKafkaErrorCode; 3] =
    [RDKafkaErrorCode::UnknownPartition, RDKafkaErrorCode::UnknownTopic, RDKafkaErrorCode::UnknownTopicOrPartition];

/// Every topic with its partitions, and what lies between their first and last offsets. Kafka's own topics are nobody's source.
fn measured(client: &BaseConsumer<Ears>) -> Result<(Vec<Listed>, Vec<Part>), KafkaError> {
    let found = client.fetch_metadata(None, PATIENCE)?;
    let (mut topics, mut parts) = (vec![], vec![]);
    for topic in found.topics().iter().filter(|topic| !topic.name().starts_with("__") && topic.error().is_none()) {
        let of = |number: i32| {
            let (oldest, end) = client.fetch_watermarks(topic.name(), number, PATIENCE)?;
            Ok(Part { topic: topics.len(), number, oldest, end })
        };
        let mine: Result<Vec<Part>, KafkaError> = topic.partitions().iter().map(|one| of(one.id())).collect();
        let mine = match mine {
            // Others delete and make topics meanwhile: one that is not there now hides no other.
            Err(error) if error.rdkafka_error_code().is_some_and(|code| GONE.contains(&code)) => continue,
            mine => mine?,
        };
        let records = mine.iter().map(|part| (part.end - part.oldest).max(0) as u64).sum();
        parts.extend(mine);
        let (name, partitions) = (topic.name().to_owned(), topic.partitions().len() as u32);
        topics.push(Listed { name, partitions, records, newest: None });
    }
    Ok((topics, parts))
}

/// The times of the newest records, as far as they come in time.
fn newest(client: &BaseConsumer<Ears>, topics: &mut [Listed], parts: &[Part]) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    let filled: Vec<&Part> = parts.iter().filter(|part| part.end > part.oldest).collect();
    for part in &filled {
        let from = (part.end - LAST).max(part.oldest);
        list.add_partition_offset(&topics[part.topic].name, part.number, Offset::Offset(from))?;
    }
    client.assign(&list)?;
    let (began, mut left) = (Instant::now(), filled.len());
    while left > 0 && began.elapsed() < PATIENCE {
        match client.poll(BLINK) {
            Some(Ok(record)) => {
                let time = record.timestamp().to_millis().map(|milliseconds| -> Micros { milliseconds * 1000 });
                let topic = topics.iter_mut().find(|topic| topic.name == record.topic());
                topic.into_iter().for_each(|topic| topic.newest = topic.newest.max(time));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => left -= 1,
            Some(Err(error)) => return Err(error),
            None => {}
        }
    }
    Ok(())
}
