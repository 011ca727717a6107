//! What happened before: inputs that are read to their end before the first one begins, without a gap and without a repeat.
//!
//! Where the first input begins is committed with the first row of its history, not when its turn comes: what is written to it meanwhile is
//! read then. A history that was read to its end is over for good, whatever becomes of the place.

use super::{
    Turn,
    job::{Job, JobError, JobSpec},
};
use crate::{checkpoint::Checkpoint, source::Waits};

impl Job {
    pub(super) fn in_history(&self) -> bool {
        self.spec.graph.history.iter().any(|input| !self.over.contains(input))
    }

    /// Has the first input say where it begins. `None`: it has.
    pub(super) fn note_beginning(&mut self) -> Result<Option<Turn>, JobError> {
        let now = self.ground.clock.now();
        Ok(match self.spec.graph.inputs[0].source.wait(now)? {
            Waits::Noted => None,
            Waits::NotYet => Some(Turn::Idle),
            Waits::Begun(rows) => {
                self.take(0, rows)?;
                Some(Turn::Worked)
            }
        })
    }

    /// The history is over: the first input goes on from where it was then.
    pub(super) fn cut_over(&mut self) {
        self.checkpoint.passed.extend(prints(&self.spec).map(|(_, print)| print));
        self.open.touched = true;
        let now = self.ground.clock.elapsed();
        // It could not give anything before, so it was not idle.
        let first = &self.spec.graph.inputs[0];
        for partition in first.source.partitions() {
            self.frontier.gave_rows(&first.qualified(&partition.to_string()), now);
        }
        tracing::info!(pipeline = self.spec.pipeline, "the history is read; what came since then follows");
    }
}

/// The inputs that are not read any more.
pub(super) fn passed<'a>(spec: &'a JobSpec, checkpoint: &'a Checkpoint) -> impl Iterator<Item = usize> + 'a {
    prints(spec).filter(|(_, print)| checkpoint.passed.contains(print)).map(|(input, _)| input)
}

fn prints(spec: &JobSpec) -> impl Iterator<Item = (usize, String)> + '_ {
    let print = |input: &usize| {
        let print = spec.fingerprints.inputs.get(&spec.graph.inputs[*input].step)?;
        Some((*input, print.clone()))
    };
    spec.graph.history.iter().filter_map(print)
}
