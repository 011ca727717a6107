//! Reads a topic, each partition for itself and in order, from where the engine says.
//!
//! The client keeps no position and commits none that counts: what is read, and how far, is in the engine's commit. It reads what is
//! committed (`isolation.level`), so offsets have gaps where transactions were ended or taken back. A copy of our position goes to Kafka's
//! consumer group now and then, for those who look at lags there.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::KafkaError,
};
use syncline_engine::source::{Cursors, Polled, Progress, Rows, Source, SourceError, Waits};
use syncline_record::{Micros, Partition};

use super::{
    client::{Ears, Held, Settings},
    cursor::Cursor,
    partitioned::{Spread, misplaced},
    queue::{Queue, Taken},
    records::{self, Gathered, Values},
    start::{End, Start, Until, stray},
    topic::ends,
    trouble::{NoAnswer, PATIENCE, SHORT_PATIENCE, event, metadata, of_partition, of_start},
};
use crate::{
    cursor_of,
    records::TextFormat,
    spec::{Arguments, ConnectorError, Surroundings, Task},
};

/// Rows per poll: what a batch of the engine is.
const ROWS: usize = 1024;
/// How often it looks for partitions that were added.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// How often the group hears our position.
const TELL_GROUP: Duration = Duration::from_secs(5);

/// What a client is told, where the file says nothing else.
const READER: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    // How far the topic goes, and whether a broker is there.
    ("statistics.interval.ms", "1000"),
    // Of each partition; memory is bounded by it.
    ("queued.max.messages.kbytes", "16384"),
];

pub struct KafkaSource {
    settings: Settings,
    topic: String,
    group: String,
    start: Start,
    /// It ends there.
    until: Option<Until>,
    /// Which partitions are ours.
    task: Task,
    values: Values,
    /// Reads up to where the partitions end when it is opened.
    bounded: bool,
    /// Every record has to lie where its key belongs.
    by_key: bool,
    reading: Option<Held<Reading>>,
}

/// What is open.
struct Reading {
    // Before the client, which has to go last.
    lanes: Vec<Lane>,
    client: Arc<BaseConsumer<Ears>>,
    cluster: Option<String>,
    /// Where keys belong, as far as that is known; none where nobody asks.
    spread: Option<Spread>,
    /// The lane that is asked next.
    turn: usize,
    looked: Instant,
    told: Instant,
}

/// A partition.
struct Lane {
    partition: Partition,
    queue: Queue<Ears>,
    /// Offset of the next record.
    next: i64,
    /// Where a bounded source ends.
    until: Option<i64>,
    /// With `until`: what the cursor says of that.
    end: Option<End>,
    /// The engine knows where we are. A partition that gives nothing would else begin anew with the next start: `latest` would pass over
    /// what came in between.
    noted: bool,
    /// What the client said after records that went out first. It says it once.
    trouble: Option<SourceError>,
    /// Rows of another schema than those before them.
    waiting: VecDeque<Rows>,
}

/// Where a partition goes on, and where it ended when that was asked.
struct Begin {
    next: i64,
    end: i64,
    noted: bool,
    told: Option<End>,
}

impl KafkaSource {
    pub(crate) fn new(
        arguments: &Arguments,
        around: &Surroundings,
        format: &TextFormat,
        bounded: bool,
    ) -> Result<Self, ConnectorError> {
        Ok(Self {
            values: Values::of(format, arguments, around)?,
            settings: Settings::new(arguments, around)?,
            topic: arguments.text("topic").to_owned(),
            group: format!("syncline.{}", around.pipeline),
            start: Start::new(arguments)?,
            until: Until::new(arguments)?,
            task: around.task,
            bounded,
            by_key: false,
            reading: None,
        })
    }

    /// With `PARTITIONED BY`, a record that does not lie where its key belongs ends it.
    pub(crate) fn by_key(self, by_key: bool) -> Self {
        Self { by_key, ..self }
    }

    fn what(&self) -> String {
        format!("topic {} at {}", self.topic, self.settings.brokers)
    }

    fn connect(&self) -> Result<Arc<BaseConsumer<Ears>>, SourceError> {
        let mut config = self.settings.reading(READER);
        config.set("group.id", &self.group);
        let client = config.create_with_context(Ears::default());
        client.map(Arc::new).map_err(|error| of_start(self.what(), &error))
    }

    /// How many partitions the topic has, and which of them are ours.
    fn numbers(&self, client: &BaseConsumer<Ears>) -> Result<(u32, BTreeSet<i32>), SourceError> {
        // What a client that reads has to say beside its answers is not for this.
        let found = match &self.reading {
            None if self.bounded => metadata(client, Some(&self.topic), PATIENCE),
            None => metadata(client, Some(&self.topic), SHORT_PATIENCE),
            Some(_) => client.fetch_metadata(Some(&self.topic), SHORT_PATIENCE).map_err(NoAnswer::Error),
        };
        let found = found.map_err(|none| none.of_source(self.what()))?;
        let topic = found.topics().iter().find(|topic| topic.name() == self.topic);
        if let Some(error) = topic.and_then(|topic| topic.error()) {
            return Err(of_start(self.what(), &KafkaError::MetadataFetch(error.into())));
        }
        let numbers: BTreeSet<i32> =
            topic.into_iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
        if numbers.is_empty() {
            let detail = "is not there".to_owned();
            return Err(SourceError::Unreadable { what: self.what(), detail });
        }
        let all = numbers.len() as u32;
        Ok((all, numbers.into_iter().filter(|number| self.task.has(*number as u32)).collect()))
    }

    /// Where a partition goes on, and where it ends now.
    fn place(
        &self,
        client: &BaseConsumer<Ears>,
        cluster: Option<&str>,
        number: i32,
        cursor: Option<Cursor>,
        start: &Start,
    ) -> Result<(i64, (i64, i64)), SourceError> {
        let what = || format!("partition {number} of {}", self.what());
        let (oldest, end) = ends(client, &self.topic, number).map_err(|error| of_start(what(), &error))?;
        let Some(cursor) = cursor else {
            let next = start.offset(client, &self.topic, number, (oldest, end));
            return next.map(|next| (next, (oldest, end))).map_err(|error| of_start(what(), &error));
        };
        let over =
            self.until.as_ref().zip(cursor.end.as_ref()).is_some_and(|(until, end)| until.is_over(end, cursor.next));
        // What was deleted since of a range that is read was read.
        let next = if over { cursor.next.max(oldest) } else { cursor.next };
        Cursor { next, ..cursor }
            .fits(cluster, oldest, end)
            .map_err(|detail| SourceError::Changed { what: what(), detail })?;
        Ok((next, (oldest, end)))
    }

    /// Begins to read partitions that are not read yet.
    fn assign(
        &self,
        client: &Arc<BaseConsumer<Ears>>,
        places: &BTreeMap<i32, Begin>,
    ) -> Result<Vec<Lane>, SourceError> {
        let (mut lanes, mut list) = (vec![], TopicPartitionList::new());
        for (number, Begin { next, end, noted, told }) in places {
            let queue = Queue::of(client, &self.topic, *number).ok_or_else(|| {
                let detail = "has no queue in the client".to_owned();
                SourceError::Unreadable { what: format!("partition {number} of {}", self.what()), detail }
            })?;
            list.add_partition_offset(&self.topic, *number, Offset::Offset(*next))
                .map_err(|error| of_start(self.what(), &error))?;
            lanes.push(Lane {
                partition: Partition::new(self.topic.clone(), *number as u32),
                queue,
                next: *next,
                until: self.bounded.then_some(told.as_ref().map_or(*end, End::offset)),
                end: told.clone(),
                noted: *noted,
                trouble: None,
                waiting: VecDeque::new(),
            });
        }
        client.incremental_assign(&list).map_err(|error| of_start(self.what(), &error))?;
        Ok(lanes)
    }

    /// Partitions that were added to the topic are read from their first record on.
    fn look_again(&mut self) -> Result<(), SourceError> {
        let Some(reading) = &self.reading else { return Ok(()) };
        if self.bounded || reading.looked.elapsed() < LOOK_AGAIN || reading.client.context().seen().alone {
            return Ok(());
        }
        let client = reading.client.clone();
        let numbers = self.numbers(&client);
        if let Some(reading) = &mut self.reading {
            reading.looked = Instant::now();
        }
        let (among, numbers) = match numbers {
            // A broker that does not answer now is no reason to stop.
            Err(SourceError::Again { .. }) => return Ok(()),
            numbers => numbers?,
        };
        if let Some(spread) = self.reading.as_ref().and_then(|reading| reading.spread) {
            spread.same_among(among).map_err(|detail| misplaced(self.what(), detail))?;
        }
        let known: BTreeSet<i32> = self.reading.iter().flat_map(|reading| &reading.lanes).map(Lane::number).collect();
        if let Some(gone) = known.difference(&numbers).next() {
            let what = format!("partition {gone} of {}", self.what());
            return Err(SourceError::Changed { what, detail: "is not there any more".to_owned() });
        }
        let mut places = BTreeMap::new();
        for number in numbers.difference(&known) {
            let Ok((oldest, end)) = client.fetch_watermarks(&self.topic, *number, PATIENCE) else { continue };
            places.insert(*number, Begin { next: oldest, end, noted: false, told: None });
        }
        if places.is_empty() {
            return Ok(());
        }
        tracing::info!(topic = self.topic, partitions = ?places.keys().collect::<Vec<_>>(), "partitions were added");
        let lanes = self.assign(&client, &places)?;
        if let Some(reading) = &mut self.reading {
            reading.lanes.extend(lanes);
        }
        Ok(())
    }
}

impl Lane {
    fn number(&self) -> i32 {
        self.partition.number as i32
    }

    fn is_over(&self) -> bool {
        self.waiting.is_empty() && self.until.is_some_and(|until| self.next >= until)
    }

    /// What has come, as far as it goes.
    fn take(
        &mut self,
        what: &str,
        cluster: Option<&str>,
        (values, spread): (&mut Values, &mut Option<Spread>),
        now: Micros,
    ) -> Result<Option<Rows>, SourceError> {
        if let Some(rows) = self.waiting.pop_front() {
            return Ok(Some(rows));
        }
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let mut gathered = Gathered::default();
        let Self { partition, queue, next, until, trouble, .. } = self;
        queue.take(ROWS, |taken| match taken {
            Taken::Record(record) => {
                if let Some(until) = until.filter(|until| record.offset() >= *until) {
                    // Nothing has to lie right before the end: offsets have gaps.
                    *next = until.max(*next);
                    return;
                }
                // It came twice after a reconnection.
                if record.offset() < *next {
                    return;
                }
                *next = record.offset() + 1;
                gathered.add(partition, &record, values, now);
            }
            Taken::End(offset) => *next = offset.max(*next),
            Taken::Trouble(code, text) => {
                let what = format!("partition {} of {what}", partition.number);
                *trouble = Some(of_partition(what, code, &text));
            }
        });
        if gathered.is_empty() {
            return self.trouble.take().map_or(Ok(None), Err);
        }
        self.noted = true;
        let end = self.end.clone();
        for (rows, next) in gathered.rows(&self.partition, values, self.next, now)? {
            if let (Some(spread), Some(keys)) = (spread.as_mut(), &rows.origin.keys) {
                spread.check(&self.partition, keys, &rows.origin.offsets)?;
            }
            self.waiting.push_back(Rows { cursor: cursor(next, cluster, *spread, end.as_ref()), ..rows });
        }
        Ok(self.waiting.pop_front())
    }

    /// Where the partition is begun.
    fn begun(&mut self, cluster: Option<&str>, spread: Option<Spread>, now: Micros) -> Rows {
        self.noted = true;
        Rows {
            cursor: cursor(self.next, cluster, spread, self.end.as_ref()),
            ..records::none(self.partition.clone(), now)
        }
    }
}

fn cursor(next: i64, cluster: Option<&str>, spread: Option<Spread>, end: Option<&End>) -> serde_json::Value {
    // Numbers and text: it always has a JSON form.
    serde_json::to_value(Cursor { next, cluster: cluster.map(str::to_owned), spread, end: end.cloned() })
        .unwrap_or_default()
}

impl Source for KafkaSource {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.reading = None;
        let client = self.connect()?;
        let (among, numbers) = self.numbers(&client)?;
        let cluster = client.client().fetch_cluster_id(PATIENCE).filter(|id| !id.is_empty());
        let name = |number: i32| Partition::new(self.topic.clone(), number as u32).to_string();
        let begun = numbers.iter().any(|number| cursors.contains_key(&name(*number)));
        // Who has begun is asked no more where.
        if let Some(detail) = stray((!begun).then_some(&self.start), self.until.as_ref(), among) {
            return Err(SourceError::Unreadable { what: self.what(), detail });
        }
        let mut places = BTreeMap::new();
        let mut spread = self.by_key.then(|| Spread::among(among));
        for number in numbers {
            let name = name(number);
            let cursor = cursors.get(&name).map(|cursor| cursor_of::<Cursor>(&name, cursor)).transpose()?;
            if let (Some(spread), Some(learnt)) = (&mut spread, cursor.as_ref().and_then(|cursor| cursor.spread)) {
                spread.learn(learnt).map_err(|detail| misplaced(self.what(), detail))?;
            }
            let noted = cursor.is_some();
            // Where others were read already, one that is not known was added since.
            let start = if begun { &Start::Earliest } else { &self.start };
            let before = cursor.as_ref().and_then(|cursor| cursor.end.clone());
            let (next, (oldest, end)) = self.place(&client, cluster.as_deref(), number, cursor, start)?;
            let told = self.until.as_ref().map(|until| {
                let told = until.end(&client, &self.topic, number, (oldest, end), before.as_ref());
                told.map_err(|error| of_start(format!("partition {number} of {}", self.what()), &error))
            });
            let told = told.transpose()?;
            let ends = (oldest, end);
            let begins = if noted { None } else { start.beyond(number, ends) };
            let until = self.until.as_ref().zip(told.as_ref());
            let short =
                until.and_then(|(until, told)| until.short(number, ends, ((!noted).then_some(next), told), now));
            for why in begins.into_iter().chain(short) {
                tracing::warn!(topic = self.topic, partition = number, "partition {number} of {} {why}", self.topic);
            }
            places.insert(number, Begin { next, end, noted, told });
        }
        let lanes = self.assign(&client, &places)?;
        let (looked, told) = (Instant::now(), Instant::now());
        self.reading = Some(Held::new(Reading { lanes, client, cluster, spread, turn: 0, looked, told }));
        Ok(())
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        self.look_again()?;
        let what = self.what();
        let Some(reading) = &mut self.reading else {
            return Err(SourceError::Unreadable { what, detail: "is not open".to_owned() });
        };
        let reading: &mut Reading = reading;
        event(&reading.client, &what)?;
        if let Some(lane) = reading.lanes.iter_mut().find(|lane| !lane.noted) {
            return Ok(Polled::Rows(lane.begun(reading.cluster.as_deref(), reading.spread, now)));
        }
        // Who has no partition yet may be given one.
        if self.bounded && reading.lanes.iter().all(Lane::is_over) {
            return Ok(Polled::Ended);
        }
        for _ in 0..reading.lanes.len() {
            reading.turn = (reading.turn + 1) % reading.lanes.len();
            let lane = &mut reading.lanes[reading.turn];
            if lane.is_over() {
                continue;
            }
            let rows = lane.take(&what, reading.cluster.as_deref(), (&mut self.values, &mut reading.spread), now)?;
            if let Some(rows) = rows {
                return Ok(Polled::Rows(rows));
            }
        }
        Ok(Polled::Idle)
    }

    fn wait(&mut self, now: Micros) -> Result<Waits, SourceError> {
        let what = self.what();
        let Some(reading) = &mut self.reading else { return Ok(Waits::NotYet) };
        let reading: &mut Reading = reading;
        event(&reading.client, &what)?;
        Ok(match reading.lanes.iter_mut().find(|lane| !lane.noted) {
            Some(lane) => Waits::Begun(lane.begun(reading.cluster.as_deref(), reading.spread, now)),
            None => Waits::Noted,
        })
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        let Some(reading) = &mut self.reading else { return Ok(()) };
        if reading.told.elapsed() < TELL_GROUP {
            return Ok(());
        }
        reading.told = Instant::now();
        let mut list = TopicPartitionList::new();
        for lane in &reading.lanes {
            let cursor = cursors.get(&lane.partition.to_string()).map(|cursor| cursor["next"].as_i64());
            if let Some(Some(next)) = cursor {
                // A copy for others: what cannot be told now is told the next time.
                let _ = list.add_partition_offset(&self.topic, lane.number(), Offset::Offset(next));
            }
        }
        if list.count() > 0 {
            let _ = reading.client.commit(&list, CommitMode::Async);
        }
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        let reading = self.reading.as_ref()?;
        reading.client.context().seen().alone.then(|| format!("{}: no broker can be reached", self.what()))
    }

    /// Of a range, the offsets that are left: some of them may hold no record.
    fn progress(&self) -> Progress {
        let lanes = self.reading.iter().flat_map(|reading| &reading.lanes);
        let left = lanes.map(|lane| lane.until.map(|until| (until - lane.next).max(0) as u64));
        let records_left = self.reading.as_ref().and_then(|_| left.sum());
        Progress { records_left: records_left.filter(|_| self.bounded), ..Progress::default() }
    }

    fn behind(&self) -> Option<u64> {
        let reading = self.reading.as_ref()?;
        let seen = reading.client.context().seen();
        // What lies behind the end of a range is none of its business.
        let end = |lane: &Lane| lane.until.or_else(|| seen.ends.get(&lane.number()).copied());
        let ends = reading.lanes.iter().filter_map(|lane| Some(end(lane)? - lane.next));
        Some(ends.map(|left| left.max(0) as u64).sum())
    }

    fn partitions(&self) -> Vec<Partition> {
        self.reading.iter().flat_map(|reading| &reading.lanes).map(|lane| lane.partition.clone()).collect()
    }
}
