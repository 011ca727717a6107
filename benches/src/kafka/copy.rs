//! The least that can be between two topics: librdkafka takes records, a thousand at a time, and sends them on. Nothing is looked at.

use std::time::{Duration, Instant};

use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    consumer::{CommitMode, Consumer},
    producer::{BaseProducer, BaseRecord, Producer},
};

use crate::topics::{Reader, send};

/// As often as a pipeline makes a checkpoint.
const EVERY: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// Until everything that is there has been copied. `exactly`: in transactions that hold the position.
pub fn run(brokers: &str, from: &str, to: &str, exactly: bool) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("compression.type", "lz4").set("linger.ms", "5");
    config.set("batch.size", "262144").set("queue.buffering.max.kbytes", "65536").set("enable.idempotence", "true");
    config.set("partitioner", "murmur2_random");
    if exactly {
        config.set("transactional.id", format!("bench-{to}"));
    }
    let producer: BaseProducer = config.create().expect("a client");
    if exactly {
        producer.init_transactions(PATIENCE).expect("transactions");
    }
    let mut reader = Reader::of(brokers, from, "read_committed", Offset::Beginning);
    while !reader.is_at_its_end() {
        if exactly {
            producer.begin_transaction().expect("a transaction");
        }
        let began = Instant::now();
        while began.elapsed() < EVERY && !reader.is_at_its_end() {
            reader.take(|_, value, beside| {
                let text = |bytes| std::str::from_utf8(bytes).expect("the bench's own text");
                send(&producer, BaseRecord::to(to).key(text(beside.key)).payload(text(value)));
            });
            producer.poll(Duration::ZERO);
        }
        commit(&producer, &reader, from, exactly);
    }
}

fn commit(producer: &BaseProducer, reader: &Reader, from: &str, exactly: bool) {
    producer.flush(PATIENCE).expect("every record is acknowledged");
    let mut position = TopicPartitionList::new();
    for (partition, next) in reader.next.iter().enumerate() {
        position.add_partition_offset(from, partition as i32, Offset::Offset(*next)).expect("a partition");
    }
    if exactly {
        let group = reader.client.group_metadata().expect("the group");
        producer.send_offsets_to_transaction(&position, &group, PATIENCE).expect("the position");
        producer.commit_transaction(PATIENCE).expect("a commit");
    } else {
        reader.client.commit(&position, CommitMode::Sync).expect("the position");
    }
}
