//! A step that writes a stream: what its readers find, and how it waits for them.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use syncline_record::{Fate, Micros, Partition, StepId};

use crate::{
    graph::{Input, Node, Work},
    ledger::stream_topic,
    log::{Log, LogError},
    operators::{
        Present,
        present::{Deletes, Presentation},
    },
    runtime::{
        Turn,
        job::{Backlog, Job, JobError, JobSpec},
        start::StartOptions,
    },
    simulation::{lock, pipeline::NAME, world::World},
    source::{Cursors, Polled, Progress, Source, SourceError},
    stream::{self, Content, Readers, Slowest},
};

const ALL: u64 = u64::MAX;

/// A source that comes to its end by itself.
struct Ends(Box<dyn Source>);

impl Source for Ends {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.0.open(cursors, now)
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        self.0.poll(now)
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        self.0.progress()
    }

    fn partitions(&self) -> Vec<Partition> {
        self.0.partitions()
    }
}

fn world() -> World {
    let world = World::new(7, 400, None);
    let mut input = lock(&world.input);
    (input.arrived, input.closed) = (input.records.len(), true);
    drop(input);
    world
}

/// The simulated pipeline with a stream of what passes its `DEDUP`, whose one reader is where `position` says.
fn spec(world: &World, position: &Arc<AtomicU64>) -> JobSpec {
    spec_of(world, position, true)
}

fn spec_of(world: &World, position: &Arc<AtomicU64>, runs: bool) -> JobSpec {
    let mut spec = world.spec();
    let columns = ["id", "v"].map(str::to_owned).to_vec();
    let how =
        Presentation { columns, open: None, sequence: None, delete_when: None, deletes: Deletes::Absorb, keys: vec![] };
    let at = position.clone();
    let readers: Box<Readers> =
        Box::new(move |_| Ok(Some(Slowest { pipeline: "reader".into(), next: at.load(Ordering::SeqCst), runs })));
    let work = Work::Stream { present: Present::new(how).for_stream(), topic: topic(), readers };
    spec.graph.nodes.push(Node { id: StepId::new("tee/stream"), work, next: vec![], state: None });
    let last = spec.graph.nodes.len() - 1;
    spec.graph.nodes[2].next.push(last.into());
    spec
}

fn topic() -> String {
    stream_topic(NAME, "passed")
}

fn start(world: &World, spec: JobSpec) -> Job {
    Job::start(world.ground(), spec, &StartOptions::default()).unwrap()
}

/// What a reader finds from an offset on: the id of each frame, its rows or its mark.
fn found(world: &World, from: u64) -> Vec<(String, Result<u64, i64>)> {
    let frames = world.log.read(&topic(), from, usize::MAX).unwrap();
    let content = |body: &[u8]| match stream::decode(body).unwrap() {
        (id, Content::Rows(rows)) => (id, Ok(rows.origin.rows() as u64)),
        (id, Content::Mark(mark) | Content::Quiet(mark)) => (id, Err(mark)),
    };
    frames.iter().map(|frame| content(&frame.body)).collect()
}

#[test]
fn a_stream_holds_what_passed_and_how_far_time_has_come() {
    let world = world();
    let mut job = start(&world, spec(&world, &Arc::new(AtomicU64::new(0))));
    while job.turn().unwrap() == Turn::Worked {
        assert!(job.waits().next().is_none());
        job.commit(false).unwrap();
    }
    let found = found(&world, 0);
    let passed = job.run().pages.steps[&StepId::new("dedup")].fate(Fate::Passed);
    assert_eq!(found.iter().filter_map(|(_, content)| content.as_ref().ok()).sum::<u64>(), passed);
    let page = job.run().pages.steps[&StepId::new("tee/stream")];
    assert_eq!((page.rows_in, page.fate(Fate::Passed), page.waiting), (passed, passed, 0));
    let marks: Vec<i64> = found.iter().filter_map(|(_, content)| content.err()).collect();
    assert!(marks.is_sorted() && !marks.is_empty(), "{marks:?}");
    assert_eq!(marks.last(), Some(&job.checkpoint().lowest));
    assert!(found.iter().all(|(id, _)| *id == job.checkpoint().log_id));
}

#[test]
fn nothing_of_an_epoch_that_is_not_committed_is_seen() {
    let world = world();
    let position = Arc::new(AtomicU64::new(0));
    let mut job = start(&world, spec(&world, &position));
    while job.run().pages.steps[&StepId::new("dedup")].rows_in == 0 {
        job.turn().unwrap();
    }
    let before = found(&world, 0);
    drop(job);
    world.store.crash(0);
    world.log.crash(0);
    let mut job = start(&world, spec(&world, &position));
    assert_eq!(found(&world, 0), before);
    while job.turn().unwrap() == Turn::Worked {}
    let passed = job.run().pages.steps[&StepId::new("dedup")].fate(Fate::Passed);
    assert_eq!(found(&world, 0).iter().filter_map(|(_, content)| content.as_ref().ok()).sum::<u64>(), passed);
}

#[test]
fn a_writer_waits_for_a_reader_that_is_too_far_behind() {
    let world = world();
    let position = Arc::new(AtomicU64::new(0));
    let mut spec = spec(&world, &position);
    spec.backlog = Backlog { rows: 20, bytes: u64::MAX };
    let mut job = start(&world, spec);
    let mut taken = 0;
    loop {
        let turn = job.turn().unwrap();
        if turn == Turn::Idle {
            break;
        }
        assert_eq!(turn, Turn::Worked, "it never waited");
        taken += 1;
        job.commit(false).unwrap();
    }
    assert!(taken > 0);
    let waits: Vec<String> = job.waits().map(|(step, why)| format!("{step}: {why}")).collect();
    let end = world.log.end(&topic()).unwrap();
    assert_eq!(waits, [format!("tee/stream: {end} rows wait for reader, which reads them")]);
    position.store(end, Ordering::SeqCst);
    assert_eq!(job.turn().unwrap(), Turn::Worked);
    assert_eq!(job.waits().count(), 0);
    position.store(ALL, Ordering::SeqCst);
    while job.turn().unwrap() == Turn::Worked {}
}

/// A reader that comes back cannot read what was let go meanwhile, so nobody waits for it to do so.
#[test]
fn rows_that_are_gone_are_not_waited_for() {
    let world = world();
    let position = Arc::new(AtomicU64::new(ALL));
    let mut spec = spec(&world, &position);
    spec.backlog = Backlog { rows: 20, bytes: u64::MAX };
    let mut job = start(&world, spec);
    for _ in 0..1_000 {
        job.turn().unwrap();
        job.commit(false).unwrap();
    }
    assert!(
        world.log.end(&topic()).unwrap() > 20 && matches!(world.log.read(&topic(), 0, 1), Err(LogError::Gone { .. }))
    );
    position.store(0, Ordering::SeqCst);
    job.turn().unwrap();
    assert_eq!(job.waits().count(), 0);
}

#[test]
fn a_run_that_would_end_does_not_wait_for_a_reader_that_does_not_run() {
    let world = world();
    let mut spec = spec_of(&world, &Arc::new(AtomicU64::new(0)), false);
    spec.backlog = Backlog { rows: 20, bytes: u64::MAX };
    let Input { step, source, decode, key, first } = spec.graph.inputs.remove(0);
    spec.graph.inputs.push(Input { step, source: Box::new(Ends(source)), decode, key, first });
    let mut job = start(&world, spec);
    let error = loop {
        match job.turn() {
            Ok(turn) => assert_eq!(turn, Turn::Worked, "it waits"),
            Err(error) => break error,
        }
        job.commit(false).unwrap();
    };
    let end = world.log.end(&topic()).unwrap();
    let expected = format!("tee/stream: {end} rows wait for reader, which reads them and does not run");
    assert!(matches!(error, JobError::Unread { .. }), "{error:?}");
    assert_eq!(error.to_string(), expected);
}
