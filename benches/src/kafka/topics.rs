//! Topics of the run: made, filled with orders, read back.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer, DefaultConsumerContext},
    producer::{BaseProducer, BaseRecord, Producer},
};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    orders,
    queue::{Queue, Taken},
};

pub const PARTITIONS: i32 = 6;
/// Records that one call takes.
pub const AT_ONCE: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Topics {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Topics {
    pub fn at(brokers: &str) -> Topics {
        let admin = ClientConfig::new().set("bootstrap.servers", brokers).create().expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        Topics { brokers: brokers.to_owned(), admin, runtime }
    }

    /// Makes a topic, or makes it anew.
    pub fn make(&self, name: &str) {
        self.delete(name);
        let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
        // One that was just deleted is there for a moment longer.
        for _ in 0..100 {
            let made = self.runtime.block_on(self.admin.create_topics([&topic], &AdminOptions::new()));
            if made.expect("an answer").iter().all(Result::is_ok) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("topic {name} cannot be made");
    }

    pub fn delete(&self, name: &str) {
        let _ = self.runtime.block_on(self.admin.delete_topics(&[name], &AdminOptions::new()));
    }

    /// Orders keyed by their id; a repeat lies in the partition of its first.
    pub fn fill(&self, name: &str, rows: u64) {
        let producer = self.producer();
        for id in orders::ids().take(rows as usize) {
            let line = orders::order(id);
            let key = format!("ord-{id:010}");
            send(&producer, BaseRecord::to(name).key(key.as_str()).payload(line.trim_end()));
        }
        producer.flush(PATIENCE).expect("every record is acknowledged");
    }

    pub fn producer(&self) -> BaseProducer {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("compression.type", "lz4").set("linger.ms", "20");
        config.set("batch.size", "262144").set("queue.buffering.max.messages", "1000000");
        config.set("partitioner", "murmur2_random").create().expect("a client")
    }

    /// How many committed records there are, and a digest of their values that does not depend on their order.
    pub fn digest(&self, name: &str) -> (u64, u128) {
        let (mut rows, mut sum) = (0, 0u128);
        let mut reader = Reader::of(&self.brokers, name, "read_committed", Offset::Beginning);
        while !reader.is_at_its_end() {
            reader.take(|_, value, _| {
                rows += 1;
                sum = sum.wrapping_add(xxh3_128(value));
            });
        }
        (rows, sum)
    }
}

/// Sends, and waits where the client's queue is full.
pub fn send<'a, C: rdkafka::producer::ProducerContext<P, DeliveryOpaque = ()>, P: rdkafka::producer::Partitioner>(
    producer: &BaseProducer<C, P>,
    mut record: BaseRecord<'a, str, str>,
) {
    while let Err((error, back)) = producer.send(record) {
        assert!(
            error.rdkafka_error_code() == Some(rdkafka::error::RDKafkaErrorCode::QueueFull),
            "a record is refused: {error}"
        );
        record = back;
        // The binding's `poll` spins where it may wait.
        std::thread::sleep(Duration::from_millis(1));
        producer.poll(Duration::ZERO);
    }
}

/// All partitions of a topic, many records at a time.
pub struct Reader {
    pub client: Arc<BaseConsumer>,
    queues: Vec<Queue<DefaultConsumerContext>>,
    /// Where each partition goes on.
    pub next: Vec<i64>,
    ended: Vec<bool>,
}

impl Reader {
    pub fn of(brokers: &str, topic: &str, isolation: &str, from: Offset) -> Reader {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", format!("bench-{topic}"));
        config.set("isolation.level", isolation).set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        config.set("fetch.wait.max.ms", "10").set("fetch.queue.backoff.ms", "10");
        config.set("queued.max.messages.kbytes", "65536").set("fetch.message.max.bytes", "4194304");
        let client: Arc<BaseConsumer> = Arc::new(config.create().expect("a client"));
        let mut all = TopicPartitionList::new();
        let mut queues = vec![];
        for partition in 0..PARTITIONS {
            queues.push(Queue::of(&client, topic, partition).expect("a queue of the partition"));
            all.add_partition_offset(topic, partition, from).expect("a partition");
        }
        client.assign(&all).expect("partitions are assigned");
        let count = queues.len();
        Reader { client, queues, next: vec![0; count], ended: vec![false; count] }
    }

    /// Gives partition, value and key of what has come to `each`. False: nothing had.
    pub fn take(&mut self, mut each: impl FnMut(i32, &[u8], Record<'_>)) -> bool {
        self.client.poll(Duration::ZERO);
        let mut some = false;
        for (partition, queue) in self.queues.iter_mut().enumerate() {
            let (next, ended) = (&mut self.next[partition], &mut self.ended[partition]);
            some |= queue.take(AT_ONCE, |taken| match taken {
                Taken::Record(record) => {
                    (*next, *ended) = (record.offset() + 1, false);
                    let beside = Record { key: record.key().unwrap_or_default(), time: record.time().unwrap_or(0) };
                    each(partition as i32, record.value().unwrap_or_default(), beside);
                }
                Taken::End(_) => *ended = true,
                Taken::Trouble(_, text) => panic!("partition {partition} cannot be read: {text}"),
            });
        }
        if !some {
            std::thread::sleep(Duration::from_millis(1));
        }
        some
    }

    pub fn is_at_its_end(&self) -> bool {
        self.ended.iter().all(|ended| *ended)
    }
}

/// What stands beside a value.
pub struct Record<'a> {
    pub key: &'a [u8],
    /// Milliseconds since 1970.
    pub time: i64,
}
