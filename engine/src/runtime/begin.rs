//! The run that a start begins, or goes on with.

use std::collections::{BTreeMap, BTreeSet};

use syncline_record::{Books, StepBooks, StepId};

use super::{Ground, job::JobSpec, start::StartError};
use crate::{
    checkpoint::{self, Checkpoint, KEPT_RUNS, ReadError, Run, RunState},
    firing::{self, Firing},
    store::Changes,
};

/// A run that nobody ended is over now: it was killed, and what follows is another run.
pub(super) fn end_running(
    ground: &Ground,
    mut run: Run,
    reason: &str,
    changes: &mut Changes,
) -> Result<(), StartError> {
    if run.state == RunState::Running {
        let delivered = match checkpoint::delivered(&*ground.store, &run.pipeline) {
            Err(ReadError::Damaged { .. }) => BTreeMap::new(),
            delivered => delivered?,
        };
        run.close(RunState::Stopped, Some(reason.to_owned()), ground.clock.now(), delivered);
        checkpoint::put(changes, checkpoint::run_key(&run.pipeline, run.run), &run);
    }
    Ok(())
}

/// Whether a start goes on with this run: nobody ended it, or it was stopped in the middle and the start is for its due time.
fn goes_on(run: &Run, firing: Option<Firing>) -> bool {
    let due = firing.map(|firing| firing.due);
    // One that was started over or edited has its end for that reason.
    let stopped = run.state == RunState::Stopped && run.reason.is_none();
    run.state == RunState::Running || (stopped && due.is_some() && run.due == due)
}

/// The next attempt of a run.
fn attempt(mut run: Run, spec: &JobSpec) -> Run {
    run.attempt += 1;
    if run.state == RunState::Stopped {
        run.reopen();
        return run;
    }
    if let Some(window) = spec.witness.last() {
        *run.killed.entry(window).or_default() += 1;
    }
    for window in spec.witness.last_of_sinks() {
        *run.killed_handing_over.entry(window).or_default() += 1;
    }
    if let Some(window) = spec.witness.last_of_changelog() {
        *run.killed_in_changelog.entry(window).or_default() += 1;
    }
    run
}

/// A run that did not end goes on as a new attempt, unless the plan is another one. A new one settles the due time that it is for.
/// `skipped`: what waits for these sinks is no row of any run.
pub(super) fn begin_run(
    ground: &Ground,
    spec: &JobSpec,
    (checkpoint, skipped): (&Checkpoint, &BTreeSet<StepId>),
    firing: Option<Firing>,
    changes: &mut Changes,
) -> Result<Run, StartError> {
    let last = checkpoint::last_run(&*ground.store, &spec.pipeline)?;
    if let Some(run) = last.clone().filter(|run| run.plan == spec.plan && goes_on(run, firing)) {
        return Ok(attempt(run, spec));
    }
    let baseline = checkpoint::delivered(&*ground.store, &spec.pipeline)?;
    if let Some(last) = &last {
        end_running(ground, last.clone(), "the pipeline was edited", changes)?;
    }
    // What earlier runs left in an outbox is delivered by this one.
    let left = last.as_ref().filter(|_| checkpoint.epoch > 0).map(|last| last.books(&baseline)).unwrap_or_default();
    let mut pages = Books::default();
    for node in &spec.graph.nodes {
        let left = left.steps.get(&node.id).filter(|_| !skipped.contains(&node.id));
        let waiting = left.map_or(0, |page| page.waiting);
        *pages.step(&node.id) = StepBooks { rows_in: waiting, waiting, ..StepBooks::default() };
    }
    for input in &spec.graph.inputs {
        pages.step(&input.step);
    }
    for table in &spec.graph.tables {
        pages.step(&table.step);
    }
    let run = Run {
        pipeline: spec.pipeline.clone(),
        run: last.map_or(0, |run| run.run) + 1,
        attempt: 1,
        plan: checkpoint.plan.clone(),
        state: RunState::Running,
        started: ground.clock.now(),
        ended: None,
        reason: None,
        due: firing.map(|firing| firing.due),
        epochs: 0,
        pages,
        baseline,
        closed: None,
        order: (spec.graph.inputs.iter().map(|input| input.step.clone()))
            .chain(spec.graph.tables.iter().map(|table| table.step.clone()))
            .chain(spec.graph.nodes.iter().map(|node| node.id.clone()))
            .collect(),
        killed: BTreeMap::new(),
        killed_handing_over: BTreeMap::new(),
        killed_in_changelog: BTreeMap::new(),
        null_keys: BTreeMap::new(),
        late_windows: BTreeMap::new(),
        warned: BTreeMap::new(),
    };
    if let Some(old) = run.run.checked_sub(KEPT_RUNS) {
        changes.remove(checkpoint::run_key(&spec.pipeline, old));
    }
    if let Some(firing) = firing {
        firing::begin(&*ground.store, firing, &run, run.started, changes)?;
    }
    Ok(run)
}
