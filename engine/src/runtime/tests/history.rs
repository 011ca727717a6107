//! A history, before the first input or beside it: what is settled before its first row, and what is noted of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use syncline_record::{Micros, Partition, StepId};

use crate::{
    checkpoint::HistoryNote,
    graph::{Beside, input_step},
    log::Log,
    runtime::{
        Turn,
        job::{Backlog, Job, JobSpec},
        start::{StartError, StartOptions},
    },
    simulation::{lock, world::World},
    source::{Cursors, Polled, Source, SourceError, Waits},
};

/// The first input: it says where it begins once it can, has nothing, and knows how much is behind.
#[derive(Clone, Default)]
struct Live {
    begins: Arc<AtomicBool>,
    behind: Arc<AtomicU64>,
}

impl Source for Live {
    fn open(&mut self, _: &Cursors, _: Micros) -> Result<(), SourceError> {
        Ok(())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        Ok(Polled::Idle)
    }

    fn wait(&mut self, _: Micros) -> Result<Waits, SourceError> {
        Ok(if self.begins.load(Ordering::SeqCst) { Waits::Noted } else { Waits::NotYet })
    }

    fn bounded(&self) -> bool {
        false
    }

    fn behind(&self) -> Option<u64> {
        Some(self.behind.load(Ordering::SeqCst))
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![]
    }
}

/// Another source, which cannot be opened or read for some calls.
struct Shaky {
    source: Box<dyn Source>,
    fails: Arc<AtomicU64>,
}

impl Shaky {
    fn well(&self) -> Result<(), SourceError> {
        let fails = self.fails.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        let gone = || SourceError::Unreadable { what: "old/".into(), detail: "is not there".into() };
        fails.map_or(Ok(()), |_| Err(gone()))
    }
}

impl Source for Shaky {
    fn open(&mut self, cursors: &Cursors, now: Micros) -> Result<(), SourceError> {
        self.well()?;
        self.source.open(cursors, now)
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        self.well()?;
        self.source.poll(now)
    }

    fn bounded(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Partition> {
        self.source.partitions()
    }
}

/// The simulated pipeline behind another first input; its own source is the second.
fn started(live: &Live, change: impl FnOnce(&mut JobSpec)) -> (World, Job) {
    begun(live, change).unwrap()
}

fn begun(live: &Live, change: impl FnOnce(&mut JobSpec)) -> Result<(World, Job), StartError> {
    let world = World::new(7, 400, None);
    let mut input = lock(&world.input);
    (input.arrived, input.closed) = (input.records.len(), true);
    drop(input);
    let (mut spec, mut other) = (world.spec(), world.spec());
    let mut past = other.graph.inputs.remove(0);
    past.step = input_step(1);
    spec.graph.inputs[0].source = Box::new(live.clone());
    spec.graph.inputs.push(past);
    change(&mut spec);
    let job = Job::start(world.ground(), spec, &StartOptions::default())?;
    Ok((world, job))
}

fn read(job: &Job) -> u64 {
    job.run().pages.steps.get(&input_step(1)).map_or(0, |page| page.rows_in)
}

/// Where the first input begins is known before the first row.
fn read_once_it_begins(live: &Live, job: &mut Job) -> HistoryNote {
    for _ in 0..5 {
        assert_eq!((job.turn().unwrap(), read(job)), (Turn::Idle, 0));
    }
    live.begins.store(true, Ordering::SeqCst);
    while job.turn().unwrap() == Turn::Worked {}
    job.commit(false).unwrap();
    let note = job.checkpoint().history.clone().expect("a history");
    assert!(note.rows >= 400 && note.rows == read(job) && note.bytes > 0, "{note:?}");
    assert!(note.ended.is_some() && note.starts == 1, "{note:?}");
    note
}

#[test]
fn what_is_read_beside_the_first_input_begins_after_it_and_nothing_follows() {
    let live = Live { behind: Arc::new(AtomicU64::new(3)), ..Live::default() };
    let beside = Some(Beside { input: 1, number: 0, share: 25 });
    let (_world, mut job) = started(&live, |spec| spec.graph.beside = beside);
    let note = read_once_it_begins(&live, &mut job);
    assert!(!note.is_catching_up() && note.caught == note.ended, "{note:?}");
}

#[test]
fn behind_its_history_the_first_input_catches_up_until_it_has_nothing_more() {
    let live = Live { behind: Arc::new(AtomicU64::new(3)), ..Live::default() };
    let (_world, mut job) = started(&live, |spec| spec.graph.history = vec![1]);
    let note = read_once_it_begins(&live, &mut job);
    assert!(note.is_catching_up(), "{note:?}");
    let mut idle = || {
        assert_eq!(job.turn().unwrap(), Turn::Idle);
        job.commit(false).unwrap();
        job.checkpoint().history.clone().expect("a history")
    };
    assert_eq!(idle(), note, "what it has not read yet is behind it");
    live.behind.store(0, Ordering::SeqCst);
    let caught = idle();
    assert!(!caught.is_catching_up() && caught.rows == note.rows && caught.ended == note.ended, "{caught:?}");
}

/// Its source is away for so many calls; `number`: which backfill it is.
fn shaky(live: &Live, fails: &Arc<AtomicU64>, number: u64) -> Result<(World, Job), StartError> {
    begun(live, |spec| {
        let source = std::mem::replace(&mut spec.graph.inputs[1].source, Box::new(live.clone()));
        spec.graph.inputs[1].source = Box::new(Shaky { source, fails: fails.clone() });
        spec.graph.beside = Some(Beside { input: 1, number, share: 25 });
    })
}

#[test]
fn what_was_asked_for_and_cannot_be_read_is_tried_again_and_keeps_nobody_from_going_on() {
    let live = Live::default();
    live.begins.store(true, Ordering::SeqCst);
    let fails = Arc::new(AtomicU64::new(2));
    let (world, mut job) = shaky(&live, &fails, 1).unwrap();
    let pass = |job: &mut Job, seconds: u64| {
        world.clock.advance(Duration::from_secs(seconds));
        (job.turn().unwrap(), job.trouble().map(|(step, why)| format!("{step}: {why}")).collect::<Vec<_>>())
    };
    let away = || vec!["source_2: old/: is not there".to_owned()];
    assert_eq!(pass(&mut job, 0), (Turn::Idle, away()));
    // The second time it waits twice as long.
    assert_eq!((pass(&mut job, 1), pass(&mut job, 1)), ((Turn::Idle, away()), (Turn::Idle, away())));
    assert_eq!(pass(&mut job, 1), (Turn::Worked, vec![]));
    // Away again, with rows of it in the open epoch.
    fails.store(1, Ordering::SeqCst);
    assert!(read(&job) > 0);
    assert_eq!(pass(&mut job, 0), (Turn::Idle, away()));
    job.commit(false).unwrap();
    assert_eq!(pass(&mut job, 1), (Turn::Worked, vec![]));
    while job.turn().unwrap() == Turn::Worked {}
    job.commit(false).unwrap();
    let note = job.checkpoint().history.clone().expect("a history");
    let (_world, mut well) = shaky(&live, &Arc::default(), 1).unwrap();
    while well.turn().unwrap() == Turn::Worked {}
    assert!(note.ended.is_some() && note.rows == read(&well) && note.rows == read(&job), "{note:?}");
}

#[test]
fn what_the_text_names_and_what_nobody_goes_on_without_stops_the_pipeline() {
    let live = Live::default();
    live.begins.store(true, Ordering::SeqCst);
    assert!(shaky(&live, &Arc::new(AtomicU64::new(1)), 0).is_err(), "it stands in the text");
    let (_world, mut job) = shaky(&live, &Arc::new(AtomicU64::new(1)), 1).unwrap();
    job.over.insert(0);
    assert!(job.turn().is_err(), "nothing else is left");
}

/// Rows of the others would wait behind those that are read beside them, and a slow sink for all of them.
#[test]
fn what_is_read_beside_the_others_waits_for_sinks_long_before_the_others_do() {
    let live = Live::default();
    live.begins.store(true, Ordering::SeqCst);
    let rows_read = |backlog: Backlog| {
        let (world, mut job) = begun(&live, |spec| {
            spec.backlog = backlog;
            spec.graph.beside = Some(Beside { input: 1, number: 1, share: 25 });
        })
        .unwrap();
        for _ in 0..400 {
            job.turn().unwrap();
            world.clock.advance(Duration::from_millis(100));
        }
        let waits = |(_, topic): &(StepId, String)| world.log.end(topic).unwrap();
        (read(&job), job.outboxes().iter().map(waits).max().unwrap())
    };
    let (all, waiting) = rows_read(Backlog::default());
    let most = 20 * (waiting / 4);
    let (some, waiting) = rows_read(Backlog { rows: most, ..Backlog::default() });
    assert!(all >= 400 && some < all / 2 && waiting < most, "{some} of {all}, {waiting} waiting");
}
