//! The streams of a process: who reads each of them, and how it stands with the pipelines that write them.
//!
//! A stream belongs to its writer, and lies in the log until every pipeline of the project that reads it has committed what it made of it,
//! those that do not run now too. A pipeline that is taken out of the files is waited for no more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::Value;
use syncline_connectors::stream_source::{self, Writer};
use syncline_dsl::plan::Plan;
use syncline_engine::{
    checkpoint::{self, ReadError},
    ledger::stream_topic,
    store::StateStore,
    stream::{Position, Readers, Slowest, partition},
};

/// A pipeline that reads a stream, by so many of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reader {
    pipeline: String,
    inputs: usize,
}

/// Readers by topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declared(BTreeMap<String, Vec<Reader>>);

impl Declared {
    /// Who reads what, as these pipelines say.
    pub fn of<'a>(plans: impl Iterator<Item = &'a Plan>) -> Self {
        let mut all: BTreeMap<String, Vec<Reader>> = BTreeMap::new();
        for plan in plans {
            for (name, writer) in plan.sources().into_iter().filter_map(|source| source.place.stream()) {
                let readers = all.entry(stream_topic(writer, name)).or_default();
                match readers.iter_mut().find(|reader| reader.pipeline == plan.pipeline) {
                    Some(reader) => reader.inputs += 1,
                    None => readers.push(Reader { pipeline: plan.pipeline.clone(), inputs: 1 }),
                }
            }
        }
        Self(all)
    }
}

/// How far a pipeline of this process has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is about to start over: what its streams hold is not its own any more.
    Coming,
    Running,
    /// It was given up. What its checkpoint says of its end is that of an earlier run.
    Failed,
}

#[derive(Default)]
struct Inner {
    declared: Declared,
    stages: BTreeMap<String, Stage>,
}

pub struct Streams {
    store: Arc<dyn StateStore>,
    inner: Mutex<Inner>,
}

impl Streams {
    pub fn new(store: Arc<dyn StateStore>, declared: Declared) -> Arc<Self> {
        Arc::new(Self { store, inner: Mutex::new(Inner { declared, ..Inner::default() }) })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The files were read again.
    pub fn declare(&self, declared: Declared) {
        self.inner().declared = declared;
    }

    /// A pipeline will run. `fresh`: it starts over, and nobody reads of it before it has.
    pub fn begins(&self, pipeline: &str, fresh: bool) {
        let stage = if fresh { Stage::Coming } else { Stage::Running };
        self.inner().stages.insert(pipeline.to_owned(), stage);
    }

    pub fn started(&self, pipeline: &str) {
        self.inner().stages.insert(pipeline.to_owned(), Stage::Running);
    }

    /// It does not run any more.
    pub fn over(&self, pipeline: &str, failed: bool) {
        let mut inner = self.inner();
        match failed {
            true => inner.stages.insert(pipeline.to_owned(), Stage::Failed),
            false => inner.stages.remove(pipeline),
        };
    }

    /// The id of the stream that a pipeline writes.
    fn id(&self, pipeline: &str) -> Option<String> {
        let checkpoint = checkpoint::read::<Value>(&*self.store, &checkpoint::checkpoint_key(pipeline)).ok()??;
        let id = checkpoint.get("log_id")?.as_str()?;
        (!id.is_empty()).then(|| id.to_owned())
    }

    /// How it stands with a pipeline of this process.
    pub fn writer(&self, pipeline: &str) -> Writer {
        match self.inner().stages.get(pipeline) {
            Some(Stage::Coming) => return Writer::Coming,
            Some(Stage::Running) => return Writer::Running,
            Some(Stage::Failed) => return Writer::Gone,
            None => {}
        }
        let checkpoint = checkpoint::read::<Value>(&*self.store, &checkpoint::checkpoint_key(pipeline));
        match checkpoint.ok().flatten().and_then(|checkpoint| checkpoint.get("ended")?.as_bool()) {
            Some(true) => Writer::Ended,
            _ => Writer::Gone,
        }
    }

    /// The reader of a stream that is furthest behind. One that has committed nothing of it needs all.
    fn slowest(&self, writer: &str, name: &str, id: &str) -> Result<Option<Slowest>, ReadError> {
        let inner = self.inner();
        let readers = inner.declared.0.get(&stream_topic(writer, name)).cloned().unwrap_or_default();
        let runs = |reader: &Reader| matches!(inner.stages.get(&reader.pipeline), Some(Stage::Coming | Stage::Running));
        let runs: Vec<bool> = readers.iter().map(runs).collect();
        drop(inner);
        let mut slowest: Option<Slowest> = None;
        for (Reader { pipeline, inputs }, runs) in readers.into_iter().zip(runs) {
            let cursors = checkpoint::cursors_of(&*self.store, &pipeline, &partition(name))?;
            let whole = cursors.len() >= inputs;
            let next = cursors.iter().map(|cursor| Position::within(cursor, id)).min().filter(|_| whole).unwrap_or(0);
            if slowest.as_ref().is_none_or(|slowest| next < slowest.next) {
                slowest = Some(Slowest { pipeline, next, runs });
            }
        }
        Ok(slowest)
    }

    /// Who reads a stream, for those that have to ask again and again.
    pub fn readers(self: &Arc<Self>, writer: &str, name: &str) -> Box<Readers> {
        let (streams, writer, name) = (self.clone(), writer.to_owned(), name.to_owned());
        Box::new(move |id| streams.slowest(&writer, &name, id))
    }

    /// What a reader has to know. `stop` is set when its writer is no more, and nothing else will come.
    pub fn around(self: &Arc<Self>, writer: &str, name: &str, stop: Arc<AtomicBool>) -> stream_source::Surroundings {
        let (streams, pipeline) = (self.clone(), writer.to_owned());
        let (asked, writing) = (self.clone(), writer.to_owned());
        stream_source::Surroundings {
            writer: Box::new(move || streams.writer(&pipeline)),
            id: Box::new(move || asked.id(&writing)),
            readers: self.readers(writer, name),
            cut_off: Box::new(move || stop.store(true, Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use syncline_dsl::{Samples, compile};
    use syncline_engine::{
        checkpoint::{PartitionNote, partition_key, put},
        store::{Changes, memory::MemoryStore},
    };

    use super::*;

    const FILE: &str = "PIPELINE w AS FROM file('a') |> SELECT id |> AS STREAM s;
PIPELINE one AS FROM s |> INSERT INTO file('o/');
PIPELINE both AS FROM s |> UNION ALL (FROM s |> WHERE id = 1) |> INSERT INTO file('p/');";

    fn streams(file: &str) -> (Arc<MemoryStore>, Arc<Streams>) {
        let store = Arc::new(MemoryStore::new());
        (store.clone(), Streams::new(store, declared(file)))
    }

    fn declared(file: &str) -> Declared {
        let sources = crate::source_file::catalog();
        let checked = compile(file, &sources, &Samples::default());
        assert!(checked.plan.pipelines.len() > 1, "{:?}", checked.diagnostics);
        Declared::of(checked.plan.pipelines.iter())
    }

    fn reads(store: &MemoryStore, pipeline: &str, partition: &str, id: &str, next: u64) {
        let mut changes = Changes::default();
        let cursor = json!(Position { id: id.into(), topic: "t".into(), next });
        let note = PartitionNote { partition: partition.into(), cursor, watermark: None };
        put(&mut changes, partition_key(pipeline, partition), &note);
        store.apply(changes).unwrap();
    }

    fn slowest(streams: &Arc<Streams>) -> Option<String> {
        let slowest = streams.readers("w", "s")("x").unwrap();
        slowest.map(|slowest| format!("{} {}", slowest.pipeline, slowest.next))
    }

    #[test]
    fn a_reader_needs_all_that_it_has_not_committed_by_each_of_its_sources() {
        let (store, streams) = streams(FILE);
        assert_eq!(slowest(&streams).as_deref(), Some("one 0"));
        reads(&store, "one", "stream/s", "x", 7);
        assert_eq!(slowest(&streams).as_deref(), Some("both 0"));
        reads(&store, "both", "stream/s", "x", 9);
        assert_eq!(slowest(&streams).as_deref(), Some("both 0"));
        reads(&store, "both", "source_2\u{1f}stream/s", "x", 8);
        assert_eq!(slowest(&streams).as_deref(), Some("one 7"));
        // A position in another stream is none in this one.
        reads(&store, "both", "stream/s", "before", 9);
        assert_eq!(slowest(&streams).as_deref(), Some("both 0"));
        // Who is taken out of the file is waited for no more.
        streams.declare(declared(FILE.rsplit_once("PIPELINE").unwrap().0));
        assert_eq!(slowest(&streams).as_deref(), Some("one 7"));
        streams.declare(Declared::default());
        assert_eq!(slowest(&streams), None);
    }

    #[test]
    fn a_writer_is_coming_runs_and_is_over_as_its_checkpoint_says() {
        let (store, streams) = streams(FILE);
        let over = |ended: bool| {
            let mut changes = Changes::default();
            put(&mut changes, checkpoint::checkpoint_key("w"), &json!({"ended": ended, "log_id": "x"}));
            store.apply(changes).unwrap();
        };
        assert_eq!((streams.writer("w"), streams.id("w")), (Writer::Gone, None));
        streams.begins("w", true);
        assert_eq!(streams.writer("w"), Writer::Coming);
        streams.started("w");
        assert_eq!(streams.writer("w"), Writer::Running);
        over(true);
        assert_eq!(streams.writer("w"), Writer::Running);
        streams.over("w", false);
        assert_eq!((streams.writer("w"), streams.id("w").as_deref()), (Writer::Ended, Some("x")));
        // The end of an earlier run is not that of one that failed before it began.
        streams.begins("w", false);
        streams.over("w", true);
        assert_eq!(streams.writer("w"), Writer::Gone);
        streams.over("w", false);
        over(false);
        assert_eq!(streams.writer("w"), Writer::Gone);
    }
}
