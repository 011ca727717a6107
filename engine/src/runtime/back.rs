//! A pipeline that goes back to what a revision of it had committed, as far as that can be done.
//!
//! What lies inside comes back as it was: state, positions, watermarks, and the dead letters of that commit. What outbox sinks
//! have taken since stays where it is, and what waits for them still is skipped: rows are made again with later places. Staged sinks take
//! back what they have shown. Numbers that others have seen, of epochs, runs and starts, never go back; nor does the ledger, which says
//! what happened, of what is undone too, and may lie in files already.

use std::collections::BTreeSet;

use syncline_record::StepId;

use super::{Ground, job::JobSpec, start::StartError};
use crate::{
    checkpoint::{self, Checkpoint},
    graph::Work,
    ledger,
    revision::{self, Back, Written},
    sink::Cut,
};

/// What a start goes back to.
pub(super) struct Restored {
    pub checkpoint: Checkpoint,
    /// Sinks that get nothing of what waits for them: it was made by what is taken back.
    pub skipped: BTreeSet<StepId>,
}

/// The checkpoint to go on from. The state that it speaks of is in its place when this returns.
pub(super) fn restored(
    ground: &Ground,
    pipeline: &str,
    back: &Back,
    written: Option<&Written>,
) -> Result<Restored, StartError> {
    let open = || StartError::GoesBack { pipeline: pipeline.to_owned(), to: back.to };
    if written.is_none_or(|written| written.text != back.text) {
        return Err(open());
    }
    let now = checkpoint::read_checkpoint(&*ground.store, pipeline)?.unwrap_or_default();
    if back.fence.is_some_and(|fence| fence != now.fence) {
        return Err(StartError::WentOn { pipeline: pipeline.to_owned(), to: back.to });
    }
    let stood = revision::stood(&*ground.store, pipeline, back.to)?.ok_or_else(open)?.checkpoint;
    // Where the state is written down elsewhere too, so is this from now on: what lies outside is taken back before the commit, and whoever
    // goes on instead of us has to know.
    revision::decide(&*ground.store, back)?;
    revision::bring_back(&*ground.store, pipeline, back.to)?;
    let mut checkpoint = Checkpoint {
        epoch: now.epoch,
        run: now.run,
        plan: now.plan,
        log_id: now.log_id,
        fence: now.fence,
        time: now.time,
        over: now.over,
        ..stood
    };
    let (outbox, history) = (ledger::outbox_topic(pipeline, &StepId::new("")), ledger::ledger_topic(pipeline));
    let mut skipped = BTreeSet::new();
    let before = now.ends.clone();
    for (topic, end) in now.ends {
        let Some(step) = topic.strip_prefix(&outbox).map(StepId::new) else {
            if topic == history {
                checkpoint.ends.insert(topic, end);
            }
            continue;
        };
        let before = checkpoint.ends.get(&topic).map_or(0, |end| end.offset);
        if end.offset > before {
            checkpoint.since.insert(step.clone(), end.offset);
            skipped.insert(step);
        }
        checkpoint.ends.insert(topic, end);
    }
    ground.log.undo(&checkpoint.ends, &before)?;
    Ok(Restored { checkpoint, skipped })
}

/// Staged sinks take back what was shown behind the marks.
pub(super) fn take_back(spec: &mut JobSpec, checkpoint: &Checkpoint) -> Result<(), StartError> {
    each_staged(spec, |step, sink| sink.take_back(checkpoint.marks.get(step)))
}

/// Shows what can be shown without an end, so that who goes back finds nothing half done. The marks count with the next commit.
pub(super) fn close_parts(spec: &mut JobSpec, now: i64, checkpoint: &mut Checkpoint) -> Result<(), StartError> {
    let cut = Cut { now, end: false, stop: true };
    each_staged(spec, |step, sink| {
        let mark = sink.prepare(cut)?;
        checkpoint.marks.insert(step.clone(), mark);
        Ok(())
    })
}

/// The marks of [`close_parts`] are committed.
pub(super) fn show_parts(spec: &mut JobSpec) -> Result<(), StartError> {
    each_staged(spec, |_, sink| sink.reveal())
}

fn each_staged(
    spec: &mut JobSpec,
    mut each: impl FnMut(&StepId, &mut dyn crate::sink::StagedSink) -> Result<(), crate::sink::SinkError>,
) -> Result<(), StartError> {
    for node in &mut spec.graph.nodes {
        if let Work::Staged { sink, .. } = &mut node.work {
            each(&node.id, &mut **sink).map_err(|error| StartError::Sink { step: node.id.clone(), error })?;
        }
    }
    Ok(())
}
