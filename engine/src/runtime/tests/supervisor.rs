//! A whole run: the job on one thread, each outbox sink on its own.

use std::sync::{Arc, atomic::AtomicBool};

use syncline_record::StepId;

use crate::{
    checkpoint::{self, RunState},
    log::memory::CommitFault,
    runtime::{
        delivery::DeliveryError,
        job::JobError,
        start::StartOptions,
        supervisor::{Ending, Pipeline, RunError, run},
    },
    simulation::{
        Outcome, lock, oracle,
        pipeline::{NAME, OUTBOXES},
        world::World,
    },
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream},
};

fn world() -> World {
    let world = World::new(3, 120, None);
    let mut input = lock(&world.input);
    (input.arrived, input.closed) = (input.records.len(), true);
    drop(input);
    world
}

fn pipeline(world: &World) -> Pipeline {
    let sinks = OUTBOXES.iter().map(|step| (StepId::new(step), world.sink(step))).collect();
    Pipeline { job: world.spec(), sinks }
}

fn run_all(world: &World) -> Result<Ending, RunError> {
    let stop = Arc::new(AtomicBool::new(false));
    run(&world.ground(), &mut || Ok(pipeline(world)), &StartOptions::default(), &stop, &mut |_| {})
}

#[test]
fn a_bounded_run_ends_when_every_sink_has_everything() {
    let world = world();
    assert_eq!(run_all(&world).unwrap(), Ending::Ended);
    oracle::judge(&world, 1, &mut Outcome::default()).unwrap();
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    assert_eq!((run.run, run.state, run.reason), (1, RunState::Ended, None));
}

#[test]
fn a_commit_of_unknown_outcome_starts_again_in_the_same_run() {
    let world = world();
    for fault in [CommitFault::UnknownDone, CommitFault::UnknownLost, CommitFault::UnknownDone] {
        world.log.answer_commit(fault);
    }
    assert_eq!(run_all(&world).unwrap(), Ending::Ended);
    oracle::judge(&world, 1, &mut Outcome::default()).unwrap();
    assert_eq!(checkpoint::last_run(&*world.store, NAME).unwrap().unwrap().attempt, 4);
}

#[test]
fn trouble_without_progress_is_handed_to_the_caller() {
    let world = world();
    (0..20).for_each(|_| world.log.answer_commit(CommitFault::UnknownLost));
    assert!(matches!(run_all(&world), Err(RunError::Job(JobError::Commit(_)))));
}

/// Falls over its first rows.
struct Clumsy;

impl OutboxSink for Clumsy {
    fn open(&mut self, _: &Stream) -> Result<Option<Delivered>, SinkError> {
        Ok(None)
    }

    fn apply(&mut self, _: &[OutboxRows]) -> Result<Applied, SinkError> {
        panic!("a defect of a connector")
    }

    fn commit(&mut self, _: &Delivered) -> Result<(), SinkError> {
        Ok(())
    }

    fn clear(&mut self, _: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Its thread was gone without a word, and the run waited for it for ever.
#[test]
fn a_sink_that_falls_over_ends_the_run_and_is_named() {
    let world = world();
    let stop = Arc::new(AtomicBool::new(false));
    let mut build = || {
        let mut pipeline = pipeline(&world);
        pipeline.sinks[1].1 = Box::new(Clumsy);
        Ok(pipeline)
    };
    let result = run(&world.ground(), &mut build, &StartOptions::default(), &stop, &mut |_| {});
    let Err(RunError::Delivery(DeliveryError::Fallen { step })) = result else { panic!("{result:?}") };
    assert_eq!(step, StepId::new("people"));
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    assert_eq!(
        (run.state, run.reason.as_deref()),
        (RunState::Failed, Some("people: the sink's task ended by a panic"))
    );
}
