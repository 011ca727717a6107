//! The outbox sinks of a running job, each on a thread of its own.
//!
//! A thread does not outlive its job: also when the job falls over, the sinks are told to stop and waited for, since the next start
//! opens the same sinks again. One that hangs in a call of its client for longer than anybody waits cannot be ended: then the job says
//! so, and nobody starts its sinks again in this process.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use syncline_record::StepId;

use super::{
    Ground, Turn,
    delivery::{Delivery, DeliveryError},
    job::Job,
    supervisor::{LONGEST_NAP, Look, RunError, SHORTEST_NAP},
};
use crate::{
    clock::Clock,
    sink::{OutboxSink, Stream},
};

/// A thread that is told to stop does so after the call that it is in. Longer than any call that comes back: a transaction that waits
/// for somebody's lock, brokers that are asked a dozen questions and answer none.
pub(super) const LET_GO: Duration = Duration::from_secs(120);

/// The threads of the outbox sinks.
pub(super) struct Sinks {
    stop: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    shared: Vec<Arc<Mutex<SinkState>>>,
    threads: Vec<thread::JoinHandle<()>>,
    /// The step of a thread that did not end in time and is left to itself; outlives these sinks.
    hangs: Arc<OnceLock<StepId>>,
}

#[derive(Default)]
struct SinkState {
    step: Option<StepId>,
    drained: bool,
    /// When it last had everything.
    drained_at: Duration,
    /// Turns since the job's last commit is known to be visible: `drained` is only believed when it is younger.
    turns: u64,
    trouble: Option<String>,
    failure: Option<DeliveryError>,
    failed: bool,
}

impl Sinks {
    pub fn start(
        ground: &Ground,
        job: &Job,
        sinks: Vec<(StepId, Box<dyn OutboxSink>)>,
        hangs: Arc<OnceLock<StepId>>,
    ) -> Result<Self, RunError> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut all = Self { stop, clock: ground.clock.clone(), shared: vec![], threads: vec![], hangs };
        let outboxes = job.outboxes();
        for (index, (step, sink)) in sinks.into_iter().enumerate() {
            let Some((_, topic)) = outboxes.iter().find(|(id, _)| *id == step) else { continue };
            let stream = Stream {
                pipeline: job.run().pipeline.clone(),
                step: step.clone(),
                part: 0,
                log_id: job.checkpoint().log_id.clone(),
                fence: job.checkpoint().fence,
            };
            let since = job.checkpoint().since.get(&step).copied().unwrap_or_default();
            let delivery = Delivery::new(ground.clone(), stream, topic.clone(), sink, job.checkpoint().over)
                .since(since)
                .witnessed(job.witness().of_sink(index));
            let name = format!("{}/{step}", job.run().pipeline);
            let drained_at = ground.clock.elapsed();
            let state = SinkState { step: Some(step.clone()), drained_at, ..SinkState::default() };
            let state = Arc::new(Mutex::new(state));
            all.shared.push(state.clone());
            let (stop, clock) = (all.stop.clone(), ground.clock.clone());
            let thread = thread::Builder::new().name(name).spawn(move || deliver(delivery, &state, &*clock, &stop));
            all.threads.push(thread.map_err(|error| RunError::NoThread { step, detail: error.to_string() })?);
        }
        Ok(all)
    }

    pub fn failure(&self) -> Option<DeliveryError> {
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

    pub fn look(&self, job: &Job) -> Look {
        let now = self.clock.elapsed();
        let trouble = self.shared.iter().filter_map(|state| {
            let state = lock(state);
            Some((state.step.clone()?, state.trouble.clone()?))
        });
        let rows = job.run().pages.steps.get(&StepId::new(crate::graph::SOURCE)).map_or(0, |page| page.rows_in);
        let behind = self.shared.iter().filter_map(|state| {
            let state = lock(state);
            let behind = if state.drained { Duration::ZERO } else { now.saturating_sub(state.drained_at) };
            Some((state.step.clone()?, behind))
        });
        Look {
            progress: job.progress(),
            rows,
            epoch: job.epoch(),
            records_left: job.records_left(),
            trouble: job.trouble().chain(trouble).collect(),
            waits: job.waits().map(|(step, why)| (step.clone(), why.clone())).collect(),
            source_behind: now.saturating_sub(job.caught_up()),
            sinks_behind: behind.collect(),
            ..Look::default()
        }
    }

    /// Waits until every sink has all that is committed. False: time or patience was over first.
    pub fn drain(
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

    /// Ends the threads; returns what one of them failed with. `patience` is asked again and again: a process may be told to end meanwhile.
    pub fn stop(mut self, patience: &dyn Fn() -> Duration) -> Option<DeliveryError> {
        // A thread that fell over has said so by itself, and `failure` knows its step.
        let fallen = self.fallen();
        self.join(patience);
        let failed = self.shared.iter().find_map(|state| lock(state).failure.take());
        failed.or(fallen)
    }

    fn join(&mut self, patience: &dyn Fn() -> Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let began = self.clock.elapsed();
        for (thread, state) in self.threads.drain(..).zip(&self.shared) {
            while !thread.is_finished() && self.clock.elapsed().saturating_sub(began) < patience() {
                thread::sleep(SHORTEST_NAP);
            }
            if thread.is_finished() {
                // A panic has been told by the process's hook, with its place.
                let _ = thread.join();
            } else if let Some(step) = lock(state).step.clone() {
                let _ = self.hangs.set(step);
            }
        }
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.join(&|| LET_GO);
    }
}

fn lock(state: &Mutex<SinkState>) -> std::sync::MutexGuard<'_, SinkState> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn deliver(mut delivery: Delivery, state: &Mutex<SinkState>, clock: &dyn Clock, stop: &AtomicBool) {
    let mut nap = SHORTEST_NAP;
    while !stop.load(Ordering::Relaxed) {
        let turn = delivery.turn();
        let drained = delivery.drained().unwrap_or(false);
        let mut shared = lock(state);
        shared.turns += 1;
        shared.drained = drained;
        if drained {
            shared.drained_at = clock.elapsed();
        }
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
