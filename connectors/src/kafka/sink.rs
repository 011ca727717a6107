//! Writes the rows of an outbox into a topic, in transactions that also hold our position: exactly once for who reads what is committed.
//!
//! The position is an offset of the consumer group `syncline.<pipeline>.<step>.<topic>`, committed with `send_offsets_to_transaction`: it is the
//! place in the outbox, and its metadata say of which outbox. The transactional id is the group's name, so a second writer fences
//! the first. When it is not known whether a transaction was committed, its producer is never used again: a new one first
//! ends what was open, and then asks how far the group is (`exactly-once.md`, W6).
//!
//! The key of a record is what `KEY` names, as key bytes; a delete is a record without a value. Keys are put on partitions as Java's clients do
//! (murmur2); rows that have a lane go to the partition of its number.
//!
//! Where no more than `at least once` is asked for there are no transactions: the position follows the records, so after a crash some of them
//! come again. It is the same position, so that a pipeline can be told otherwise at any time.

use std::{
    collections::BTreeSet,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, Producer},
};
use serde::{Deserialize, Serialize};
use syncline_engine::sink::{Applied, Delivered, Delivery, OutboxRows, OutboxSink, SinkError, Standing, Stream, Write};
use syncline_record::{StepBooks, StepId};

use self::record::Frame;
use super::{
    beside,
    calls::{LATE, within},
    client::{Ears, Held, Reports, Settings},
    flush::{flush, pause},
    size,
    topic::{self, Topic},
    trouble::{NoAnswer, PATIENCE, of_sink},
};
use crate::{
    SinkRequest,
    rowtext::RowText,
    spec::{Arguments, ConnectorError},
};

mod record;

/// A transaction that hangs blocks every reader of what is committed, so it may not hang long.
const TRANSACTION: Duration = Duration::from_secs(10);
/// How long the end of a transaction is asked for before its outcome counts as unknown, and how long at once: a process that
/// is told to stop waits for no longer.
const ENDING: Duration = Duration::from_secs(6);
const ASKED: Duration = Duration::from_secs(3);

/// Bytes of a batch of several records, where nothing else is said and the topic takes as much.
const BATCH: usize = 262_144;

/// What a client is told, where the file says nothing else.
const WRITER: &[(&str, &str)] = &[
    ("linger.ms", "5"),
    ("compression.type", "lz4"),
    ("queue.buffering.max.kbytes", "65536"),
    // What arrived is told by the flush; one by one only what did not.
    ("delivery.report.only.error", "true"),
];

pub struct KafkaSink {
    settings: Settings,
    topic: Topic,
    write: Write,
    /// Columns of the key; empty: records have none.
    key: Vec<String>,
    text: RowText,
    /// In transactions.
    exactly: bool,
    open: Option<Open>,
    /// Places in the outbox of rows that the brokers refuse for their size.
    refused: BTreeSet<u64>,
}

/// Clients, which a call that hangs holds too.
type Writer = Held<Arc<BaseProducer<Reports>>>;
type Group = Held<Arc<BaseConsumer<Ears>>>;

struct Open {
    producer: Writer,
    group: Group,
    stream: Stream,
    in_transaction: bool,
    /// Rows below this are committed, or written in the open transaction.
    next: u64,
    partitions: u32,
    /// The largest record that the topic takes.
    most: usize,
}

/// What stands beside our position.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    log: String,
    fence: u64,
    books: StepBooks,
}

impl KafkaSink {
    pub(crate) fn new(arguments: &Arguments, request: &SinkRequest) -> Result<Self, ConnectorError> {
        let key = match &request.write {
            Write::Upsert { key, .. } => key.clone(),
            Write::Insert | Write::Replace { .. } => request.keys.clone(),
        };
        if let Write::Upsert { sequenced, ignore_nulls, .. } = request.write {
            let refused = |words, because| ConnectorError::CannotKeepWords { name: "kafka".to_owned(), words, because };
            if sequenced {
                let because = "a topic knows no versions, and its last record of a key wins; let `DEDUP BY key WITHIN '1 day' KEEP LAST BY version` \
                               drop the older ones before it";
                return Err(refused("SEQUENCE BY", because));
            }
            if ignore_nulls {
                return Err(refused("IGNORE NULLS", "a record replaces the one before it as a whole"));
            }
        }
        let names = request.schema.fields();
        if let Some(column) = key.iter().find(|key| !names.iter().any(|field| field.name() == *key)) {
            return Err(ConnectorError::NoSuchKey { column: column.clone() });
        }
        Ok(Self {
            settings: Settings::new(arguments, request.around)?,
            topic: Topic::new(arguments, matches!(request.write, Write::Upsert { .. })),
            write: request.write.clone(),
            key,
            text: RowText::without(&request.schema, &beside::NAMES),
            exactly: request.around.delivery != Some(Delivery::AtLeastOnce),
            open: None,
            refused: BTreeSet::new(),
        })
    }

    fn what(&self) -> String {
        format!("topic {} at {}", self.topic.name, self.settings.brokers)
    }

    fn trouble(&self, doing: &str, error: &KafkaError) -> SinkError {
        of_sink(&format!("{}: cannot {doing}", self.what()), error)
    }

    /// With the topic: two projects may have pipelines and steps of the same names, and write elsewhere.
    fn group(&self, pipeline: &str, step: &StepId) -> String {
        format!("syncline.{pipeline}.{step}.{}", self.topic.name)
    }

    /// A client that asks how far the group is.
    fn asking(&self, group: &str) -> Result<Group, SinkError> {
        let mut config = self.settings.with(&[("isolation.level", "read_committed"), ("enable.auto.commit", "false")]);
        config.set("group.id", group);
        config
            .create_with_context(Ears::default())
            .map(|client| Held::new(Arc::new(client)))
            .map_err(|error| self.trouble("make a client", &error))
    }

    /// An answer of the client, if it comes back at all.
    fn answer<T: Send + 'static>(
        &self,
        doing: &str,
        ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let answer = within(LATE, ask).map_err(|lost| lost.of_sink(&format!("{}: cannot {doing}", self.what())))?;
        answer.map_err(|error| self.trouble(doing, &error))
    }

    fn topic(&self) -> Result<topic::Found, SinkError> {
        let what = format!("{}: cannot look at it", self.what());
        let (topic, settings) = (self.topic.clone(), self.settings.clone());
        let found = within(LATE, move || topic::found_or_made(&topic, &settings));
        found.map_err(|lost| lost.of_sink(&what))?.map_err(|none| match none {
            NoAnswer::Refused(_) => SinkError::Never(format!("{what}: {}", none.words())),
            NoAnswer::Nobody(..) => SinkError::Reconnect(format!("{what}: {}", none.words())),
            NoAnswer::Error(error) => of_sink(&what, &error),
        })
    }

    /// How far the group is, and of which outbox.
    fn position(&self, group: &Group) -> Result<Option<(u64, Note)>, SinkError> {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&self.topic.name, 0);
        let group = Arc::clone(group);
        let found = self.answer("ask how far it is", move || group.committed_offsets(asked, PATIENCE))?;
        let Some(place) = found.find_partition(&self.topic.name, 0) else { return Ok(None) };
        let Offset::Offset(next) = place.offset() else { return Ok(None) };
        let note = serde_json::from_str::<Note>(place.metadata()).map_err(|error| {
            SinkError::Foreign(format!(
                "{}: the position of its consumer group is not ours ({error}); delete the group, or write to another topic",
                self.what()
            ))
        })?;
        Ok(Some((next as u64, note)))
    }

    fn check(&self, found: Option<&(u64, Note)>, stream: &Stream) -> Result<(), SinkError> {
        let Some((_, note)) = found else { return Ok(()) };
        if note.log != stream.log_id {
            return Err(SinkError::Foreign(format!(
                "{} holds rows of `{}` from another data folder (log {}, and this is {}). Give back that data folder; or let this one write \
                 everything again: run with --fresh; or write to another topic",
                self.what(),
                stream.pipeline,
                note.log,
                stream.log_id
            )));
        }
        if note.fence > stream.fence {
            return Err(SinkError::Never(format!(
                "{}: `{}` was started again elsewhere (start {}, and this is {}); that one writes now",
                self.what(),
                stream.pipeline,
                note.fence,
                stream.fence
            )));
        }
        Ok(())
    }

    fn producer(&self, id: &str, most: usize) -> Result<Writer, SinkError> {
        let mut config = self.settings.with(WRITER);
        if self.exactly {
            config.set("transactional.id", id).set("transaction.timeout.ms", TRANSACTION.as_millis().to_string());
        }
        config
            .set("enable.idempotence", "true")
            .set("partitioner", "murmur2_random")
            // The client counts lengths at their longest, so a record that just fits needs a little more here; of several records
            // it makes a batch up to the smaller of the two.
            .set("message.max.bytes", size::of_client(most).to_string());
        let batch = config.get("batch.size").and_then(|said| said.parse().ok()).unwrap_or(BATCH);
        config.set("batch.size", batch.min(most.max(1)).to_string());
        let made: Result<BaseProducer<Reports>, _> = config.create_with_context(Reports::default());
        let producer = Arc::new(made.map_err(|error| self.trouble("make a client", &error))?);
        let writer = Held::new(producer.clone());
        if !self.exactly {
            return Ok(writer);
        }
        // Fences who wrote under this id before, and ends what he left open.
        self.answer("begin to write", move || producer.init_transactions(PATIENCE))?;
        Ok(writer)
    }

    fn begin(&mut self) -> Result<(), SinkError> {
        let what = self.what();
        let Some(open) = &mut self.open else { return Err(SinkError::Reconnect(format!("{what} is not open"))) };
        if self.exactly && !open.in_transaction {
            let begun = open.producer.begin_transaction();
            begun.map_err(|error| of_sink(&format!("{what}: cannot begin a transaction"), &error))?;
            open.in_transaction = true;
        }
        Ok(())
    }

    fn apply_all(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        self.begin()?;
        let mut applied = Applied::default();
        let Some(open) = &self.open else { return Ok(applied) };
        let mut next = open.next;
        for OutboxRows { base, rows } in rows {
            let frame = Frame::new(self, rows)?;
            let mut line = Vec::new();
            for row in (0..rows.num_rows()).filter(|row| base + *row as u64 >= open.next) {
                let place = base + row as u64;
                line.clear();
                match frame.record(self, open, row, place, &mut line)? {
                    Ok(Some(record)) => self.send(open, record)?,
                    Ok(None) => {}
                    Err(reason) => applied.dead.push((place, reason)),
                }
            }
            next = next.max(base + rows.num_rows() as u64);
        }
        self.flush()?;
        if let Some(open) = &mut self.open {
            open.next = next;
        }
        Ok(applied)
    }

    fn send(&self, open: &Open, mut record: BaseRecord<'_, [u8], [u8], usize>) -> Result<(), SinkError> {
        let began = Instant::now();
        loop {
            record = match open.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((error, record)) => {
                    let full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
                    if !full || began.elapsed() > ENDING {
                        return Err(self.trouble("write", &error));
                    }
                    record
                }
            };
            pause(&open.producer);
        }
    }

    /// Everything that was sent has arrived, or the transaction cannot be committed.
    fn flush(&mut self) -> Result<(), SinkError> {
        let Some(open) = &self.open else { return Ok(()) };
        flush(&open.producer, TRANSACTION).map_err(|error| self.trouble("write", &error))?;
        let refused = open.producer.context().refused.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(refused) = refused else { return Ok(()) };
        let error = self.trouble("write", &refused.error);
        if refused.error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageSizeTooLarge) {
            self.refused.insert(refused.place);
            return Err(SinkError::Reconnect(error.to_string()));
        }
        Err(error)
    }

    fn commit_all(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        self.begin()?;
        let Some(open) = &self.open else { return Ok(()) };
        let note = Note { log: open.stream.log_id.clone(), fence: open.stream.fence, books: delivered.books };
        let mut position = TopicPartitionList::new();
        {
            let mut place = position.add_partition(&self.topic.name, 0);
            place.set_metadata(serde_json::to_string(&note).unwrap_or_default());
            let set = place.set_offset(Offset::Offset(delivered.next as i64));
            set.map_err(|error| self.trouble("note how far it is", &error))?;
        }
        if self.exactly {
            self.commit_transaction(open, position)?;
        } else {
            let group = Arc::clone(&open.group);
            self.answer("note how far it is", move || group.commit(&position, CommitMode::Sync))?;
        }
        if let Some(open) = &mut self.open {
            (open.in_transaction, open.next) = (false, delivered.next);
        }
        self.refused = self.refused.split_off(&delivered.next);
        Ok(())
    }

    /// The records and the position, together.
    fn commit_transaction(&self, open: &Open, position: TopicPartitionList) -> Result<(), SinkError> {
        let metadata = open.group.group_metadata();
        let metadata =
            metadata.ok_or_else(|| SinkError::Reconnect(format!("{}: no group to note it in", self.what())))?;
        let producer = Arc::clone(&open.producer);
        self.answer("commit", move || {
            topic::retried(ENDING, || producer.send_offsets_to_transaction(&position, &metadata, ASKED))?;
            topic::retried(ENDING, || producer.commit_transaction(ASKED))
        })
    }
}

impl OutboxSink for KafkaSink {
    fn open(&mut self, stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.open = None;
        let id = self.group(&stream.pipeline, &stream.step);
        let group = self.asking(&id)?;
        let found = self.topic()?;
        // Before anybody is fenced: another data folder's writer goes on undisturbed.
        self.check(self.position(&group)?.as_ref(), stream)?;
        let producer = self.producer(&id, found.most)?;
        let position = self.position(&group)?;
        self.check(position.as_ref(), stream)?;
        let delivered = position.map(|(next, note)| Delivered { next, books: note.books }).unwrap_or_default();
        self.open = Some(Open {
            producer,
            group,
            stream: stream.clone(),
            in_transaction: false,
            next: delivered.next,
            partitions: found.partitions,
            most: found.most,
        });
        Ok(Some(delivered))
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let applied = self.apply_all(rows);
        if applied.is_err() {
            self.open = None;
        }
        applied
    }

    fn commit(&mut self, delivered: &Delivered) -> Result<(), SinkError> {
        let committed = self.commit_all(delivered);
        if committed.is_err() {
            self.open = None;
        }
        committed
    }

    /// `offsets.retention.minutes`: a week, if nobody says otherwise.
    fn forgets(&self) -> bool {
        true
    }

    fn standing(&mut self, pipeline: &str, step: &StepId) -> Result<Standing, SinkError> {
        let group = self.asking(&self.group(pipeline, step))?;
        let Some((_, note)) = self.position(&group)? else { return Ok(Standing::Nothing) };
        let (rows, target) = (note.books.fate(syncline_record::Fate::Passed), self.what());
        Ok(Standing::of(&self.write, rows, target))
    }

    fn clear(&mut self, stream: &Stream) -> Result<(), SinkError> {
        self.open = None;
        topic::forget_group(&self.group(&stream.pipeline, &stream.step), &self.settings)
            .map_err(|error| self.trouble("forget how far it is", &error))
    }
}
