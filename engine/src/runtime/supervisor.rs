//! Runs one pipeline until it ends, is stopped, or fails: its job on the calling thread, each outbox sink on a thread of its own.
//!
//! After a lost partition or a commit whose outcome nobody knows, everything in memory is dropped and the start sequence runs
//! again in the same process. Everything else that stops a job is for the caller to decide.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use syncline_record::StepId;

use super::{
    Ground, Turn,
    commit::close_run,
    delivery::{Delivery, DeliveryError},
    job::{Job, JobError, JobSpec},
    start::{StartError, StartOptions},
};
use crate::{
    checkpoint::{self, RunState},
    log::CommitError,
    sink::{OutboxSink, Stream},
    source::Progress,
};

/// Pauses of a task that has nothing to do: short after work, longer in quiet times.
const SHORTEST_NAP: Duration = Duration::from_millis(1);
const LONGEST_NAP: Duration = Duration::from_millis(20);

/// How long sinks may take to deliver what is committed once the pipeline is told to stop. What is left waits for the next start.
const DRAIN: Duration = Duration::from_secs(8);

/// Starts in one process after lost partitions or unknown commits, before the trouble is handed to the caller.
const RESTARTS: u32 = 5;

/// A process that has committed this many epochs since it last started again is well: what was before is not counted.
const WELL: u64 = 10;

/// A pipeline, ready to be started as often as it takes.
pub struct Pipeline {
    pub job: JobSpec,
    /// Outbox sinks by step.
    pub sinks: Vec<(StepId, Box<dyn OutboxSink>)>,
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
}

/// What a watcher sees, now and then, from the job's own thread.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub progress: Progress,
    pub rows: u64,
    pub epoch: u64,
    /// Sinks that are being tried again, and why.
    pub trouble: Vec<(StepId, String)>,
}

/// How a run came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The source was at its end and every sink has everything.
    Ended,
    /// It was told to stop.
    Stopped,
}

/// Runs until the end. `stop` may be set by anyone; `watch` is called at the start, about every 100 ms, and at the end.
pub fn run(
    ground: &Ground,
    build: &mut Build<'_>,
    options: &StartOptions,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn FnMut(&Look),
) -> Result<Ending, RunError> {
    let mut options = options.clone();
    let (mut restarts, mut epoch_before) = (0, 0);
    loop {
        let pipeline = build().map_err(RunError::Build)?;
        let name = pipeline.job.pipeline.clone();
        let result = attempt(ground, pipeline, &options, stop, watch);
        if !starts_again(&result) {
            return result;
        }
        let epoch = checkpoint::read_checkpoint(&*ground.store, &name).ok().flatten().map_or(0, |found| found.epoch);
        if epoch >= epoch_before + WELL {
            restarts = 0;
        }
        if restarts == RESTARTS {
            return result;
        }
        restarts += 1;
        (epoch_before, options.fresh) = (epoch, false);
        tracing::warn!(restarts, "starting again from the last checkpoint");
    }
}

fn starts_again(result: &Result<Ending, RunError>) -> bool {
    matches!(result, Err(RunError::Job(JobError::Lost { .. } | JobError::Commit(CommitError::Unknown { .. }))))
}

fn attempt(
    ground: &Ground,
    pipeline: Pipeline,
    options: &StartOptions,
    stop: &Arc<AtomicBool>,
    watch: &mut dyn FnMut(&Look),
) -> Result<Ending, RunError> {
    let name = pipeline.job.pipeline.clone();
    let mut job = Job::start(ground.clone(), pipeline.job, options)?;
    let run = job.run().run;
    let sinks = Sinks::start(ground, &job, pipeline.sinks);
    let worked = work(&mut job, &sinks, stop, ground, watch);
    let delivered = match &worked {
        // A bounded job is over only when every sink has everything; a stopped one gives sinks some time.
        Ok(Ending::Ended) => sinks.drain(None, stop, ground, &job, watch),
        Ok(Ending::Stopped) => sinks.drain(Some(DRAIN), &Arc::new(AtomicBool::new(false)), ground, &job, watch),
        Err(_) => Ok(true),
    };
    watch(&sinks.look(&job));
    let failed = sinks.stop();
    let result = match (worked, delivered, failed) {
        (Err(error), ..) => Err(error),
        (_, Err(error), _) | (_, _, Some(error)) => Err(RunError::Delivery(error)),
        (Ok(Ending::Ended), Ok(true), None) => Ok(Ending::Ended),
        (Ok(_), Ok(_), None) => Ok(Ending::Stopped),
    };
    if !starts_again(&result) {
        let (state, reason) = match &result {
            Ok(Ending::Ended) => (RunState::Ended, None),
            Ok(Ending::Stopped) => (RunState::Stopped, None),
            Err(error) => (RunState::Failed, Some(error.to_string())),
        };
        // The outcome is a note about the run; what failed first is what the caller needs to hear.
        if let Err(error) = close_run(ground, &name, run, state, reason, ground.clock.now()) {
            tracing::error!("the end of the run could not be written: {error}");
        }
    }
    result
}

/// The job's loop.
fn work(
    job: &mut Job,
    sinks: &Sinks,
    stop: &AtomicBool,
    ground: &Ground,
    watch: &mut dyn FnMut(&Look),
) -> Result<Ending, RunError> {
    let mut nap = SHORTEST_NAP;
    let mut looked = ground.clock.elapsed();
    watch(&sinks.look(job));
    loop {
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

/// The threads of the outbox sinks.
struct Sinks {
    stop: Arc<AtomicBool>,
    shared: Vec<Arc<Mutex<SinkState>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

#[derive(Default)]
struct SinkState {
    step: Option<StepId>,
    drained: bool,
    /// Turns since the job's last commit is known to be visible: `drained` is only believed when it is younger.
    turns: u64,
    trouble: Option<String>,
    failure: Option<DeliveryError>,
    failed: bool,
}

impl Sinks {
    fn start(ground: &Ground, job: &Job, sinks: Vec<(StepId, Box<dyn OutboxSink>)>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (mut shared, mut threads) = (vec![], vec![]);
        let outboxes = job.outboxes();
        for (step, sink) in sinks {
            let Some((_, topic)) = outboxes.iter().find(|(id, _)| *id == step) else { continue };
            let stream = Stream {
                pipeline: job.run().pipeline.clone(),
                step: step.clone(),
                part: 0,
                log_id: job.checkpoint().log_id.clone(),
                fence: job.checkpoint().fence,
            };
            let delivery = Delivery::new(ground.clone(), stream, topic.clone(), sink, job.checkpoint().over);
            let state = Arc::new(Mutex::new(SinkState { step: Some(step), ..SinkState::default() }));
            shared.push(state.clone());
            let stop = stop.clone();
            threads.push(thread::spawn(move || deliver(delivery, &state, &stop)));
        }
        Self { stop, shared, threads }
    }

    fn failure(&self) -> Option<DeliveryError> {
        let failed = self.shared.iter().find_map(|state| lock(state).failure.take());
        failed.or_else(|| self.fallen())
    }

    /// A thread that ended without a word would be waited for, for ever.
    fn fallen(&self) -> Option<DeliveryError> {
        let ended =
            self.shared.iter().zip(&self.threads).find(|(state, thread)| thread.is_finished() && !lock(state).failed);
        let step = ended.and_then(|(state, _)| lock(state).step.clone())?;
        Some(DeliveryError::Fallen { step })
    }

    fn look(&self, job: &Job) -> Look {
        let trouble = self.shared.iter().filter_map(|state| {
            let state = lock(state);
            Some((state.step.clone()?, state.trouble.clone()?))
        });
        let rows = job.run().pages.steps.get(&StepId::new(crate::graph::SOURCE)).map_or(0, |page| page.rows_in);
        Look { progress: job.progress(), rows, epoch: job.epoch(), trouble: trouble.collect() }
    }

    /// Waits until every sink has all that is committed. False: time or patience was over first.
    fn drain(
        &self,
        limit: Option<Duration>,
        stop: &AtomicBool,
        ground: &Ground,
        job: &Job,
        watch: &mut dyn FnMut(&Look),
    ) -> Result<bool, DeliveryError> {
        let began = ground.clock.elapsed();
        let seen: Vec<u64> = self.shared.iter().map(|state| lock(state).turns).collect();
        loop {
            if let Some(error) = self.failure() {
                return Err(error);
            }
            // Two turns after the commit, `drained` speaks of everything.
            let done = self.shared.iter().zip(&seen).all(|(state, seen)| {
                let state = lock(state);
                state.drained && state.turns >= seen + 2
            });
            if done {
                return Ok(true);
            }
            let late = limit.is_some_and(|limit| ground.clock.elapsed().saturating_sub(began) > limit);
            if late || stop.load(Ordering::Relaxed) {
                return Ok(false);
            }
            watch(&self.look(job));
            thread::sleep(LONGEST_NAP / 4);
        }
    }

    /// Ends the threads; returns what one of them failed with.
    fn stop(mut self) -> Option<DeliveryError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut failure = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a sink's thread ended by a panic");
            }
        }
        for state in &self.shared {
            failure = failure.or(lock(state).failure.take());
        }
        failure
    }
}

fn lock(state: &Mutex<SinkState>) -> std::sync::MutexGuard<'_, SinkState> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn deliver(mut delivery: Delivery, state: &Mutex<SinkState>, stop: &AtomicBool) {
    let mut nap = SHORTEST_NAP;
    while !stop.load(Ordering::Relaxed) {
        let turn = delivery.turn();
        let drained = delivery.drained().unwrap_or(false);
        let mut shared = lock(state);
        shared.turns += 1;
        shared.drained = drained;
        shared.trouble = delivery.trouble().map(|trouble| trouble.detail.clone());
        match turn {
            Ok(Turn::Worked) => nap = SHORTEST_NAP,
            Ok(_) => nap = (nap * 2).min(LONGEST_NAP),
            Err(error) => {
                shared.failed = true;
                shared.failure = Some(error);
                return;
            }
        }
        drop(shared);
        if nap > SHORTEST_NAP {
            thread::sleep(nap);
        }
    }
}
