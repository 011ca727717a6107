//! Runs one pipeline until it ends, is stopped, or fails for good: its job on the calling thread, each outbox sink on a thread of
//! its own.
//!
//! After a lost partition or a commit whose outcome nobody knows, everything in memory is dropped and the start sequence runs
//! again at once. After any other failure the pipeline's own words decide (`restart`): the run stays open while it waits, and the
//! next start is an attempt of the same run. A panic is a failure like others: it ends this pipeline's task and no other's.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use syncline_record::StepId;

use super::{
    Ground, Turn,
    commit::close_run,
    delivery::DeliveryError,
    job::{Job, JobError, JobSpec},
    restart::{Restart, Restarts, parted, starts_again, unanswered},
    sinks::{LET_GO, Sinks},
    start::{self, StartError, StartOptions},
};
use crate::{
    changelog::Changelog,
    checkpoint::{self, RunState},
    metrics,
    ownership::Ownership,
    replica::{self, Follower, Replica, Scope, Witnessed},
    sink::OutboxSink,
    source::Progress,
    witness::{Asked, Told, Upkeep},
};

/// Pauses of a task that has nothing to do: short after work, longer in quiet times.
pub(super) const SHORTEST_NAP: Duration = Duration::from_millis(1);
pub(super) const LONGEST_NAP: Duration = Duration::from_millis(20);

/// How long sinks may take to deliver what is committed once the pipeline is told to stop. What is left waits for the next start.
const DRAIN: Duration = Duration::from_secs(6);

/// And how long for the call that they are in then, so that a stop is over within ten seconds, whoever does not answer.
const LAST_CALL: Duration = Duration::from_secs(1);

/// Between two looks at a changelog that cannot be reached; each look has its own patience.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Starts at once after lost partitions or unknown commits, before such trouble is a failure like others.
const AT_ONCE: u32 = 5;

/// How often one that stands by looks around.
const STANDBY: Duration = Duration::from_millis(500);

/// A job that has committed this many epochs since it last started again is well: what was before is not counted.
const WELL: u64 = 10;

/// A pipeline, ready to be started as often as it takes.
pub struct Pipeline {
    pub job: JobSpec,
    /// Outbox sinks by step.
    pub sinks: Vec<(StepId, Box<dyn OutboxSink>)>,
    /// Where all that it keeps is written down; the folder has a copy then.
    pub changelog: Option<Box<dyn Changelog>>,
}

/// Makes the pipeline anew for each start.
pub type Build<'a> = dyn FnMut() -> Result<Pipeline, String> + 'a;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Build(String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Delivery(#[from] DeliveryError),
    /// A defect in the program: the log of this process has its place.
    #[error("its task ended by a panic: {detail}")]
    Panicked { detail: String },
    #[error("{step}: there is no thread for it: {detail}")]
    NoThread { step: StepId, detail: String },
    /// Nothing ends a thread but its process, and two of them must not write to one place.
    #[error(
        "{step}: a call of its sink does not come back, so it cannot start again in this process; what ended it: {cause}"
    )]
    Hangs { step: StepId, cause: String },
}

/// What a watcher sees, now and then, from the job's own thread.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub progress: Progress,
    pub rows: u64,
    pub epoch: u64,
    /// Records that the sources have not read yet, where they know how many there are.
    pub records_left: Option<u64>,
    /// Sources and sinks that are being tried again, and why.
    pub trouble: Vec<(StepId, String)>,
    /// Steps whose rows wait for a pipeline that reads them, and for which.
    pub waits: Vec<(StepId, String)>,
    /// How long ago the source last had nothing more to give.
    pub source_behind: Duration,
    /// How long ago each outbox sink last had everything; zero when it has everything now.
    pub sinks_behind: Vec<(StepId, Duration)>,
    /// Restarts of this process so far.
    pub restarts: u64,
    /// No task runs: the next start is waited for.
    pub pause: Option<Pause>,
    /// Another process works on it; this one would take over.
    pub standby: bool,
}

/// The time between two lives of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Why the last one ended; `None`: its input was at its end.
    pub reason: Option<String>,
    pub length: Duration,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source was at its end and every sink has everything.
    Ended,
    /// It was told to stop.
    Stopped,
    /// It was told to stop, and a call of a sink did not come back in time: nothing is lost, and only another process can go on.
    Left,
}

/// What is said of a failure, without what nobody may read. The store and the watcher get this, and nothing else.
pub type Words = fn(&str) -> String;

/// How a pipeline is kept running, and by whom.
pub struct Terms {
    pub restart: Restart,
    pub words: Words,
    /// Where other processes could run it too.
    pub ownership: Option<Arc<dyn Ownership>>,
    /// While another one does, the copy here follows it.
    pub follow: bool,
    /// A changelog that cannot be reached is waited for, for as long as it takes.
    pub patient: bool,
}

/// What a run is told from outside, by anyone and at any time.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    /// Commit what is open, let sinks have it, and end.
    pub asked: Arc<AtomicBool>,
    /// The whole process ends: a sink that does not answer is left behind.
    pub process: Arc<AtomicBool>,
}

impl Stop {
    /// How long the calls that sinks are in are waited for.
    fn patience(&self) -> Duration {
        if self.process.load(Ordering::Relaxed) { LAST_CALL } else { LET_GO }
    }
}

/// Runs until the end; `watch` is called at the start, about every 100 ms, at each pause and at the end.
pub fn run(
    ground: &Ground,
    build: &mut Build<'_>,
    options: &StartOptions,
    terms: &Terms,
    stop: &Stop,
    watch: &mut dyn FnMut(&Look),
) -> Result<Ending, RunError> {
    let words = terms.words;
    let mut restarts = Restarts::new(terms.restart);
    let mut task = Task {
        ground,
        stands: ground.clone(),
        options: options.clone(),
        again: false,
        name: String::new(),
        open: None,
        terms,
        hangs: Arc::default(),
        waits: None,
        fell: None,
    };
    loop {
        let began = ground.clock.elapsed();
        let total = restarts.total;
        let result = task.live(build, stop, &mut |look| watch(&Look { restarts: total, ..look.clone() }));
        let lived = ground.clock.elapsed().saturating_sub(began);
        // A store that answers nothing more is this process's, and no start in it can work.
        let last = result.is_err() && (stop.asked.load(Ordering::Relaxed) || ground.store.get(b"").is_err());
        let pause = if last { None } else { restarts.after(&result, lived, ground.rng.next()) };
        let reason = result.as_ref().err().map(|error| words(&error.to_string()));
        if pause.is_none() || reason.is_none() {
            task.close(&result);
        }
        let Some(length) = pause else { return result };
        match &reason {
            Some(reason) => tracing::warn!(
                pipeline = task.name,
                restarts = restarts.total,
                pause_ms = length.as_millis() as u64,
                "{reason}; starting again in {}",
                shown(length)
            ),
            None => tracing::info!(pipeline = task.name, "at its end; looking again in {}", shown(length)),
        }
        metrics::restarted(&task.name);
        watch(&Look { restarts: restarts.total, pause: Some(Pause { reason, length }), ..Look::default() });
        if !waited(ground, length, &stop.asked) {
            task.close(&result);
            return result;
        }
    }
}

/// Waits for a pause to be over; false when it was told to stop first.
fn waited(ground: &Ground, length: Duration, stop: &AtomicBool) -> bool {
    let until = ground.clock.elapsed() + length;
    while ground.clock.elapsed() < until {
        if stop.load(Ordering::Relaxed) {
            return false;
        }
        thread::sleep(LONGEST_NAP);
    }
    true
}

fn shown(length: Duration) -> String {
    format!("{:.1} s", length.as_secs_f64())
}

/// What is kept from one life of the pipeline's task to the next.
struct Task<'a> {
    ground: &'a Ground,
    /// What the job stands on: the same, or a copy in it that follows a changelog.
    stands: Ground,
    options: StartOptions,
    /// This process has started it before.
    again: bool,
    name: String,
    /// The run that this process began and has not closed.
    open: Option<u64>,
    terms: &'a Terms,
    /// The step of a sink whose thread was left behind.
    hangs: Arc<OnceLock<StepId>>,
    /// Why the changelog is waited for.
    waits: Option<String>,
    /// Where the process before this one fell, as its changelog's witness says; asked once, before this one's writes over it.
    fell: Option<Option<Upkeep>>,
}

impl Task<'_> {
    /// From a start to an end. What asks for a new start at once gets it.
    fn live(&mut self, build: &mut Build<'_>, stop: &Stop, watch: &mut dyn FnMut(&Look)) -> Result<Ending, RunError> {
        let (mut tries, mut epoch_before) = (0, 0);
        loop {
            if !self.is_ours(build, &stop.asked, watch)? {
                return Ok(Ending::Stopped);
            }
            let attempt = || self.attempt(build, stop, watch);
            let result = catch_unwind(AssertUnwindSafe(attempt))
                .unwrap_or_else(|panic| Err(RunError::Panicked { detail: said(&*panic) }));
            let result = match (result, self.hangs.get().cloned()) {
                (result, None) => result,
                (Ok(_), Some(_)) => Ok(Ending::Left),
                (Err(error), Some(step)) => Err(RunError::Hangs { step, cause: error.to_string() }),
            };
            if let Some(ownership) = &self.terms.ownership {
                ownership.let_go();
                if parted(&result) && !stop.asked.load(Ordering::Relaxed) {
                    tracing::info!(pipeline = self.name, "another process works on it now");
                    self.open = None;
                    continue;
                }
            }
            if stop.asked.load(Ordering::Relaxed)
                && let Some(why) = unanswered(&result)
            {
                // The next start reads again what no checkpoint holds.
                tracing::warn!(pipeline = self.name, "stopped without a last checkpoint: {why}");
                self.open = None;
                return Ok(Ending::Stopped);
            }
            if let Some(why) = unanswered(&result).filter(|_| self.terms.patient) {
                self.wait_for_changelog(why.to_string(), &stop.asked, watch);
                continue;
            }
            self.waits = None;
            if !starts_again(&result) {
                return result;
            }
            let found = checkpoint::read_checkpoint(&*self.ground.store, &self.name);
            let epoch = found.ok().flatten().map_or(0, |found| found.epoch);
            if epoch >= epoch_before + WELL {
                tries = 0;
            }
            if tries == AT_ONCE {
                return result;
            }
            tries += 1;
            epoch_before = epoch;
            tracing::warn!(pipeline = self.name, tries, epoch, "starting again at once from the last checkpoint");
            metrics::restarted(&self.name);
        }
    }

    /// Whoever watches is told why nothing comes; the log is told once.
    fn wait_for_changelog(&mut self, why: String, stop: &AtomicBool, watch: &mut dyn FnMut(&Look)) {
        let trouble = vec![(StepId::new("changelog"), (self.terms.words)(&why))];
        if self.waits.as_ref() != Some(&why) {
            tracing::warn!(pipeline = self.name, "{}; it is waited for", trouble[0].1);
            metrics::restarted(&self.name);
        }
        self.waits = Some(why);
        watch(&Look { trouble, ..Look::default() });
        waited(self.ground, LOOK_AGAIN, stop);
    }

    /// Waits until the task is this process's; false when it was told to stop first.
    fn is_ours(
        &mut self,
        build: &mut Build<'_>,
        stop: &AtomicBool,
        watch: &mut dyn FnMut(&Look),
    ) -> Result<bool, RunError> {
        let Some(ownership) = &self.terms.ownership else { return Ok(true) };
        let mut copy = None;
        while !ownership.wait(STANDBY) {
            if stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let mut trouble: Vec<_> =
                ownership.trouble().map(|why| (StepId::new("changelog"), why)).into_iter().collect();
            if self.terms.follow {
                if copy.is_none() {
                    let Pipeline { job, changelog, .. } = build().map_err(RunError::Build)?;
                    copy = changelog.map(|changelog| Follower::new(Scope::of(&job.pipeline), changelog));
                }
                if let Some(copy) = &mut copy {
                    let followed = copy.follow(self.ground);
                    trouble.extend(followed.err().map(|error| (StepId::new("changelog"), error.to_string())));
                }
            }
            if ownership.settled() || !trouble.is_empty() {
                watch(&Look { standby: true, trouble, ..Look::default() });
            }
        }
        Ok(true)
    }

    fn attempt(
        &mut self,
        build: &mut Build<'_>,
        stop: &Stop,
        watch: &mut dyn FnMut(&Look),
    ) -> Result<Ending, RunError> {
        let mut pipeline = build().map_err(RunError::Build)?;
        self.name = pipeline.job.pipeline.clone();
        let witness = pipeline.job.witness.of_changelog();
        let fell = *self.fell.get_or_insert_with(|| pipeline.job.witness.last_of_changelog());
        pipeline.job.witness = match self.again {
            true => Box::new(Told(pipeline.job.witness)),
            false => Box::new(Asked { witness: pipeline.job.witness, last_of_changelog: fell }),
        };
        // Before anything that is kept is thrown away.
        if self.options.fresh {
            let repeats = start::repeats(&self.name, &mut pipeline.sinks)?;
            if !repeats.is_empty() && !self.options.insert_again {
                return Err(StartError::RowsWouldRepeat { pipeline: self.name.clone(), repeats }.into());
            }
        }
        let ownership = self.terms.ownership.clone();
        let changelog = pipeline.changelog.take().map(|changelog| -> Box<dyn Changelog> {
            // So that a crash test can show where it fell.
            Box::new(Witnessed::new(changelog, witness))
        });
        self.stands = stand(self.ground, &self.name, changelog, ownership, self.options.fresh)?;
        let ground = &self.stands.clone();
        let mut job = Job::start(ground.clone(), pipeline.job, &self.options)?;
        // What the command line allowed is done with the first start; a later one is another matter.
        self.options = StartOptions::default();
        (self.again, self.open) = (true, Some(job.run().run));
        let (run, attempt, epoch) = (job.run().run, job.run().attempt, job.epoch());
        self.waits = None;
        tracing::info!(pipeline = self.name, run, attempt, epoch, "started");
        metrics::began(&self.name, pipeline.sinks.iter().map(|(step, _)| step));
        let sinks = Sinks::start(ground, &job, pipeline.sinks, self.hangs.clone())?;
        // When the last turn of the job was over: what it commits then takes its time from the sinks'.
        let turned = Cell::new(ground.clock.elapsed());
        let worked = work(&mut job, &sinks, &stop.asked, &turned, ground, watch);
        let delivered = match &worked {
            // A bounded job is over only when every sink has everything; a stopped one gives sinks some time.
            Ok(Ending::Ended) => sinks.drain(None, &stop.asked, ground, &job, watch),
            Ok(Ending::Stopped | Ending::Left) => {
                let left = DRAIN.saturating_sub(ground.clock.elapsed().saturating_sub(turned.get()));
                sinks.drain(Some(left), &AtomicBool::new(false), ground, &job, watch)
            }
            Err(_) => Ok(true),
        };
        watch(&sinks.look(&job));
        let failed = sinks.stop(&|| stop.patience());
        match (worked, delivered, failed) {
            (Err(error), ..) => Err(error),
            (_, Err(error), _) | (_, _, Some(error)) => Err(RunError::Delivery(error)),
            (Ok(Ending::Ended), Ok(true), None) => Ok(Ending::Ended),
            (Ok(_), Ok(_), None) => Ok(Ending::Stopped),
        }
    }

    /// Writes how the run ended, once.
    fn close(&mut self, result: &Result<Ending, RunError>) {
        let Some(run) = self.open.take() else { return };
        let (state, reason) = match result {
            Ok(Ending::Ended) => (RunState::Ended, None),
            Ok(Ending::Stopped | Ending::Left) => (RunState::Stopped, None),
            Err(error) => (RunState::Failed, Some((self.terms.words)(&error.to_string()))),
        };
        // The outcome is a note about the run; what failed first is what the caller needs to hear.
        if let Err(error) = close_run(&self.stands, &self.name, run, state, reason, self.ground.clock.now()) {
            tracing::error!(pipeline = self.name, run, "the end of the run could not be written: {error}");
        }
    }
}

/// The ground of a job: with a changelog, a copy of it that is brought up first.
fn stand(
    ground: &Ground,
    pipeline: &str,
    changelog: Option<Box<dyn Changelog>>,
    ownership: Option<Arc<dyn Ownership>>,
    anew: bool,
) -> Result<Ground, StartError> {
    let scope = Scope::of(pipeline);
    let Some(changelog) = changelog else {
        replica::leave(ground, &scope, anew)?;
        return Ok(ground.clone());
    };
    let replica = Replica::open(ground, scope, changelog, ownership, anew)?;
    Ok(Ground { store: replica.clone(), log: replica, ..ground.clone() })
}

/// What a panic said.
fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// The job's loop.
fn work(
    job: &mut Job,
    sinks: &Sinks,
    stop: &AtomicBool,
    turned: &Cell<Duration>,
    ground: &Ground,
    watch: &mut dyn FnMut(&Look),
) -> Result<Ending, RunError> {
    let mut nap = SHORTEST_NAP;
    let mut looked = ground.clock.elapsed();
    watch(&sinks.look(job));
    loop {
        turned.set(ground.clock.elapsed());
        if stop.load(Ordering::Relaxed) {
            job.finish(false)?;
            return Ok(Ending::Stopped);
        }
        if let Some(error) = sinks.failure() {
            // What is committed stays; the open epoch is dropped and read again at the next start.
            return Err(RunError::Delivery(error));
        }
        match job.turn()? {
            Turn::Worked => nap = SHORTEST_NAP,
            Turn::Ended => return Ok(Ending::Ended),
            Turn::Idle => {
                thread::sleep(nap);
                nap = (nap * 2).min(LONGEST_NAP);
            }
        }
        if ground.clock.elapsed().saturating_sub(looked) > Duration::from_millis(100) {
            looked = ground.clock.elapsed();
            watch(&sinks.look(job));
        }
    }
}
