//! A whole run: the job on one thread, each outbox sink on its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use syncline_record::{Micros, Partition, StepId};

use crate::{
    changelog::{
        ChangelogError,
        asking::{Asking, Call},
        memory::MemoryChangelogs,
    },
    checkpoint::{self, RunState},
    clock::Clock,
    log::memory::CommitFault,
    runtime::{
        Ground,
        delivery::DeliveryError,
        job::{Job, JobError},
        restart::{Restart, When},
        start::StartOptions,
        supervisor::{Ending, Look, Pause, Pipeline, RunError, Stop, Terms, run},
    },
    simulation::{
        Outcome, lock, oracle,
        pipeline::{NAME, OUTBOXES},
        world::World,
    },
    sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream},
    source::{Cursors, Polled, Source, SourceError},
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
    Pipeline { job: world.spec(), sinks, changelog: None }
}

fn terms(restart: Restart) -> Terms {
    Terms { restart, words: str::to_owned, ownership: None, follow: false, patient: false }
}

fn run_all(world: &World) -> Result<Ending, RunError> {
    let stop = Stop::default();
    run(
        &world.ground(),
        &mut || Ok(pipeline(world)),
        &StartOptions::default(),
        &terms(Restart::NEVER),
        &stop,
        &mut |_| {},
    )
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
    let stop = Stop::default();
    let mut build = || {
        let mut pipeline = pipeline(&world);
        pipeline.sinks[1].1 = Box::new(Clumsy);
        Ok(pipeline)
    };
    let result = run(&world.ground(), &mut build, &StartOptions::default(), &terms(Restart::NEVER), &stop, &mut |_| {});
    let Err(RunError::Delivery(DeliveryError::Fallen { step })) = result else { panic!("{result:?}") };
    assert_eq!(step, StepId::new("people"));
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    assert_eq!(
        (run.state, run.reason.as_deref()),
        (RunState::Failed, Some("people: the sink's task ended by a panic"))
    );
}

/// Time flies: a pause is over after a few looks at the clock.
struct Hasty {
    began: Micros,
    looks: AtomicU64,
}

impl Hasty {
    fn of(world: &World) -> Ground {
        let ground = world.ground();
        let clock = Hasty { began: ground.clock.now(), looks: AtomicU64::new(0) };
        Ground { clock: Arc::new(clock), ..ground }
    }
}

impl Clock for Hasty {
    fn now(&self) -> Micros {
        self.began + self.elapsed().as_micros() as Micros
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.looks.fetch_add(100, Ordering::Relaxed))
    }
}

/// Falls over its first poll, as a defect of the product would.
#[derive(Default)]
struct Falling {
    /// Once this is told.
    after: Option<Receiver<()>>,
}

impl Source for Falling {
    fn open(&mut self, _: &Cursors, _: Micros) -> Result<(), SourceError> {
        Ok(())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        if let Some(after) = &self.after {
            let _ = after.recv();
        }
        panic!("an index of 7 where there are 7")
    }

    fn bounded(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![]
    }
}

/// Runs a pipeline whose first `falls` lives are spoiled, on a clock that flies; what was seen of each pause.
fn run_spoiled(
    world: &World,
    falls: usize,
    restart: Restart,
    spoil: impl Fn(&mut Pipeline),
) -> (Result<Ending, RunError>, Vec<Pause>) {
    let ground = Hasty::of(world);
    let (mut lives, mut pauses) = (0, vec![]);
    let mut build = || {
        let mut pipeline = pipeline(world);
        lives += 1;
        if lives <= falls {
            spoil(&mut pipeline);
        }
        Ok(pipeline)
    };
    let mut watch = |look: &Look| pauses.extend(look.pause.clone());
    let stop = Stop::default();
    let result = run(&ground, &mut build, &StartOptions::default(), &terms(restart), &stop, &mut watch);
    (result, pauses)
}

const ON_FAILURE: Restart = Restart { when: When::OnFailure, delay: Duration::from_secs(2), most: Some(3) };

#[test]
fn a_panic_of_the_job_is_named_and_the_next_start_is_an_attempt_of_the_same_run() {
    let world = world();
    let (result, pauses) = run_spoiled(&world, 2, ON_FAILURE, |pipeline| {
        pipeline.job.graph.inputs[0].source = Box::new(Falling::default())
    });
    assert_eq!(result.unwrap(), Ending::Ended);
    oracle::judge(&world, 1, &mut Outcome::default()).unwrap();
    let reason = "its task ended by a panic: an index of 7 where there are 7";
    assert_eq!(pauses.iter().map(|pause| pause.reason.as_deref()).collect::<Vec<_>>(), [Some(reason); 2]);
    assert!(pauses[0].length >= Duration::from_secs(2) && pauses[1].length >= Duration::from_secs(4), "{pauses:?}");
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    // Nobody was killed: the process is still the same.
    assert_eq!((run.run, run.attempt, run.state, run.killed.len()), (1, 3, RunState::Ended, 0));
}

#[test]
fn a_pipeline_that_fails_too_often_is_given_up_and_its_run_says_why() {
    let world = world();
    let (result, pauses) =
        run_spoiled(&world, usize::MAX, ON_FAILURE, |pipeline| pipeline.sinks[1].1 = Box::new(Clumsy));
    assert!(matches!(result, Err(RunError::Delivery(DeliveryError::Fallen { .. }))), "{result:?}");
    assert_eq!(pauses.len(), 3);
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    assert_eq!((run.run, run.attempt, run.state), (1, 4, RunState::Failed));
    assert_eq!(run.reason.as_deref(), Some("people: the sink's task ended by a panic"));
}

#[test]
fn a_store_that_answers_nothing_more_is_not_waited_for() {
    let world = world();
    world.store.fail_after(0, crate::store::StoreError::Crashed);
    let (result, pauses) = run_spoiled(&world, 0, Restart { when: When::Always, ..ON_FAILURE }, |_| {});
    assert!(result.is_err() && pauses.is_empty(), "{result:?}");
}

#[test]
fn what_always_starts_again_is_another_run_and_a_stop_ends_the_pause() {
    let world = world();
    let stop = Stop::default();
    let always = Restart { when: When::Always, delay: Duration::from_secs(1), most: None };
    let mut ends = 0;
    let mut watch = |look: &Look| {
        if let Some(Pause { reason, .. }) = &look.pause {
            assert_eq!(*reason, None);
            ends += 1;
            stop.asked.store(ends == 2, Ordering::Relaxed); // the pause that begins now is cut short
        }
    };
    let ground = Hasty::of(&world);
    let mut build = || Ok(pipeline(&world));
    let result = run(&ground, &mut build, &StartOptions::default(), &terms(always), &stop, &mut watch);
    assert_eq!(result.unwrap(), Ending::Ended);
    oracle::judge(&world, 1, &mut Outcome::default()).unwrap();
    let run = checkpoint::last_run(&*world.store, NAME).unwrap().unwrap();
    assert_eq!((run.run, run.attempt, run.state), (2, 1, RunState::Ended));
}

/// A client whose call comes back when the test is over, and not before.
struct Hanging {
    /// It is in the call.
    called: Sender<()>,
    over: Receiver<()>,
}

impl Hanging {
    /// With what tells of its call, and what ends it.
    fn new() -> (Self, Receiver<()>, Sender<()>) {
        let ((called, seen), (hold, over)) = (channel(), channel());
        (Self { called, over }, seen, hold)
    }
}

impl OutboxSink for Hanging {
    fn open(&mut self, _: &Stream) -> Result<Option<Delivered>, SinkError> {
        let _ = self.called.send(());
        let _ = self.over.recv();
        Err(SinkError::Reconnect("too late".into()))
    }

    fn apply(&mut self, _: &[OutboxRows]) -> Result<Applied, SinkError> {
        Ok(Applied::default())
    }

    fn commit(&mut self, _: &Delivered) -> Result<(), SinkError> {
        Ok(())
    }

    fn clear(&mut self, _: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}

#[test]
fn a_sink_that_hangs_does_not_keep_a_process_that_ends() {
    let world = world();
    let (sink, called, _hold) = Hanging::new();
    let (mut sink, mut called) = (Some(sink), Some(called));
    let mut build = || {
        let mut pipeline = pipeline(&world);
        pipeline.sinks[1].1 = Box::new(sink.take().ok_or("a second start")?);
        Ok(pipeline)
    };
    let stop = Stop::default();
    let mut watch = |_: &Look| {
        called.take().into_iter().for_each(|called| called.recv().expect("the sink is called"));
        stop.process.store(true, Ordering::Relaxed);
        stop.asked.store(true, Ordering::Relaxed);
    };
    let always = Restart { when: When::Always, ..ON_FAILURE };
    let ground = Hasty::of(&world);
    let result = run(&ground, &mut build, &StartOptions::default(), &terms(always), &stop, &mut watch);
    assert_eq!(result.unwrap(), Ending::Left);
    assert_eq!(checkpoint::last_run(&*world.store, NAME).unwrap().unwrap().state, RunState::Stopped);
}

/// Two threads on one place would write what the other does not know of.
#[test]
fn what_hangs_is_not_started_again_beside_itself() {
    let world = world();
    let (sink, called, _hold) = Hanging::new();
    let spoil = std::cell::Cell::new(Some((sink, called)));
    let always = Restart { when: When::Always, ..ON_FAILURE };
    let (result, pauses) = run_spoiled(&world, 1, always, |pipeline| {
        let (sink, called) = spoil.take().expect("one start");
        pipeline.job.graph.inputs[0].source = Box::new(Falling { after: Some(called) });
        pipeline.sinks[1].1 = Box::new(sink);
    });
    let cause = "its task ended by a panic: an index of 7 where there are 7";
    let Err(RunError::Hangs { step, cause: found }) = result else { panic!("{result:?}") };
    assert_eq!((step.as_str(), &*found, pauses), ("people", cause, vec![]));
}

/// Gives nothing, because nobody answers it or because there is nothing.
struct Quiet {
    trouble: Option<String>,
}

impl Source for Quiet {
    fn open(&mut self, _: &Cursors, _: Micros) -> Result<(), SourceError> {
        Ok(())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        Ok(Polled::Idle)
    }

    fn bounded(&self) -> bool {
        false
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![]
    }
}

/// Else windows would close over the rows that come when somebody answers again.
#[test]
fn who_is_in_trouble_has_not_said_that_there_is_nothing() {
    let caught_up = |trouble: Option<&str>| {
        let world = world();
        let mut spec = world.spec();
        spec.graph.inputs[0].source = Box::new(Quiet { trouble: trouble.map(str::to_owned) });
        let mut job = Job::start(Hasty::of(&world), spec, &StartOptions::default()).unwrap();
        let before = job.caught_up();
        job.turn().unwrap();
        job.caught_up() > before
    };
    assert_eq!((caught_up(None), caught_up(Some("nobody answers"))), (true, false));
}

/// Of a changelog whose brokers are away for some looks.
fn answers(looks: &AtomicU64) -> Result<(), ChangelogError> {
    match looks.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)) {
        Ok(_) => Err(ChangelogError::Unreachable { name: "in memory".into(), detail: "nobody answers".into() }),
        Err(_) => Ok(()),
    }
}

/// Runs with a changelog that is away for so many looks; what the watcher was told of it.
fn run_away(looks: u64, patient: bool, stop_at: usize) -> (Result<Ending, RunError>, Vec<String>) {
    let (world, changelogs) = (world(), MemoryChangelogs::default());
    let (looks, stop) = (Arc::new(AtomicU64::new(looks)), Stop::default());
    let mut told = vec![];
    let mut build = || {
        let looks = looks.clone();
        let ask = move |call| if matches!(call, Call::Open) { answers(&looks) } else { Ok(()) };
        let changelog = Asking { changelog: changelogs.writer(), ask };
        Ok(Pipeline { changelog: Some(Box::new(changelog)), ..pipeline(&world) })
    };
    let mut watch = |look: &Look| {
        assert_eq!((look.restarts, &look.pause), (0, &None));
        told.extend(look.trouble.iter().map(|(step, why)| format!("{step}: {why}")));
        stop.asked.store(told.len() >= stop_at, Ordering::Relaxed);
    };
    let terms = Terms { patient, ..terms(Restart::NEVER) };
    let ground = Hasty::of(&world);
    let ended = run(&ground, &mut build, &StartOptions::default(), &terms, &stop, &mut watch);
    (ended, told)
}

#[test]
fn a_changelog_that_cannot_be_reached_is_waited_for_unless_nobody_wants_to() {
    let why = "changelog: the changelog in memory cannot be reached: nobody answers";
    let (ended, told) = run_away(3, true, usize::MAX);
    assert_eq!((ended.unwrap(), told), (Ending::Ended, vec![why.to_owned(); 3]));
    let (stopped, told) = run_away(9, true, 2);
    assert_eq!((stopped.unwrap(), told), (Ending::Stopped, vec![why.to_owned(); 2]));
    let (failed, told) = run_away(3, false, usize::MAX);
    assert!(matches!(failed, Err(RunError::Start(_))) && told.is_empty(), "{failed:?}");
}
