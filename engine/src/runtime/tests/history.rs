//! A history, before the first input or beside it: what is settled before its first row, and what is noted of it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use syncline_record::{Micros, Partition};

use crate::{
    checkpoint::HistoryNote,
    graph::{Beside, input_step},
    runtime::{
        Turn,
        job::{Job, JobSpec},
        start::StartOptions,
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

/// The simulated pipeline behind another first input; its own source is the second.
fn started(live: &Live, change: impl FnOnce(&mut JobSpec)) -> (World, Job) {
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
    let job = Job::start(world.ground(), spec, &StartOptions::default()).unwrap();
    (world, job)
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
