//! The start of a job: the same sequence for a first start, a restart after a crash, and a new version of the pipeline.

use std::collections::BTreeMap;

use syncline_record::{Books, StepBooks, StepId};

use super::{
    Ground,
    job::{Job, JobSpec, Open},
};
use crate::{
    checkpoint::{self, CHECKPOINT_FORMAT, Checkpoint, ReadError, Run, RunState},
    graph::Work,
    ledger,
    log::{Ends, LogError},
    segment::{self, SegmentError, Segments},
    sink::SinkError,
    source::SourceError,
    store::{Changes, StoreError},
    witness::Window,
};

/// What the caller allows a start to throw away.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// Start over: forget positions, state, outboxes and what staged sinks have written.
    pub fresh: bool,
    /// Steps whose state may be lost.
    pub drop_state: Vec<StepId>,
}

/// State that an edit of the pipeline would lose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub step: StepId,
    pub keys: u64,
    /// The step is still there, but its key, types or window are others.
    pub changed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Segment(#[from] SegmentError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("{step}: {error}")]
    Sink { step: StepId, error: SinkError },
    #[error("{} of {pipeline} would be lost", losses.iter().map(|l| l.step.as_str()).collect::<Vec<_>>().join(", "))]
    StateWouldBeLost { pipeline: String, losses: Vec<Loss> },
}

impl Job {
    /// Goes back to the last checkpoint, and on from there.
    pub fn start(ground: Ground, mut spec: JobSpec, options: &StartOptions) -> Result<Job, StartError> {
        if options.fresh {
            start_over(&ground, &mut spec)?;
        }
        let found = checkpoint::read_checkpoint(&*ground.store, &spec.pipeline)?;
        let first = found.is_none();
        let mut checkpoint = found.unwrap_or_default();
        let mut changes = Changes::default();
        check_losses(&spec, &checkpoint, options, &ground, &mut changes)?;
        cut_back(&ground, &spec.pipeline, &checkpoint.ends)?;
        let segments = restore(&ground, &mut spec, &checkpoint, &options.drop_state)?;
        open_staged(&mut spec, &checkpoint)?;
        spec.source.open(&checkpoint.cursors, ground.clock.now())?;

        checkpoint.format = CHECKPOINT_FORMAT;
        checkpoint.fence += 1;
        checkpoint.plan = spec.plan.clone();
        checkpoint.ended = false;
        if first {
            checkpoint.log_id = ground.rng.id();
        }
        let run = begin_run(&ground, &spec, &checkpoint)?;
        checkpoint.run = run.run;
        checkpoint::put(&mut changes, checkpoint::checkpoint_key(&spec.pipeline), &checkpoint);
        checkpoint::put(&mut changes, checkpoint::run_key(&spec.pipeline, run.run), &run);
        ground.store.apply(changes)?;
        ground.store.flush()?;
        spec.witness.enter(Window::Idle);
        Ok(Job { ground, spec, segments, checkpoint, run, open: Open::default(), ended: false })
    }
}

fn start_over(ground: &Ground, spec: &mut JobSpec) -> Result<(), StartError> {
    let pipeline = spec.pipeline.clone();
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            sink.clear().map_err(|error| StartError::Sink { step: node.id.clone(), error })?;
        }
    }
    let whole = format!("pipeline/{pipeline}/");
    ground.log.recover(&[&whole], &Ends::new())?;
    ground.store.wipe(&checkpoint::checkpoint_key(&pipeline))?;
    ground.store.wipe(&checkpoint::state_prefix(&pipeline))?;
    ground.store.wipe(&checkpoint::delivered_prefix(&pipeline))?;
    Ok(())
}

/// An edit may not lose state silently.
fn check_losses(
    spec: &JobSpec,
    checkpoint: &Checkpoint,
    options: &StartOptions,
    ground: &Ground,
    changes: &mut Changes,
) -> Result<(), StartError> {
    let now: BTreeMap<&StepId, u64> =
        spec.graph.nodes.iter().filter_map(|node| Some((&node.id, node.state?))).collect();
    let mut losses = vec![];
    for (step, note) in &checkpoint.states {
        if now.get(step) == Some(&note.digest) {
            continue;
        }
        if note.size.keys > 0 && !options.drop_state.contains(step) {
            let changed = now.contains_key(step);
            losses.push(Loss { step: step.clone(), keys: note.size.keys, changed });
            continue;
        }
        ground.store.scan(&segment::prefix(&spec.pipeline, step), &mut |key, _| {
            changes.remove(key);
            true
        })?;
    }
    if losses.is_empty() {
        return Ok(());
    }
    Err(StartError::StateWouldBeLost { pipeline: spec.pipeline.clone(), losses })
}

fn cut_back(ground: &Ground, pipeline: &str, ends: &Ends) -> Result<(), StartError> {
    let prefixes = ledger::job_prefixes(pipeline);
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    Ok(ground.log.recover(&prefixes, ends)?)
}

fn restore(
    ground: &Ground,
    spec: &mut JobSpec,
    checkpoint: &Checkpoint,
    dropped: &[StepId],
) -> Result<BTreeMap<StepId, Segments>, StartError> {
    spec.graph.decode.restore(checkpoint.watermarks.clone());
    let mut all = BTreeMap::new();
    for node in &mut spec.graph.nodes {
        let (Work::Operator(operator), Some(digest)) = (&mut node.work, node.state) else { continue };
        let mut segments = Segments::new(&spec.pipeline, &node.id, digest);
        let kept = checkpoint.states.get(&node.id).is_some_and(|note| note.digest == digest);
        if kept || !dropped.contains(&node.id) {
            segments.restore(&*ground.store, &mut |generation, body| operator.restore(generation, body))?;
        } else {
            // Its old segments go away with the first commit of this start; new ones must not take their numbers.
            segments.skip(&*ground.store)?;
        }
        all.insert(node.id.clone(), segments);
    }
    Ok(all)
}

fn open_staged(spec: &mut JobSpec, checkpoint: &Checkpoint) -> Result<(), StartError> {
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            let sink_error = |error| StartError::Sink { step: node.id.clone(), error };
            sink.open(checkpoint.marks.get(&node.id)).map_err(sink_error)?;
        }
    }
    Ok(())
}

/// A run that did not end goes on as a new attempt, unless the plan is another one.
fn begin_run(ground: &Ground, spec: &JobSpec, checkpoint: &Checkpoint) -> Result<Run, StartError> {
    let last = checkpoint::last_run(&*ground.store, &spec.pipeline)?;
    if let Some(mut run) = last.clone().filter(|run| run.state == RunState::Running && run.plan == spec.plan) {
        run.attempt += 1;
        if let Some(window) = spec.witness.last() {
            *run.killed.entry(window).or_default() += 1;
        }
        return Ok(run);
    }
    let baseline = checkpoint::delivered(&*ground.store, &spec.pipeline)?;
    // What earlier runs left in an outbox is delivered by this one.
    let left = last.as_ref().filter(|_| checkpoint.epoch > 0).map(|last| last.books(&baseline)).unwrap_or_default();
    let mut pages = Books::default();
    for node in &spec.graph.nodes {
        let waiting = left.steps.get(&node.id).map_or(0, |page| page.waiting);
        *pages.step(&node.id) = StepBooks { rows_in: waiting, waiting, ..StepBooks::default() };
    }
    pages.step(&StepId::new(crate::graph::SOURCE));
    Ok(Run {
        pipeline: spec.pipeline.clone(),
        run: last.map_or(0, |run| run.run) + 1,
        attempt: 1,
        plan: checkpoint.plan.clone(),
        state: RunState::Running,
        started: ground.clock.now(),
        ended: None,
        reason: None,
        epochs: 0,
        pages,
        baseline,
        killed: BTreeMap::new(),
        null_keys: BTreeMap::new(),
    })
}
