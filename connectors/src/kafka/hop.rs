//! The topic of a hop: made with a partition for each task, read by the task of its number, and emptied behind it.
//!
//! Who writes it does so in transactions of its own changelog (`changelog`), so it is read as it is committed. The position is in the reader's
//! checkpoint. What that has taken is deleted from the topic, which has no other readers and no other end: nothing of it goes by its age.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use syncline_engine::{
    hop::{Assembly, Writer, Writers},
    source::{Cursors, Polled, Source, SourceError, Streamed},
    stream::{self, Carried, Content},
};
use syncline_record::{Micros, Partition};

use super::{
    calls::{LATE, within_or_stopped},
    client::{Ears, Held, Settings},
    cursor::Cursor,
    queue::{Queue, Taken},
    topic::{self, Topic},
    trouble::{PATIENCE, SHORT_PATIENCE, event, of_partition, of_start},
};
use crate::{
    cursor_of,
    spec::{Arguments, ConnectorError, Surroundings, Task},
    stream_source::Writer as Standing,
};

/// Records that are taken at once.
const AT_ONCE: usize = 64;
/// A topic that nobody answers for is looked at again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often what is committed is deleted.
const DELETED_EVERY: Duration = Duration::from_secs(10);

/// Rows wait for their reader, however long that is away; they go when it has them. Files are small, since only whole ones go.
pub const CONFIG: &[(&str, &str)] =
    &[("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1"), ("segment.bytes", "67108864")];

const READER: &[(&str, &str)] =
    &[("fetch.wait.max.ms", "50"), ("statistics.interval.ms", "1000"), ("queued.max.messages.kbytes", "32768")];

/// The topic of a hop, for who writes or reads it. `like`: the topic of a changelog in the same cluster.
pub fn topic_of(name: &str, like: &Topic, tasks: u32) -> Topic {
    Topic { name: name.to_owned(), partitions: Some(tasks as i32), config: CONFIG, ..like.clone() }
}

/// Another number of partitions than of tasks: keys would be elsewhere.
pub fn other_number(partitions: u32, tasks: u32) -> Option<String> {
    let count = |number: u32, what: &str| if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") };
    (partitions != tasks).then(|| {
        format!(
            "has {}, and the pipeline {}; run it with as many tasks as before, or delete the topic and run it with --fresh",
            count(partitions, "partition"),
            count(tasks, "task")
        )
    })
}

/// How it stands with the tasks that write, by their number.
pub type Around = Box<dyn Fn(u32) -> Standing + Send>;

pub struct HopSource {
    settings: Settings,
    topic: Topic,
    task: Task,
    /// Ends when all writers have, and everything is read.
    bounded: bool,
    around: Around,
    /// Called once, when nothing more will come although this is not the end.
    cut_off: Box<dyn FnMut() + Send>,
    told: bool,
    reading: Option<Held<Reading>>,
    waiting: Option<Waiting>,
    /// Nobody waits for long any more.
    stop: Arc<AtomicBool>,
}

/// Nobody answers for the partition: it is waited for, as a topic is that is read from outside (`waiting`).
struct Waiting {
    /// Where the engine wants to go on.
    cursors: Cursors,
    why: String,
    since: Instant,
}

/// A client, and what its brokers say of the partition.
struct Found {
    partitions: u32,
    client: Held<Arc<BaseConsumer<Ears>>>,
    cluster: Option<String>,
    oldest: i64,
    end: i64,
}

/// Where the reader is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Everything before this offset was taken.
    next: i64,
    /// Where to begin again: a frame that was not whole began there.
    from: i64,
    cluster: Option<String>,
    writers: Writers,
}

struct Reading {
    // Before the client, which has to go last.
    queue: Queue<Ears>,
    client: Arc<BaseConsumer<Ears>>,
    place: Place,
    assembly: Assembly,
    frames: VecDeque<Whole>,
    /// What writers had said when the reader began, still to be handed on.
    known: Vec<(u32, Micros)>,
    /// Offset behind what the client has given.
    given: i64,
    /// Where a bounded reader ends, once its writers are over.
    until: Option<i64>,
    trouble: Option<SourceError>,
    deleted: Instant,
    deleting: Option<thread::JoinHandle<()>>,
    /// It was told that nothing can be deleted.
    complained: Arc<AtomicBool>,
}

/// A whole frame, and where the partition goes on behind it.
struct Whole {
    writer: u32,
    next: i64,
    from: i64,
    body: Vec<u8>,
}

impl HopSource {
    pub(crate) fn new(
        arguments: &Arguments,
        around: &Surroundings,
        bounded: bool,
        (writers, cut_off): (Around, Box<dyn FnMut() + Send>),
        stop: Arc<AtomicBool>,
    ) -> Result<Self, ConnectorError> {
        let settings = Settings::new(arguments, around)?;
        let topic = topic_of(arguments.text("topic"), &Topic::new(arguments, false), around.task.of);
        let (told, reading, waiting, task) = (false, None, None, around.task);
        Ok(Self { settings, topic, task, bounded, around: writers, cut_off, told, reading, waiting, stop })
    }

    fn what(&self) -> String {
        format!("partition {} of topic {} at {}", self.task.number, self.topic.name, self.settings.brokers)
    }

    /// Under which the position is kept.
    fn partition(&self) -> Partition {
        Partition::new(self.topic.name.clone(), self.task.number)
    }

    /// Whose time it is.
    fn writer(&self, number: u32) -> Partition {
        Partition::new(format!("{}/from", self.topic.name), number)
    }

    /// How the writers stand, all in all.
    fn writers(&self) -> Standing {
        let all: Vec<Standing> = (0..self.task.of).map(|number| (self.around)(number)).collect();
        let order = [Standing::Coming, Standing::Running, Standing::Gone];
        order.into_iter().find(|one| all.contains(one)).unwrap_or(Standing::Ended)
    }

    /// The next frame that is whole.
    fn next(&mut self) -> Result<Option<Streamed>, SourceError> {
        let what = self.what();
        let Some(reading) = &mut self.reading else {
            return Err(SourceError::Unreadable { what, detail: "is not open".to_owned() });
        };
        let reading: &mut Reading = reading;
        if let Some((number, mark)) = reading.known.pop() {
            let cursor = json!(reading.place);
            return Ok(Some(self.streamed(number, None, Some(mark), cursor)));
        }
        if reading.frames.is_empty() {
            reading.take(&what)?;
        }
        let Some(Whole { writer, next, from, body }) = reading.frames.pop_front() else { return Ok(None) };
        let (id, content) = stream::decode(&body)
            .map_err(|detail| SourceError::Unreadable { what: format!("record {} of {what}", next - 1), detail })?;
        let known =
            reading.place.writers.entry(writer).or_insert_with(|| Writer { id: id.clone(), mark: None, quiet: false });
        if known.id != id {
            let detail = format!(
                "task {writer} before it was started over, and what it had written before was read already; run the whole pipeline with --fresh"
            );
            return Err(SourceError::Changed { what, detail });
        }
        known.quiet = matches!(content, Content::Quiet(_));
        let (rows, mark): (Option<Carried>, _) = match content {
            Content::Rows(rows) => (Some(*rows), None),
            Content::Mark(mark) | Content::Quiet(mark) if known.mark > Some(mark) => (None, None),
            Content::Mark(mark) | Content::Quiet(mark) => (None, Some(mark)),
        };
        known.mark = known.mark.max(mark);
        (reading.place.next, reading.place.from) = (next, from);
        let cursor = json!(reading.place);
        Ok(Some(self.streamed(writer, rows, mark, cursor)))
    }

    fn streamed(
        &self,
        writer: u32,
        rows: Option<Carried>,
        mark: Option<Micros>,
        cursor: serde_json::Value,
    ) -> Streamed {
        Streamed { stream: self.partition(), writer: self.writer(writer), rows, mark, cursor }
    }

    /// Where what is committed ends now.
    fn end(&self) -> Result<i64, SourceError> {
        let Some(reading) = &self.reading else { return Ok(0) };
        let (client, topic, number) = (reading.client.clone(), self.topic.name.clone(), self.task.number as i32);
        let ends = self.asked("look where it ends", move || topic::ends(&client, &topic, number))?;
        ends.map(|(_, end)| end).map_err(|error| of_start(self.what(), &error))
    }

    /// An answer of the client, if it comes before somebody says stop.
    fn asked<T: Send + 'static>(
        &self,
        doing: &str,
        ask: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SourceError> {
        within_or_stopped(LATE, &self.stop, ask).map_err(|lost| lost.of_source(self.what(), doing))
    }

    /// Begins to read, or to wait. Who reads to an end (`--once`) does not wait: somebody waits for him.
    fn begin(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        let known = self.waiting.take().is_some();
        match self.try_open(cursors) {
            Err(SourceError::Again { what, detail }) if !self.bounded || self.stop.load(Ordering::Relaxed) => {
                let why = format!("{what}: {detail}");
                if !known {
                    tracing::warn!(topic = self.topic.name, "{why}; it is waited for");
                }
                self.waiting = Some(Waiting { cursors: cursors.clone(), why, since: Instant::now() });
                Ok(())
            }
            opened => opened,
        }
    }

    fn try_open(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        self.reading = None;
        let what = self.what();
        let (topic, settings, number) = (self.topic.clone(), self.settings.clone(), self.task.number as i32);
        let (patience, told) = (if self.bounded { PATIENCE } else { SHORT_PATIENCE }, what.clone());
        let found = self.asked("look at it", move || find(&topic, &settings, number, patience, &told))??;
        let Found { partitions, client, cluster, oldest, end } = found;
        if let Some(detail) = other_number(partitions, self.task.of) {
            return Err(SourceError::Changed { what: format!("topic {}", self.topic.name), detail });
        }
        let name = self.partition().to_string();
        let place = match cursors.get(&name) {
            None => Place { next: oldest, from: oldest, cluster, writers: Writers::new() },
            Some(cursor) => {
                let place: Place = cursor_of(&name, cursor)?;
                let fits = Cursor { next: place.from, cluster: place.cluster.clone(), spread: None, end: None };
                fits.fits(cluster.as_deref(), oldest, end)
                    .map_err(|detail| SourceError::Changed { what: what.clone(), detail })?;
                place
            }
        };
        let client = Arc::clone(&client);
        let queue = Queue::of(&client, &self.topic.name, number).ok_or_else(|| {
            let detail = "has no queue in the client".to_owned();
            SourceError::Unreadable { what: what.clone(), detail }
        })?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic.name, number, Offset::Offset(place.from))
            .and_then(|()| client.incremental_assign(&list))
            .map_err(|error| of_start(what, &error))?;
        self.reading = Some(Held::new(Reading::new(queue, client, place)));
        Ok(())
    }
}

/// Asks the brokers. Made on a thread of its own: whoever waits for it may be told to stop.
fn find(topic: &Topic, settings: &Settings, number: i32, patience: Duration, what: &str) -> Result<Found, SourceError> {
    let found = topic::found_or_made(topic, settings).map_err(|none| none.of_source(what.to_owned()))?;
    let partitions = found.partitions;
    let mut config = settings.reading(READER);
    // Nobody is a member of it: the client wants one to be named.
    config.set("group.id", &topic.name);
    let client = config.create_with_context::<_, BaseConsumer<Ears>>(Ears::default());
    let client = client.map_err(|error| of_start(what.to_owned(), &error))?;
    let client = Held::new(Arc::new(client));
    if number as u32 >= partitions {
        return Ok(Found { partitions, client, cluster: None, oldest: 0, end: 0 });
    }
    let cluster = client.client().fetch_cluster_id(patience).filter(|id| !id.is_empty());
    let ends = topic::led(patience, || client.fetch_watermarks(&topic.name, number, patience));
    let (oldest, end) = ends.map_err(|error| of_start(what.to_owned(), &error))?;
    Ok(Found { partitions, client, cluster, oldest, end })
}

impl Reading {
    fn new(queue: Queue<Ears>, client: Arc<BaseConsumer<Ears>>, place: Place) -> Self {
        let known = place.writers.iter().filter_map(|(number, writer)| Some((*number, writer.mark?))).collect();
        Reading {
            queue,
            client,
            given: place.from,
            place,
            assembly: Assembly::default(),
            frames: VecDeque::new(),
            known,
            until: None,
            trouble: None,
            deleted: Instant::now(),
            deleting: None,
            complained: Arc::default(),
        }
    }

    /// Takes what has come.
    fn take(&mut self, what: &str) -> Result<(), SourceError> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        event(&self.client, what)?;
        let Self { queue, assembly, frames, given, trouble, place, .. } = self;
        let done = place.next;
        queue.take(AT_ONCE, |taken| match taken {
            Taken::Record(record) if record.offset() < *given || trouble.is_some() => {}
            Taken::Record(record) => {
                let next = record.offset() + 1;
                *given = next;
                match assembly.take(record.offset() as u64, record.value().unwrap_or_default()) {
                    // It was whole before: only what was not is taken again.
                    Ok(Some(_)) if next <= done => {}
                    Ok(Some((writer, body))) => {
                        let from = assembly.from(next as u64) as i64;
                        frames.push_back(Whole { writer, next, from, body });
                    }
                    Ok(None) => {}
                    // Its first part lies before the place where this begins: then it was whole before.
                    Err(_) if next <= done => {}
                    Err(detail) => {
                        let what = format!("record {} of {what}", record.offset());
                        *trouble = Some(SourceError::Unreadable { what, detail });
                    }
                }
            }
            Taken::End(offset) => *given = offset.max(*given),
            Taken::Trouble(code, text) => *trouble = Some(of_partition(what.to_owned(), code, &text)),
        });
        if self.frames.is_empty() { self.trouble.take().map_or(Ok(()), Err) } else { Ok(()) }
    }

    /// Deletes what nobody needs any more, on a thread of its own: a broker may take its time, and nothing depends on it.
    fn delete(&mut self, topic: &str, partition: i32, below: i64, settings: &Settings) {
        if self.deleted.elapsed() < DELETED_EVERY || self.deleting.as_ref().is_some_and(|thread| !thread.is_finished())
        {
            return;
        }
        self.deleted = Instant::now();
        let (settings, topic, complained) = (settings.clone(), topic.to_owned(), self.complained.clone());
        let thread = thread::Builder::new().name("kafka-delete".to_owned());
        self.deleting = thread
            .spawn(move || {
                if let Err(error) = topic::delete_below(&topic, &[(partition, below)], &settings)
                    && !complained.swap(true, Ordering::Relaxed)
                {
                    tracing::warn!(topic, partition, %error, "what was taken out of a hop cannot be deleted, and stays there");
                }
            })
            .ok();
    }
}

impl Source for HopSource {
    fn open(&mut self, cursors: &Cursors, _now: Micros) -> Result<(), SourceError> {
        self.waiting = None;
        self.begin(cursors)
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        if let Some(waiting) = &self.waiting {
            if waiting.since.elapsed() < LOOK_AGAIN || self.stop.load(Ordering::Relaxed) {
                return Ok(Polled::Idle);
            }
            let cursors = waiting.cursors.clone();
            self.begin(&cursors)?;
            if self.waiting.is_some() {
                return Ok(Polled::Idle);
            }
            tracing::info!(topic = self.topic.name, "its brokers are there");
        }
        // Asked first: what is written before they are over is there afterwards.
        let writers = if self.bounded { self.writers() } else { Standing::Running };
        if writers == Standing::Coming {
            return Ok(Polled::Idle);
        }
        if let Some(streamed) = self.next()? {
            return Ok(Polled::Streamed(Box::new(streamed)));
        }
        if writers == Standing::Running {
            return Ok(Polled::Idle);
        }
        let end = match self.reading.as_ref().and_then(|reading| reading.until) {
            Some(end) => end,
            None => self.end()?,
        };
        let Some(reading) = &mut self.reading else { return Ok(Polled::Idle) };
        reading.until = Some(end);
        if reading.given < end {
            return Ok(Polled::Idle);
        }
        if writers == Standing::Ended {
            return Ok(Polled::Ended);
        }
        if !self.told {
            self.told = true;
            tracing::warn!(
                topic = self.topic.name,
                "a task that writes it does not run and did not come to its end; what it wrote is read, and this one stops"
            );
            (self.cut_off)();
        }
        Ok(Polled::Idle)
    }

    fn bounded(&self) -> bool {
        self.bounded
    }

    fn trouble(&self) -> Option<String> {
        if let Some(waiting) = &self.waiting {
            return Some(waiting.why.clone());
        }
        let reading = self.reading.as_ref()?;
        reading.client.context().seen().alone.then(|| format!("{}: no broker can be reached", self.what()))
    }

    fn behind(&self) -> Option<u64> {
        let reading = self.reading.as_ref()?;
        let end = reading.client.context().seen().ends.get(&(self.task.number as i32)).copied()?;
        Some((end - reading.given).max(0) as u64)
    }

    /// Who has said nothing yet holds time back.
    fn partitions(&self) -> Vec<Partition> {
        (0..self.task.of).map(|number| self.writer(number)).collect()
    }

    fn quiet(&self) -> Option<Vec<Partition>> {
        let writers = self.reading.iter().flat_map(|reading| &reading.place.writers);
        Some(writers.filter(|(_, writer)| writer.quiet).map(|(number, _)| self.writer(*number)).collect())
    }

    fn committed(&mut self, cursors: &Cursors) -> Result<(), SourceError> {
        let name = self.partition().to_string();
        let Some(cursor) = cursors.get(&name) else { return Ok(()) };
        let place: Place = cursor_of(&name, cursor)?;
        if let Some(reading) = &mut self.reading {
            reading.delete(&self.topic.name, self.task.number as i32, place.from, &self.settings);
        }
        Ok(())
    }
}

/// Empties the topic of a hop before its pipeline is started over: what lies there was written before. One that is not there is fine.
pub(crate) fn empty(arguments: &Arguments, around: &Surroundings) -> Result<(), String> {
    let settings = Settings::new(arguments, around).map_err(|error| error.to_string())?;
    let topic = arguments.text("topic");
    topic::empty(topic, &settings).map_err(|none| format!("topic {topic} at {}: {}", settings.brokers, none.words()))
}
