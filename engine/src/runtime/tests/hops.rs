//! A stage behind a hop: what becomes of rows that another version of the pipeline wrote.

use std::{sync::Arc, time::Duration};

use arrow::{array::AsArray, datatypes::SchemaRef};
use serde_json::json;
use syncline_record::{Batch, Micros, Partition, StepId};

use crate::{
    clock::{SeededRng, VirtualClock},
    fingerprints::Fingerprints,
    graph::{Graph, Input, Node, Work, input_step},
    ledger::stream_topic,
    log::{Log, memory::MemoryLog},
    operator::{
        Output,
        harness::{NOW, origin, wanted},
    },
    operators::{
        Decode, Present,
        present::{Deletes, Presentation},
    },
    runtime::{
        Ground, Turn,
        job::{Backlog, Job, JobSpec},
        start::StartOptions,
    },
    source::{Cursors, Polled, Source, SourceError, Streamed},
    store::memory::MemoryStore,
    stream::{self, Content, Slowest},
    witness::NoWitness,
};

const NAME: &str = "p";

/// Rows as a version of the stage in front writes them: `n` is JSON or a BIGINT.
fn batch(fields: &[&str], from: u64) -> Batch {
    let records: Vec<String> = (from..from + 3).map(|id| format!(r#"{{"id":{id},"n":{id}}}"#)).collect();
    let mut out = Output::new(StepId::new("source"), false);
    Decode::new(wanted(fields)).push(origin("orders", from, &records), None, NOW, &mut out);
    out.emitted.remove(0)
}

/// The frames of a hop, read in order.
struct Frames {
    bodies: Vec<Vec<u8>>,
    next: usize,
}

impl Frames {
    fn partition(&self) -> Partition {
        Partition::new("p.dedup.repartition", 0)
    }
}

impl Source for Frames {
    fn open(&mut self, cursors: &Cursors, _now: Micros) -> Result<(), SourceError> {
        let cursor = cursors.get(&self.partition().to_string());
        self.next = cursor.and_then(|cursor| cursor.as_u64()).unwrap_or_default() as usize;
        Ok(())
    }

    fn poll(&mut self, _now: Micros) -> Result<Polled, SourceError> {
        let Some(body) = self.bodies.get(self.next) else { return Ok(Polled::Idle) };
        self.next += 1;
        let (_, Content::Rows(rows)) = stream::decode(body).expect("a frame") else { panic!("no rows") };
        let (stream, writer) = (self.partition(), Partition::new("from", 0));
        Ok(Polled::Streamed(Box::new(Streamed {
            stream,
            writer,
            rows: Some(*rows),
            mark: None,
            cursor: json!(self.next),
        })))
    }

    fn bounded(&self) -> bool {
        false
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::new("from", 0)]
    }
}

/// The stage behind, which writes what it takes into a stream.
fn spec(bodies: &[Vec<u8>], read: SchemaRef) -> JobSpec {
    let columns = vec!["id".to_owned()];
    let how =
        Presentation { columns, open: None, sequence: None, delete_when: None, deletes: Deletes::Absorb, keys: vec![] };
    let readers = Box::new(|_: &str| Ok(Some(Slowest { pipeline: "reader".into(), next: 0, runs: true })));
    let work = Work::Stream { present: Present::new(how).for_stream(), topic: stream_topic(NAME, "out"), readers };
    let input = Input {
        step: input_step(0),
        source: Box::new(Frames { bodies: bodies.to_vec(), next: 0 }),
        decode: Decode::whole(read),
        key: None,
        first: vec![0.into()],
    };
    JobSpec {
        pipeline: NAME.into(),
        plan: "plan".into(),
        checkpoint_every: Duration::from_millis(200),
        keep_passed: false,
        idle_after: crate::runtime::frontier::IDLE,
        backlog: Backlog::default(),
        fingerprints: Fingerprints::default(),
        graph: Graph {
            history: vec![],
            beside: None,
            inputs: vec![input],
            nodes: vec![Node { id: StepId::new("stream"), work, next: vec![], state: None }],
            tables: vec![],
            lookups: vec![],
        },
        witness: Box::new(NoWitness),
    }
}

/// Runs until nothing is left or something is wrong, in one epoch: the clock stands still.
fn run(ground: &Ground, bodies: &[Vec<u8>], read: &Batch) -> Result<(), String> {
    let mut job = Job::start(ground.clone(), spec(bodies, read.rows.schema()), &StartOptions::default()).unwrap();
    while job.turn().map_err(|error| error.to_string())? == Turn::Worked {}
    job.commit(false).map_err(|error| error.to_string())
}

/// The ids of all rows that are committed, in order.
fn written(log: &MemoryLog) -> Vec<String> {
    let frames = log.read(&stream_topic(NAME, "out"), 0, usize::MAX).unwrap();
    let ids = |body: &[u8]| match stream::decode(body).unwrap() {
        (_, Content::Rows(rows)) => {
            rows.columns.unwrap().column(0).as_string_view().iter().flatten().map(str::to_owned).collect()
        }
        _ => vec![],
    };
    frames.iter().flat_map(|frame| ids(&frame.body)).collect()
}

#[test]
fn each_version_of_a_file_takes_its_own_rows_and_stops_in_front_of_the_others() {
    let log = Arc::new(MemoryLog::new());
    let ground = Ground {
        store: Arc::new(MemoryStore::default()),
        log: log.clone(),
        clock: Arc::new(VirtualClock::at(0)),
        rng: Arc::new(SeededRng::from_seed(1)),
    };
    let (old, new) = (["id", "n"], ["id", "n:i64"]);
    let batches = [batch(&old, 0), batch(&old, 3), batch(&new, 6), batch(&new, 9)];
    let bodies: Vec<Vec<u8>> = batches.iter().map(|batch| stream::encode_whole(batch, "life").unwrap()).collect();
    let ids = |to: u32| (0..to).map(|id| id.to_string()).collect::<Vec<_>>();
    let (old, new) = (&batches[0], &batches[2]);
    let front = |had: &str, read: &str| Err(format!("p.dedup.repartition: n is {had}, and {read} is read now"));
    assert_eq!(run(&ground, &bodies, new), front("JSON", "BIGINT"));
    assert_eq!(written(&log), ids(0), "nothing is taken for what it is not");
    assert_eq!(run(&ground, &bodies, old), front("BIGINT", "JSON"));
    assert_eq!(written(&log), ids(6), "it has taken its own");
    assert_eq!(run(&ground, &bodies, old), front("BIGINT", "JSON"));
    assert_eq!(run(&ground, &bodies, new), Ok(()));
    assert_eq!(written(&log), ids(12));
}
