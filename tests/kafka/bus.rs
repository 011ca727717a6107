//! Brokers as a test sees them: topics, records in and out, offsets of groups, transactions.
//!
//! Everything is written and read with what is not Syncline: `kcat`, Kafka's own console programs, and a few requests by hand where
//! those take a second or cannot do it.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::kafka::{
    record::{Record, Writer, batch},
    wire::{self, Answer, Api, Body, ask},
};

/// How long a coordinator or a leader that is not there yet is given before it is asked again.
const PAUSE: Duration = Duration::from_millis(30);
/// Longer than a test leaves a broker away, and the start of one after it.
const AWAY: Duration = Duration::from_secs(180);
/// A broker gives up what it cannot do within this.
const BROKER_WITHIN: i32 = 20_000;

/// Answers that say: ask again. Unknown topic, leader not available, not leader, request timed out, coordinator loading, not
/// available, not this one, too few copies (before and after it was written), the last transaction still ending.
const AGAIN: [i16; 11] = [UNREACHABLE, 3, 5, 6, 7, 14, 15, 16, 19, 20, 51];
/// None of Kafka's: nobody answered.
const UNREACHABLE: i16 = i16::MIN;
const NO_LEADER: i16 = 5;
/// Bytes of keys and values that are sent at once, below what brokers take if nothing else is said; and about what a record has beside them.
const LARGEST_BATCH: usize = 500_000;
const RECORD: usize = 32;
/// The answer to a batch that the broker has: an earlier acknowledgement was lost.
const WRITTEN: i16 = 46;
/// The answer to a producer whose place another one took.
pub const FENCED: i16 = 47;

/// Whether what is not committed is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Uncommitted,
    Committed,
}

impl Isolation {
    pub fn word(self) -> &'static str {
        match self {
            Isolation::Uncommitted => "read_uncommitted",
            Isolation::Committed => "read_committed",
        }
    }
}

#[derive(Clone, Debug)]
pub struct Bus {
    brokers: String,
}

impl Bus {
    /// `HOST:PORT`, several with commas.
    pub fn at(brokers: impl Into<String>) -> Bus {
        Bus { brokers: brokers.into() }
    }

    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A new topic under a name of its own that begins with this one.
    pub fn topic(&self, name: &str, partitions: i32) -> Topic {
        self.topic_with(name, partitions, &[])
    }

    pub fn topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Topic {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("{name}_{}_{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        self.retry(&format!("topic {name}"), || {
            // As many copies as the brokers make by default.
            let body = Body::new().array([&name], |body, name| {
                let body = body.text(name).i32(partitions).i16(-1).i32(0);
                body.array(settings, |body, (name, value)| body.text(name).maybe_text(Some(value)))
            });
            let mut answer = self.any(wire::CREATE_TOPICS, body.i32(BROKER_WITHIN).i8(0))?;
            answer.i32();
            checked(answer.array(|answer| (answer.text(), answer.i16(), answer.maybe_text()).1))
        });
        let topic = Topic { bus: self.clone(), name };
        topic.await_leaders(partitions);
        topic
    }

    /// A topic that somebody else makes, or has made.
    pub fn existing(&self, name: &str) -> Topic {
        Topic { bus: self.clone(), name: name.to_owned() }
    }

    /// Names of all topics but Kafka's own.
    pub fn topics(&self) -> Vec<String> {
        let mut names: Vec<String> = self.metadata(None).into_iter().map(|topic| topic.name).collect();
        names.retain(|name| !name.starts_with("__"));
        names.sort();
        names
    }

    /// What a group has committed, by partition.
    pub fn committed(&self, group: &str, topic: &Topic) -> Vec<Option<i64>> {
        let partitions = 0..topic.partitions() as i32;
        let found = self.retry(&format!("offsets of {group}"), || {
            let body = Body::new().text(group).array([&topic.name], |body, name| {
                body.text(name).array(partitions.clone(), |body, partition| body.i32(partition))
            });
            let mut answer = ask_or_again(&self.coordinator(group, 0)?, wire::OFFSET_FETCH, body)?;
            answer.i32();
            let partition = |answer: &mut Answer| {
                let (partition, offset) = (answer.i32(), answer.i64());
                answer.i32();
                answer.text();
                (partition, offset, answer.i16())
            };
            let found: Vec<_> = answer.array(|answer| (answer.text(), answer.array(partition)).1);
            checked(found.iter().flatten().map(|found| found.2).chain([answer.i16()]))?;
            Ok(found)
        });
        let found: BTreeMap<i32, i64> = found.into_iter().flatten().map(|found| (found.0, found.1)).collect();
        partitions.map(|partition| found.get(&partition).copied().filter(|offset| *offset >= 0)).collect()
    }

    /// A producer in transactions. What an earlier one with this id left open is aborted, and that one is fenced.
    pub fn transactions(&self, id: &str, timeout: Duration) -> Transactions {
        let milliseconds = i32::try_from(timeout.as_millis()).expect("a timeout of less than a month");
        let (producer, epoch) = self.producer(Some(id), milliseconds);
        Transactions { bus: self.clone(), id: id.to_owned(), producer, epoch, sequences: BTreeMap::new() }
    }

    /// A new producer, or with the name of one its next life.
    fn producer(&self, name: Option<&str>, transaction_milliseconds: i32) -> (i64, i16) {
        self.retry("a producer", || {
            let body = Body::new().maybe_text(name).i32(transaction_milliseconds);
            let mut answer = match name {
                Some(name) => ask_or_again(&self.coordinator(name, 1)?, wire::INIT_PRODUCER_ID, body)?,
                None => self.any(wire::INIT_PRODUCER_ID, body)?,
            };
            answer.i32();
            checked([answer.i16()])?;
            Ok((answer.i64(), answer.i16()))
        })
    }

    /// Asks any broker that answers.
    fn any(&self, api: Api, body: Body) -> Result<Answer, i16> {
        let answer = self.brokers.split(',').find_map(|broker| ask(broker, api, body.clone()).ok());
        answer.ok_or(UNREACHABLE)
    }

    /// Address of the coordinator of a group (0) or of transactions (1).
    pub(super) fn coordinator(&self, key: &str, of: i8) -> Result<String, i16> {
        let mut answer = self.any(wire::FIND_COORDINATOR, Body::new().text(key).i8(of))?;
        answer.i32();
        checked([answer.i16()])?;
        answer.maybe_text();
        answer.i32();
        Ok(format!("{}:{}", answer.text(), answer.i32()))
    }

    fn metadata(&self, topic: Option<&str>) -> Vec<Placed> {
        self.retry("topics", || Ok(self.try_metadata(topic)?.1))
    }

    /// The brokers that are there, and where topics are led: one, or all.
    fn try_metadata(&self, topic: Option<&str>) -> Result<(BTreeMap<i32, String>, Vec<Placed>), i16> {
        let body = match topic {
            Some(topic) => Body::new().array([topic], |body, topic| body.text(topic)),
            None => Body::new().i32(-1),
        };
        // A topic that is not there is not made by asking.
        let mut answer = self.any(wire::METADATA, body.i8(0))?;
        answer.i32();
        let broker = |answer: &mut Answer| {
            let broker = (answer.i32(), format!("{}:{}", answer.text(), answer.i32()));
            answer.maybe_text();
            broker
        };
        let brokers: BTreeMap<i32, String> = answer.array(broker).into_iter().collect();
        answer.maybe_text();
        answer.i32();
        let topics = answer.array(|answer| {
            let (error, name) = (answer.i16(), answer.text());
            answer.i8();
            let leaders = answer.array(|answer| {
                let (error, partition, leader) = (answer.i16(), answer.i32(), answer.i32());
                answer.array(Answer::i32);
                answer.array(Answer::i32);
                (partition, brokers.get(&leader).filter(|_| error == 0).cloned())
            });
            (error, Placed { name, leaders: leaders.into_iter().collect() })
        });
        checked(topics.iter().map(|(error, _)| *error))?;
        Ok((brokers, topics.into_iter().map(|(_, topic)| topic).collect()))
    }

    /// How many brokers there are, as the first that answers says.
    pub fn alive(&self) -> usize {
        self.try_metadata(None).map_or(0, |(brokers, _)| brokers.len())
    }

    /// Does it until it is done; panics when the answer is one that does not pass, or when it takes too long.
    pub(super) fn retry<T>(&self, what: &str, mut ask: impl FnMut() -> Result<T, i16>) -> T {
        let started = Instant::now();
        loop {
            match ask() {
                Ok(done) => return done,
                Err(error) => {
                    assert!(AGAIN.contains(&error), "{what}: the broker answers error {error}");
                    assert!(started.elapsed() < AWAY, "{what}: error {error} for {AWAY:?}");
                    thread::sleep(PAUSE);
                }
            }
        }
    }
}

/// Where the partitions of a topic are led; none where nobody does.
struct Placed {
    name: String,
    leaders: BTreeMap<i32, Option<String>>,
}

fn checked(errors: impl IntoIterator<Item = i16>) -> Result<(), i16> {
    errors.into_iter().find(|error| *error != 0).map_or(Ok(()), Err)
}

/// Whether the next record lies in the same batch: it begins a new one where the batch would be larger.
fn fits(most: usize) -> impl FnMut(&&Record, &&Record) -> bool {
    let mut bytes = 0;
    move |_, next| {
        let more = RECORD + [&next.key, &next.value].into_iter().flatten().map(Vec::len).sum::<usize>();
        bytes += more;
        let fits = bytes < most;
        if !fits {
            bytes = more;
        }
        fits
    }
}

fn ask_or_again(broker: &str, api: Api, body: Body) -> Result<Answer, i16> {
    ask(broker, api, body).map_err(|_| UNREACHABLE)
}

#[derive(Clone, Debug)]
pub struct Topic {
    pub bus: Bus,
    pub name: String,
}

impl Topic {
    pub fn partitions(&self) -> usize {
        self.bus.metadata(Some(&self.name)).iter().map(|topic| topic.leaders.len()).sum()
    }

    fn await_leaders(&self, partitions: i32) {
        self.bus.retry(&format!("leaders of {}", self.name), || {
            let (_, found) = self.bus.try_metadata(Some(&self.name))?;
            let led = found.iter().flat_map(|topic| topic.leaders.values()).filter(|leader| leader.is_some()).count();
            if led == partitions as usize { Ok(()) } else { Err(NO_LEADER) }
        });
    }

    pub fn leader(&self, partition: i32) -> Result<String, i16> {
        let (_, found) = self.bus.try_metadata(Some(&self.name))?;
        found.into_iter().find_map(|topic| topic.leaders.get(&partition).cloned().flatten()).ok_or(NO_LEADER)
    }

    /// Writes records with all that they have but their offset, once; returns when every copy is acknowledged, and waits for a broker
    /// that is away.
    pub fn produce(&self, records: &[Record]) {
        let (id, epoch) = self.bus.producer(None, 0);
        for (partition, records) in by_partition(records) {
            let mut sequence = 0;
            // Together the batches of a partition may be larger than a broker takes one.
            for records in records.chunk_by(fits(LARGEST_BATCH)) {
                let writer = Writer { id, epoch, sequence, transactional: false };
                self.bus.retry(&format!("records for {}", self.name), || {
                    self.send(partition, batch(records.iter().copied(), writer), None)
                });
                sequence += wire::length(records.len());
            }
        }
    }

    fn send(&self, partition: i32, batch: Vec<u8>, transaction: Option<&str>) -> Result<(), i16> {
        let body = Body::new().maybe_text(transaction).i16(-1).i32(BROKER_WITHIN);
        let body = body.array([&self.name], |body, name| {
            body.text(name).array([&batch], |body, batch| body.i32(partition).bytes(batch))
        });
        let mut answer = ask_or_again(&self.leader(partition)?, wire::PRODUCE, body)?;
        let partition = |answer: &mut Answer| {
            let error = (answer.i32(), answer.i16()).1;
            answer.i64();
            answer.i64();
            answer.i64();
            error
        };
        let errors = answer.array(|answer| (answer.text(), answer.array(partition)).1).into_iter().flatten();
        checked(errors.filter(|error| *error != WRITTEN))
    }

    /// Where each partition ends for who reads so: uncommitted at its last record, committed before the first open transaction.
    pub fn ends(&self, isolation: Isolation) -> Vec<i64> {
        let end = |partition: i32| {
            self.bus.retry(&format!("end of {}", self.name), || {
                let body = Body::new().i32(-1).i8(isolation as i8).array([&self.name], |body, name| {
                    body.text(name).array([partition], |body, partition| body.i32(partition).i64(-1))
                });
                let mut answer = ask_or_again(&self.leader(partition)?, wire::LIST_OFFSETS, body)?;
                answer.i32();
                let partition = |answer: &mut Answer| {
                    let error = (answer.i32(), answer.i16()).1;
                    (error, (answer.i64(), answer.i64()).1)
                };
                let found: Vec<_> = answer.array(|answer| (answer.text(), answer.array(partition)).1);
                checked(found.iter().flatten().map(|found| found.0))?;
                Ok(found[0][0].1)
            })
        };
        (0..self.partitions() as i32).map(end).collect()
    }

    /// What the broker says of the topic: `cleanup.policy`, `max.message.bytes` and the like.
    pub fn settings(&self) -> BTreeMap<String, String> {
        self.bus.retry(&format!("settings of {}", self.name), || {
            let body = Body::new().array([&self.name], |body, name| body.i8(2).text(name).i32(-1)).i8(0);
            let mut answer = self.bus.any(wire::DESCRIBE_CONFIGS, body)?;
            answer.i32();
            let setting = |answer: &mut Answer| {
                let setting = (answer.text(), answer.text());
                answer.i8();
                answer.i8();
                answer.i8();
                answer.array(|answer| (answer.text(), answer.text(), answer.i8()));
                setting
            };
            let found = answer.array(|answer| {
                let error = answer.i16();
                answer.text();
                answer.i8();
                answer.text();
                (error, answer.array(setting))
            });
            checked(found.iter().map(|found| found.0))?;
            Ok(found.into_iter().flat_map(|found| found.1).collect())
        })
    }

    /// Gives the topic more partitions.
    pub fn grow(&self, partitions: i32) {
        self.bus.retry(&format!("partitions of {}", self.name), || {
            let body = Body::new().array([&self.name], |body, name| body.text(name).i32(partitions).i32(-1));
            let mut answer = self.bus.any(wire::CREATE_PARTITIONS, body.i32(BROKER_WITHIN).i8(0))?;
            answer.i32();
            checked(answer.array(|answer| (answer.text(), answer.i16(), answer.maybe_text()).1))
        });
        self.await_leaders(partitions);
    }

    /// Forgets what stands before an offset, as retention does.
    pub fn forget_before(&self, partition: i32, offset: i64) {
        self.bus.retry(&format!("the front of {}", self.name), || {
            let body = Body::new().array([&self.name], |body, name| {
                body.text(name).array([partition], |body, partition| body.i32(partition).i64(offset))
            });
            let mut answer = ask_or_again(&self.leader(partition)?, wire::DELETE_RECORDS, body.i32(BROKER_WITHIN))?;
            answer.i32();
            let partition = |answer: &mut Answer| (answer.i32(), answer.i64(), answer.i16()).2;
            checked(answer.array(|answer| (answer.text(), answer.array(partition)).1).into_iter().flatten())
        });
    }

    pub fn delete(&self) {
        self.bus.retry(&format!("the end of {}", self.name), || {
            let body = Body::new().array([&self.name], |body, name| body.text(name)).i32(BROKER_WITHIN);
            let mut answer = self.bus.any(wire::DELETE_TOPICS, body)?;
            answer.i32();
            checked(answer.array(|answer| (answer.text(), answer.i16()).1))
        });
    }
}

fn by_partition(records: &[Record]) -> BTreeMap<i32, Vec<&Record>> {
    let mut found: BTreeMap<i32, Vec<&Record>> = BTreeMap::new();
    for record in records {
        found.entry(record.partition).or_default().push(record);
    }
    found
}

/// A producer in transactions, that can be left in the middle of one.
pub struct Transactions {
    bus: Bus,
    id: String,
    producer: i64,
    epoch: i16,
    /// How many records it wrote, by topic and partition.
    sequences: BTreeMap<(String, i32), i32>,
}

impl Transactions {
    /// Writes inside the open transaction, or begins one. The broker's error when it takes it from nobody like this one.
    pub fn produce(&mut self, topic: &Topic, records: &[Record]) -> Result<(), i16> {
        for (partition, records) in by_partition(records) {
            self.until_settled(|this| {
                let body = this.named().array([&topic.name], |body, name| {
                    body.text(name).array([partition], |body, partition| body.i32(partition))
                });
                let mut answer = this.coordinator(wire::ADD_PARTITIONS_TO_TXN, body)?;
                answer.i32();
                let added = |answer: &mut Answer| (answer.i32(), answer.i16()).1;
                checked(answer.array(|answer| (answer.text(), answer.array(added)).1).into_iter().flatten())
            })?;
            let sequence = *self.sequences.entry((topic.name.clone(), partition)).or_default();
            let writer = Writer { id: self.producer, epoch: self.epoch, sequence, transactional: true };
            let batch = batch(records.iter().copied(), writer);
            self.until_settled(|this| topic.send(partition, batch.clone(), Some(&this.id)))?;
            self.sequences.insert((topic.name.clone(), partition), sequence + wire::length(records.len()));
        }
        Ok(())
    }

    pub fn commit(&mut self) -> Result<(), i16> {
        self.end(true)
    }

    pub fn abort(&mut self) -> Result<(), i16> {
        self.end(false)
    }

    fn end(&mut self, commit: bool) -> Result<(), i16> {
        self.until_settled(|this| {
            let mut answer = this.coordinator(wire::END_TXN, this.named().i8(i8::from(commit)))?;
            answer.i32();
            checked([answer.i16()])
        })
    }

    fn named(&self) -> Body {
        Body::new().text(&self.id).i64(self.producer).i16(self.epoch)
    }

    fn coordinator(&self, api: Api, body: Body) -> Result<Answer, i16> {
        ask_or_again(&self.bus.coordinator(&self.id, 1)?, api, body)
    }

    /// Asks until the answer is neither "again" nor late.
    fn until_settled(&self, mut ask: impl FnMut(&Transactions) -> Result<(), i16>) -> Result<(), i16> {
        self.bus.retry(&format!("a transaction of {}", self.id), || match ask(self) {
            Err(error) if !AGAIN.contains(&error) => Ok(Err(error)),
            answer => answer.map(Ok),
        })
    }
}
