//! The topic that a sink writes to: found, or made, and what it takes.

use std::time::Duration;

use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
};

use super::{
    client::{Ears, Held, Settings},
    trouble::{NoAnswer, PATIENCE, metadata},
};
use crate::spec::Arguments;

/// What a broker takes where it does not say: Kafka's default.
const MOST: usize = 1_048_588;
/// A topic that was just made is not known to every broker at once.
const KNOWN_WITHIN: Duration = Duration::from_secs(10);
/// Between two questions whether it is.
const AGAIN: Duration = Duration::from_millis(100);

/// As the file says it.
#[derive(Clone)]
pub struct Topic {
    pub name: String,
    /// For a topic that is not there; else as the cluster makes them.
    pub partitions: Option<i32>,
    pub replication: Option<i32>,
    /// What it is made with.
    pub config: &'static [(&'static str, &'static str)],
}

/// Only the newest record of a key counts.
const COMPACTED: &[(&str, &str)] = &[("cleanup.policy", "compact")];

/// What is there.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub partitions: u32,
    /// `max.message.bytes`.
    pub most: usize,
}

impl Topic {
    pub fn new(arguments: &Arguments, compacted: bool) -> Self {
        let number = |name| arguments.value(name).and_then(serde_json::Value::as_i64).map(|number| number as i32);
        Self {
            name: arguments.text("topic").to_owned(),
            partitions: number("partitions"),
            replication: number("replication"),
            config: if compacted { COMPACTED } else { &[] },
        }
    }
}

/// Why a topic with so many partitions is not the changelog of as many tasks as the pipeline has: what each of them kept, and what it read,
/// would be another's.
pub fn of_another_number(partitions: u32, topic: &Topic) -> Option<String> {
    let tasks = topic.partitions.filter(|tasks| *tasks as u32 != partitions)?;
    Some(format!(
        "its topic has {partitions} partitions, and the pipeline has `tasks = {tasks}`: write `tasks = {partitions}`, or give the pipeline another \
         name, under which it begins anew"
    ))
}

/// What Kafka says may simply be asked again, for so long.
pub fn retried(long: Duration, mut ask: impl FnMut() -> Result<(), KafkaError>) -> Result<(), KafkaError> {
    let began = std::time::Instant::now();
    loop {
        match ask() {
            Err(KafkaError::Transaction(error)) if error.is_retriable() && began.elapsed() < long => {}
            answer => return answer,
        }
    }
}

/// Asks again where nobody leads a partition: one that was just made has no leader everywhere, and one that fails over has none for a moment.
pub fn led<T>(long: Duration, mut ask: impl FnMut() -> Result<T, KafkaError>) -> Result<T, KafkaError> {
    use RDKafkaErrorCode as Code;
    let began = std::time::Instant::now();
    loop {
        let answer = ask();
        let code = answer.as_ref().err().and_then(KafkaError::rdkafka_error_code);
        match code {
            Some(Code::NotLeaderForPartition | Code::LeaderNotAvailable) if began.elapsed() < long => {
                std::thread::sleep(AGAIN);
            }
            _ => return answer,
        }
    }
}

/// Where a partition begins and ends.
pub fn ends(client: &BaseConsumer<Ears>, topic: &str, partition: i32) -> Result<(i64, i64), KafkaError> {
    led(KNOWN_WITHIN, || client.fetch_watermarks(topic, partition, PATIENCE))
}

pub fn found_or_made(topic: &Topic, settings: &Settings) -> Result<Found, NoAnswer> {
    let client: Held<BaseConsumer<Ears>> = Held::new(settings.with(&[]).create_with_context(Ears::default())?);
    let partitions = match partitions(&client, &topic.name)? {
        0 => made(topic, settings, &client)?,
        there => there,
    };
    Ok(Found { partitions, most: most(topic, settings).unwrap_or(MOST) })
}

/// How many partitions it has; 0: it is not there.
pub fn partitions(client: &BaseConsumer<Ears>, name: &str) -> Result<u32, NoAnswer> {
    let found = metadata(client, Some(name), PATIENCE)?;
    let topic = found.topics().iter().find(|topic| topic.name() == name);
    match topic.and_then(|topic| topic.error()).map(RDKafkaErrorCode::from) {
        None => Ok(topic.map_or(0, |topic| topic.partitions().len() as u32)),
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::LeaderNotAvailable) => Ok(0),
        Some(code) => Err(KafkaError::MetadataFetch(code).into()),
    }
}

fn made(topic: &Topic, settings: &Settings, client: &BaseConsumer<Ears>) -> Result<u32, NoAnswer> {
    let mut new = NewTopic::new(
        &topic.name,
        topic.partitions.unwrap_or(-1),
        TopicReplication::Fixed(topic.replication.unwrap_or(-1)),
    );
    for (name, value) in topic.config {
        new = new.set(name, value);
    }
    let results = asked(async { admin(settings)?.create_topics([&new], &options()).await })?;
    match results.into_iter().next() {
        Some(Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => {}
        Some(Err((_, code))) => return Err(KafkaError::AdminOp(code).into()),
        _ => tracing::info!(topic = topic.name, "the topic was made"),
    }
    let began = std::time::Instant::now();
    loop {
        match partitions(client, &topic.name)? {
            0 if began.elapsed() < KNOWN_WITHIN => std::thread::sleep(AGAIN),
            there => return Ok(there),
        }
    }
}

/// The largest record that it takes, where we may ask.
fn most(topic: &Topic, settings: &Settings) -> Option<usize> {
    let asked_for = ResourceSpecifier::Topic(&topic.name);
    let said = asked(async { admin(settings)?.describe_configs([&asked_for], &options()).await }).ok()?;
    said.into_iter().next()?.ok()?.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

/// Forgets the position of a group. That there is none is fine.
pub fn forget_group(group: &str, settings: &Settings) -> Result<(), KafkaError> {
    let results = asked(async { admin(settings)?.delete_groups(&[group], &options()).await })?;
    match results.into_iter().next() {
        Some(Err((_, code))) if code != RDKafkaErrorCode::GroupIdNotFound => Err(KafkaError::AdminOp(code)),
        _ => Ok(()),
    }
}

/// Deletes the records of partitions below these offsets.
pub fn delete_below(topic: &str, below: &[(i32, i64)], settings: &Settings) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in below {
        list.add_partition_offset(topic, *partition, Offset::Offset(*offset))?;
    }
    let results = asked(async { admin(settings)?.delete_records(&list, &options()).await })?;
    results.elements().iter().try_for_each(|element| element.error())
}

/// Deletes all records of a topic, if it is there.
pub fn empty(topic: &str, settings: &Settings) -> Result<(), NoAnswer> {
    let client: BaseConsumer<Ears> = settings.with(&[]).create_with_context(Ears::default())?;
    let partitions = partitions(&client, topic)? as i32;
    let end = |partition: i32| Ok((partition, ends(&client, topic, partition)?.1));
    let all = (0..partitions).map(end).collect::<Result<Vec<_>, KafkaError>>()?;
    if all.is_empty() { Ok(()) } else { Ok(delete_below(topic, &all, settings)?) }
}

fn admin(settings: &Settings) -> Result<AdminClient<DefaultClientContext>, KafkaError> {
    settings.with(&[]).create()
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
}

/// Waits for an answer. Sinks have threads of their own.
fn asked<T>(question: impl Future<Output = Result<T, KafkaError>>) -> Result<T, KafkaError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
    runtime.block_on(question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_without_a_leader_is_asked_again_and_for_nothing_else() {
        let told = |codes: &[RDKafkaErrorCode], long| {
            let mut codes = codes.iter();
            let mut asked = 0;
            let told = led(long, || {
                asked += 1;
                codes.next().map_or(Ok(()), |code| Err(KafkaError::MetadataFetch(*code)))
            });
            (told.is_ok(), asked)
        };
        use RDKafkaErrorCode as Code;
        let moves = [Code::NotLeaderForPartition, Code::LeaderNotAvailable];
        assert_eq!(told(&moves, KNOWN_WITHIN), (true, 3));
        assert_eq!(told(&moves, Duration::ZERO), (false, 1));
        assert_eq!(told(&[Code::TopicAuthorizationFailed], KNOWN_WITHIN), (false, 1));
    }
}
