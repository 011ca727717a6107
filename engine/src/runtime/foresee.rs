//! What a start would do with what is there, told before it: which state is kept, and which an edit would lose.
//!
//! The same questions as a start asks, in the same order, and nothing is changed.

use std::collections::BTreeMap;

use syncline_record::{Epoch, StepId};

use super::{
    Ground,
    commit::own,
    job::JobSpec,
    migrate, moves,
    start::{Loss, Moved, StartError, StartOptions, check_losses},
};
use crate::{
    checkpoint::{self, StateNote},
    revision,
    store::Changes,
};

/// What a start would meet. By default nothing is there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Foreseen {
    /// The last that was committed; 0: none ever was.
    pub epoch: Epoch,
    /// State that is there and is read as it is.
    pub kept: BTreeMap<StepId, StateNote>,
    /// State of another definition that is read and written anew, and what becomes of its keys.
    pub migrated: BTreeMap<StepId, (StateNote, String)>,
    /// Partitions of each input that are read on from where they were left.
    pub places: BTreeMap<StepId, usize>,
    /// What stops the start.
    pub losses: Vec<Loss>,
    pub moved: Vec<Moved>,
}

/// Looks at what a pipeline of this name has committed, beside what is bound now. `options`: what the start is allowed to throw away.
pub fn foresee(ground: &Ground, spec: &mut JobSpec, options: &StartOptions) -> Result<Foreseen, StartError> {
    let found = match revision::back(&*ground.store, &spec.pipeline)? {
        // It begins with what that revision left.
        Some(back) => revision::stood(&*ground.store, &spec.pipeline, back.to)?.map(|stood| stood.checkpoint),
        None => checkpoint::read_checkpoint(&*ground.store, &spec.pipeline)?,
    };
    let Some(mut checkpoint) = found else { return Ok(Foreseen::default()) };
    let mut foreseen = Foreseen { epoch: checkpoint.epoch, ..Foreseen::default() };
    let mut unused = Changes::default();
    match moves::check(spec, &checkpoint) {
        Err(StartError::StepsMoved { moved, .. }) => foreseen.moved = moved,
        other => other?,
    }
    moves::settle_inputs(spec, &mut checkpoint, &mut unused);
    for input in &spec.graph.inputs {
        foreseen.places.insert(input.step.clone(), own(input, &checkpoint.cursors).len());
    }
    for node in &spec.graph.nodes {
        let note = checkpoint.states.get(&node.id).filter(|note| node.state == Some(note.digest));
        foreseen.kept.extend(note.map(|note| (node.id.clone(), *note)));
    }
    let allowed = options.allowed(ground, &spec.pipeline)?;
    let adopted = migrate::adopted(spec, &checkpoint, &allowed);
    for (step, said) in &adopted {
        let note = checkpoint.states.get(step).copied().unwrap_or_default();
        foreseen.migrated.insert(step.clone(), (note, said.clone()));
    }
    match check_losses(spec, &mut checkpoint, (&allowed, &adopted), ground, &mut unused) {
        Err(StartError::StateWouldBeLost { losses, .. }) => foreseen.losses = losses,
        other => other?,
    }
    Ok(foreseen)
}
