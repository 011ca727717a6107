//! A changelog in a partition of a compacted topic: the state of one task, written in transactions.
//!
//! The transactional id is the task's, not the process's: whoever opens the changelog fences the one who wrote before, whether or not a
//! consumer group has heard of it yet. When it is not known whether a transaction was committed, its producer is never used again: the
//! next one's `init_transactions` waits until that is decided (`exactly-once.md`, W6).

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message, Offset, TopicPartitionList,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, NoCustomPartitioner, Producer, ProducerContext},
};
use syncline_engine::{
    changelog::{Changelog, ChangelogError, Record, Sent, Span, Take},
    source::SourceError,
    witness::{ChangelogWitness, NoWitness, Upkeep},
};

use super::{
    calls::{LATE, within_or_stopped},
    client::{Ears, Held, Settings, log, told},
    flush::{flush, pause},
    hop,
    queue::{Queue, Taken},
    topic::{self, Topic, of_another_number},
    trouble::{NoAnswer, PATIENCE, of_partition, words},
};
use crate::spec::{Arguments, ConnectorError, Surroundings, Task};

/// A transaction that hangs blocks who would take over, so it may not hang long.
const TRANSACTION: Duration = Duration::from_secs(10);
/// How long the end of a transaction is asked for before its outcome counts as unknown, and how long at once.
const ENDING: Duration = Duration::from_secs(6);
const ASKED: Duration = Duration::from_secs(3);
/// Nothing comes for so long: then it is said that no broker answers.
const SILENCE: Duration = Duration::from_secs(20);
/// Records that are taken at once while it is read.
const AT_ONCE: usize = 512;

/// Compaction keeps the last record of each key. A removed key may vanish after a day, which is what copies count with; what is not
/// compacted yet is read by every restore, so files are small and cleaned soon.
const CONFIG: &[(&str, &str)] = &[
    ("cleanup.policy", "compact"),
    ("delete.retention.ms", "86400000"),
    ("segment.bytes", "67108864"),
    ("min.cleanable.dirty.ratio", "0.3"),
    ("max.compaction.lag.ms", "3600000"),
];

const WRITER: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    ("batch.size", "1000000"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.kbytes", "262144"),
];

/// Little waits to be taken: what does is memory that is touched for the first time, and a restore is as fast without it.
const READER: &[(&str, &str)] =
    &[("fetch.wait.max.ms", "50"), ("fetch.message.max.bytes", "1048576"), ("queued.max.messages.kbytes", "4096")];

pub struct KafkaChangelog {
    settings: Settings,
    topic: Topic,
    partition: i32,
    /// For messages, and the transactional id.
    name: String,
    writer: Option<Writer>,
    /// A copy follows it, so readers are kept: it asks again twice a second.
    follows: bool,
    /// It is made by whoever writes it first: until then it is empty for those who look.
    absent: bool,
    reading: Option<Reading>,
    /// How many readers were made.
    #[cfg(test)]
    pub(super) made: std::sync::atomic::AtomicUsize,
    /// Nobody waits for long any more.
    stop: Arc<AtomicBool>,
    witness: Arc<dyn ChangelogWitness>,
    /// Topics of hops that are known to be as they have to be.
    beside: BTreeSet<String>,
    tasks: u32,
}

/// Clients, which a call that hangs holds too.
type Writer = Held<Arc<BaseProducer<Places>>>;
type Reader = Held<Arc<BaseConsumer<Ears>>>;

/// A reader, and where it goes on, once it was told.
struct Reading {
    // Before the client, which has to go last.
    lane: Option<(Queue<Ears>, u64)>,
    client: Reader,
}

/// Where the records of a transaction were put.
#[derive(Default)]
struct Places {
    /// Of the changelog.
    topic: String,
    last: AtomicI64,
    refused: Mutex<Option<KafkaError>>,
}

impl ClientContext for Places {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        told(&error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Places {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(record) if record.topic() == self.topic => {
                self.last.fetch_max(record.offset(), Ordering::Relaxed);
            }
            Ok(_) => {}
            Err((error, _)) => {
                let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert_with(|| error.clone());
            }
        }
    }
}

/// The topic of a pipeline's changelogs: a partition for each task.
pub fn topic_of(arguments: &Arguments, around: &Surroundings) -> Topic {
    Topic { partitions: Some(around.task.of as i32), config: CONFIG, ..Topic::new(arguments, true) }
}

impl KafkaChangelog {
    /// Of a task: the partition of its number of a topic that has one for each.
    pub(crate) fn new(
        arguments: &Arguments,
        around: &Surroundings,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ConnectorError> {
        let settings = Settings::new(arguments, around)?;
        let topic = topic_of(arguments, around);
        let name = format!("{}.{}", topic.name, around.task.number);
        Ok(Self {
            settings,
            topic,
            partition: around.task.number as i32,
            name,
            writer: None,
            follows: false,
            absent: false,
            reading: None,
            #[cfg(test)]
            made: Default::default(),
            stop,
            witness: Arc::new(NoWitness),
            beside: BTreeSet::new(),
            tasks: around.task.of,
        })
    }

    /// One of a whole pipeline, which may never be needed: nobody makes it by looking.
    pub(crate) fn board(
        arguments: &Arguments,
        around: &Surroundings,
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ConnectorError> {
        let around = Surroundings { task: Task::default(), ..around.clone() };
        Ok(Self { absent: true, ..Self::new(arguments, &around, stop)? })
    }

    /// Whether its topic is there.
    fn is_there(&self, held: &Reader) -> Result<bool, ChangelogError> {
        let doing = "look for its topic";
        let (client, topic) = (Arc::clone(held), self.topic.name.clone());
        let found = self.asked(doing, move || topic::partitions(&client, &topic))?;
        found.map(|partitions| partitions > 0).map_err(|none| self.unanswered(doing, none))
    }

    fn unanswered(&self, doing: &str, none: NoAnswer) -> ChangelogError {
        let (name, detail) = (self.name.clone(), format!("{doing}: {}", none.words()));
        match none {
            NoAnswer::Refused(_) => ChangelogError::Refused { name, detail },
            NoAnswer::Nobody(..) => ChangelogError::Unreachable { name, detail },
            NoAnswer::Error(error) => self.error(doing, &error),
        }
    }

    fn error(&self, what: &str, error: &KafkaError) -> ChangelogError {
        use RDKafkaErrorCode as Code;
        let (name, detail) = (self.name.clone(), format!("{what}: {}", words(error)));
        let code = match error {
            KafkaError::Transaction(error) => Some(error.code()),
            error => error.rdkafka_error_code(),
        };
        match code {
            Some(code) if is_fenced(code) => ChangelogError::Fenced { name },
            Some(
                Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::GroupAuthorizationFailed
                | Code::TransactionalIdAuthorizationFailed
                | Code::SaslAuthenticationFailed
                | Code::Authentication
                | Code::UnsupportedSASLMechanism
                | Code::InvalidTopic
                | Code::MessageSizeTooLarge,
            ) => ChangelogError::Refused { name, detail },
            _ if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_)) => {
                ChangelogError::Refused { name, detail }
            }
            _ => ChangelogError::Unreachable { name, detail },
        }
    }

    /// An answer of the client, if it comes back at all.
    fn asked<T: Send + 'static>(
        &self,
        doing: &str,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ChangelogError> {
        within_or_stopped(LATE, &self.stop, ask).map_err(|lost| lost.of_changelog(self.name.clone(), doing))
    }

    /// A producer that another one has shut out says so once, and of what follows that it failed.
    fn after(&self, producer: &BaseProducer<Places>, error: ChangelogError) -> ChangelogError {
        match producer.client().fatal_error() {
            Some((code, _)) if is_fenced(code) => ChangelogError::Fenced { name: self.name.clone() },
            _ => error,
        }
    }

    fn client(&self, isolation: &str) -> Result<Reader, ChangelogError> {
        #[cfg(test)]
        self.made.fetch_add(1, Ordering::Relaxed);
        let mut config = self.settings.reading(READER);
        // Nobody is a member of it: the client wants one to be named.
        config.set("group.id", &self.name).set("isolation.level", isolation);
        let made = config.create_with_context(Ears::default());
        made.map(|client| Held::new(Arc::new(client))).map_err(|error| self.error("make a client", &error))
    }

    fn span(&self, held: &Reader) -> Result<Span, ChangelogError> {
        let doing = "look where it ends";
        let (client, topic, partition) = (Arc::clone(held), self.topic.name.clone(), self.partition);
        let ends = self.asked(doing, move || topic::ends(&client, &topic, partition))?;
        let (oldest, end) = ends.map_err(|error| self.error(doing, &error))?;
        Ok(Span { oldest: oldest as u64, end: end as u64 })
    }

    /// Begins to read.
    fn lane(&self, client: &Reader, from: u64) -> Result<Queue<Ears>, ChangelogError> {
        let queue = Queue::of(client, &self.topic.name, self.partition).ok_or_else(|| ChangelogError::Refused {
            name: self.name.clone(),
            detail: "the partition has no queue in the client".to_owned(),
        })?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic.name, self.partition, Offset::Offset(from as i64))
            .and_then(|()| client.incremental_assign(&list))
            .map_err(|error| self.error("read", &error))?;
        Ok(queue)
    }

    fn producer(&self) -> Result<Writer, ChangelogError> {
        let mut config = self.settings.with(WRITER);
        config.set("transactional.id", &self.name).set("transaction.timeout.ms", TRANSACTION.as_millis().to_string());
        let places = Places { topic: self.topic.name.clone(), ..Places::default() };
        let made: Result<BaseProducer<Places>, _> = config.create_with_context(places);
        let producer = Arc::new(made.map_err(|error| self.error("make a client", &error))?);
        let writer = Held::new(producer.clone());
        let doing = "begin to write";
        let begun = self.asked(doing, move || producer.init_transactions(PATIENCE))?;
        begun.map_err(|error| self.error(doing, &error))?;
        Ok(writer)
    }

    fn record<'a>(&'a self, (key, value): &'a Record) -> BaseRecord<'a, [u8], [u8], ()> {
        let record = BaseRecord::to(&self.topic.name).partition(self.partition).key(key.as_slice());
        match value {
            Some(value) => record.payload(value.as_slice()),
            None => record,
        }
    }

    /// The topics of hops have a partition for each task.
    fn expect(&mut self, beside: &[Sent]) -> Result<(), ChangelogError> {
        for sent in beside {
            if self.beside.contains(&sent.topic) {
                continue;
            }
            let topic = hop::topic_of(&sent.topic, &self.topic, self.tasks);
            let found = self.topic_found("look at the topic of a hop", topic.clone())?;
            if let Some(detail) = hop::other_number(found.partitions, self.tasks) {
                let detail = format!("topic {} {detail}", topic.name);
                return Err(ChangelogError::Refused { name: self.name.clone(), detail });
            }
            self.beside.insert(topic.name);
        }
        Ok(())
    }

    fn topic_found(&self, doing: &str, topic: Topic) -> Result<topic::Found, ChangelogError> {
        let settings = self.settings.clone();
        let found = self.asked(doing, move || topic::found_or_made(&topic, &settings))?;
        found.map_err(|none| self.unanswered(doing, none))
    }

    fn send(
        &self,
        producer: &BaseProducer<Places>,
        mut record: BaseRecord<'_, [u8], [u8], ()>,
    ) -> Result<(), ChangelogError> {
        let began = Instant::now();
        loop {
            record = match producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, record)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if self.stop.load(Ordering::Relaxed) {
                        return Err(ChangelogError::Stopped { name: self.name.clone() });
                    }
                    if !full || began.elapsed() > TRANSACTION {
                        return Err(self.error("write", &error));
                    }
                    record
                }
            };
            pause(producer);
        }
    }

    fn write_all(
        &self,
        producer: &Arc<BaseProducer<Places>>,
        records: &[Record],
        beside: &[Sent],
    ) -> Result<u64, ChangelogError> {
        producer.begin_transaction().map_err(|error| self.error("begin a transaction", &error))?;
        records.iter().try_for_each(|record| self.send(producer, self.record(record)))?;
        beside.iter().try_for_each(|sent| {
            let record = BaseRecord::to(&sent.topic).partition(sent.partition as i32).payload(sent.body.as_slice());
            self.send(producer, record)
        })?;
        let writer = producer.clone();
        let flushed = self.asked("write", move || flush(&writer, TRANSACTION))?;
        flushed.map_err(|error| self.error("write", &error))?;
        let places = producer.context();
        if let Some(error) = places.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(self.error("write", &error));
        }
        let next = places.last.load(Ordering::Relaxed) + 1;
        self.witness.enter(Upkeep::Committing);
        let writer = producer.clone();
        let committed = self.asked("commit", move || topic::retried(ENDING, || writer.commit_transaction(ASKED)));
        let committed = committed.and_then(|done| done.map_err(|error| self.error("commit", &error)));
        committed.map_err(|error| match error {
            ChangelogError::Unreachable { name, detail } => ChangelogError::Unknown { name, detail },
            error => error,
        })?;
        Ok(next as u64)
    }
}

/// Another producer has the transactional id.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch)
}

impl Changelog for KafkaChangelog {
    fn name(&self) -> &str {
        &self.name
    }

    fn open(&mut self) -> Result<Span, ChangelogError> {
        (self.writer, self.reading, self.follows) = (None, None, false);
        let found = self.topic_found("look at its topic", self.topic.clone())?;
        if let Some(detail) = of_another_number(found.partitions, &self.topic) {
            return Err(ChangelogError::Foreign { name: self.name.clone(), detail });
        }
        self.writer = Some(self.producer()?);
        // What is committed may be shown to readers of it a little later than it is there; the end is asked for as it is.
        self.span(&self.client("read_uncommitted")?)
    }

    fn look(&mut self) -> Result<Span, ChangelogError> {
        self.follows = true;
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => Reading { lane: None, client: self.client("read_committed")? },
        };
        self.absent = self.absent && !self.is_there(&reading.client)?;
        let span = if self.absent { Span { oldest: 0, end: 0 } } else { self.span(&reading.client)? };
        self.reading = Some(reading);
        Ok(span)
    }

    fn read(&mut self, from: u64, end: u64, take: &mut Take<'_>) -> Result<(), ChangelogError> {
        if from >= end {
            return Ok(());
        }
        let there = |reading: &Reading| reading.lane.as_ref().is_none_or(|(_, next)| *next == from);
        let Reading { lane, client } = match self.reading.take().filter(there) {
            Some(reading) => reading,
            None => Reading { lane: None, client: self.client("read_committed")? },
        };
        let mut queue = match lane {
            Some((queue, _)) => queue,
            None => self.lane(&client, from)?,
        };
        let (mut next, mut came, mut beyond) = (from, Instant::now(), false);
        while next < end {
            // A copy that is not whole is made anew.
            if self.stop.load(Ordering::Relaxed) {
                return Err(ChangelogError::Stopped { name: self.name.clone() });
            }
            // Events; records come by the queue.
            client.poll(Duration::ZERO);
            let mut taken = Ok(());
            let some = queue.take(AT_ONCE, |what| {
                if taken.is_err() {
                    return;
                }
                taken = match what {
                    // What came twice after a reconnection.
                    Taken::Record(record) if (record.offset() as u64) < next => Ok(()),
                    Taken::Record(record) if record.offset() as u64 >= end => {
                        (next, beyond) = (end, true);
                        Ok(())
                    }
                    Taken::Record(record) => {
                        next = record.offset() as u64 + 1;
                        take(record.offset() as u64, record.key().unwrap_or_default(), record.value())
                    }
                    Taken::End(offset) => {
                        next = next.max(offset as u64);
                        Ok(())
                    }
                    Taken::Trouble(code, text) => {
                        let error = of_partition("read".to_owned(), code, &text);
                        let (name, detail) = (self.name.clone(), error.to_string());
                        Err(match error {
                            SourceError::Again { .. } => ChangelogError::Unreachable { name, detail },
                            _ => ChangelogError::Refused { name, detail },
                        })
                    }
                };
            });
            taken?;
            if some {
                came = Instant::now();
            } else if came.elapsed() > SILENCE {
                let detail = format!("nothing came for {} s", SILENCE.as_secs());
                return Err(ChangelogError::Unreachable { name: self.name.clone(), detail });
            } else {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // What was taken of later records is not given again by this one.
        if self.follows && !beyond {
            self.reading = Some(Reading { lane: Some((queue, end)), client });
        }
        Ok(())
    }

    fn write(&mut self, records: &[Record], beside: &[Sent]) -> Result<u64, ChangelogError> {
        self.expect(beside)?;
        let Some(producer) = self.writer.take() else {
            let detail = "it is not open".to_owned();
            return Err(ChangelogError::Unreachable { name: self.name.clone(), detail });
        };
        let next = self.write_all(&producer, records, beside).map_err(|error| self.after(&producer, error))?;
        self.writer = Some(producer);
        Ok(next)
    }

    fn witnessed(&mut self, witness: Arc<dyn ChangelogWitness>) {
        self.witness = witness;
    }
}
