//! State of a step that is defined otherwise now, where the step can read it all the same: it is written anew in the commit of the start.
//!
//! Whether it can is said by the step itself ([`crate::operator::Operator::adopts`]), of what the checkpoint says that the state is made of. The commit
//! removes the segments of before and holds the new ones, so a start that dies has not begun; what a revision keeps to go back to is what was there before.

use std::collections::BTreeMap;

use syncline_record::StepId;

use super::{Ground, job::JobSpec};
use crate::{
    checkpoint::{Checkpoint, StateNote},
    graph::Work,
    operator::Operator,
    segment::{SegmentError, Segments},
    store::Changes,
};

/// Bytes of a state that are written anew: they are one commit, and lie in memory twice until then.
const MOST: u64 = 256 << 20;

/// Steps that take over a state of another definition, and what becomes of its keys. `dropped`: what is to be lost is not read.
pub(super) fn adopted(spec: &mut JobSpec, checkpoint: &Checkpoint, dropped: &[StepId]) -> BTreeMap<StepId, String> {
    let mut adopted = BTreeMap::new();
    let (then, now) = (&checkpoint.fingerprints.layouts, &spec.fingerprints.layouts);
    for node in &mut spec.graph.nodes {
        let (Work::Operator(operator), Some(digest)) = (&mut node.work, node.state) else { continue };
        let note = checkpoint.states.get(&node.id).filter(|note| note.digest != digest && note.size.keys > 0);
        let Some(note) = note.filter(|note| note.stored <= MOST && !dropped.contains(&node.id)) else { continue };
        let then = then.get(&node.id).filter(|then| then.digest == note.digest);
        let said = then.zip(now.get(&node.id)).and_then(|(then, now)| operator.adopts(then, now));
        adopted.extend(said.map(|said| (node.id.clone(), said)));
    }
    adopted
}

/// What came back, as the step keeps it now; the segments that it was read of go with the same commit.
pub(super) fn rewritten(
    (step, operator): (&StepId, &mut dyn Operator),
    (before, digest): (Segments, u64),
    ground: &Ground,
    checkpoint: &mut Checkpoint,
    changes: &mut Changes,
) -> Result<Segments, SegmentError> {
    let broken = |detail: String| SegmentError::Damaged { step: step.clone(), generation: 0, sequence: 0, detail };
    let delta = operator.close(checkpoint.epoch, step).map_err(|halt| broken(halt.to_string()))?;
    let mut segments = before.replaced(digest, changes);
    segments.write(checkpoint.epoch, delta, &*ground.store, changes)?;
    let note = StateNote { digest, size: operator.size(), stored: segments.bytes() };
    checkpoint.states.insert(step.clone(), note);
    Ok(segments)
}
