//! Edits between two runs: what has moved, what writes elsewhere now, and which cursors are whose.

use std::collections::BTreeMap;

use syncline_record::StepId;

use super::{
    Ground,
    job::JobSpec,
    start::{Loss, Moved, StartError},
};
use crate::{
    checkpoint::{self, Checkpoint},
    fingerprints::is_backfill,
    graph::{Work, of_input, parked, qualified},
    ledger,
    store::Changes,
    stream::{self, Position},
};

/// A step that keeps something may not stand where another one stood: it would take that one's state and rows for its own.
pub(super) fn check(spec: &JobSpec, checkpoint: &Checkpoint) -> Result<(), StartError> {
    let (then, now) = (&checkpoint.fingerprints.steps, &spec.fingerprints.steps);
    let moved = now.iter().filter(|(step, its)| then.get(step) != Some(its)).filter_map(|(step, its)| {
        let same = |other: &StepId| then.get(other) == Some(its) && now.get(other) != Some(its);
        let from = then.keys().find(|other| same(other) && keeps(spec, checkpoint, other))?;
        Some(Moved { from: from.clone(), to: step.clone() })
    });
    let moved: Vec<Moved> = moved.collect();
    if moved.is_empty() {
        return Ok(());
    }
    Err(StartError::StepsMoved { pipeline: spec.pipeline.clone(), moved })
}

fn keeps(spec: &JobSpec, checkpoint: &Checkpoint, step: &StepId) -> bool {
    let outbox = ledger::outbox_topic(&spec.pipeline, step);
    checkpoint.states.get(step).is_some_and(|note| note.size.keys > 0)
        || checkpoint.ends.get(&outbox).is_some_and(|end| end.offset > 0)
        || checkpoint.marks.contains_key(step)
}

/// A sink that writes elsewhere than before gets what comes from now on. What waits for its former place is told.
pub(super) fn settle_targets(
    spec: &JobSpec,
    checkpoint: &mut Checkpoint,
    ground: &Ground,
) -> Result<Vec<Loss>, StartError> {
    let delivered = checkpoint::delivered(&*ground.store, &spec.pipeline)?;
    let mut losses = vec![];
    for node in spec.graph.nodes.iter().filter(|node| matches!(node.work, Work::Outbox { .. })) {
        let Some(target) = spec.fingerprints.targets.get(&node.id) else { continue };
        let before = checkpoint.fingerprints.targets.insert(node.id.clone(), target.clone());
        if before.is_none_or(|before| before == *target) {
            continue;
        }
        let end = checkpoint.ends.get(&ledger::outbox_topic(&spec.pipeline, &node.id)).map_or(0, |end| end.offset);
        let next = delivered.get(&node.id).map_or(0, |delivered| delivered.next);
        let since = checkpoint.since.get(&node.id).copied().unwrap_or_default();
        let waiting = end.saturating_sub(next.max(since));
        if waiting > 0 {
            losses.push(Loss { step: node.id.clone(), keys: 0, changed: true, undelivered: waiting });
        }
        checkpoint.since.insert(node.id.clone(), end);
    }
    Ok(losses)
}

/// Rows of streams that are not written any more stay where they are, for readers that have not come as far.
pub(super) fn tell_unread(spec: &JobSpec, checkpoint: &Checkpoint, ground: &Ground) -> Result<(), StartError> {
    let prefix = ledger::stream_topic(&spec.pipeline, "");
    let written = |topic: &String| {
        spec.graph.nodes.iter().any(|node| matches!(&node.work, Work::Stream { topic: its, .. } if its == topic))
    };
    for (topic, end) in checkpoint.ends.iter().filter(|(topic, _)| !written(topic)) {
        let Some(name) = topic.strip_prefix(&prefix) else { continue };
        for pipeline in checkpoint::pipelines(&*ground.store, &checkpoint::STARTED)? {
            let cursors = checkpoint::cursors_of(&*ground.store, &pipeline, &stream::partition(name))?;
            let position = cursors.iter().map(|cursor| Position::within(cursor, &checkpoint.log_id)).min();
            let unread = position.map_or(0, |next| end.offset.saturating_sub(next));
            if unread > 0 {
                tracing::warn!(
                    pipeline = spec.pipeline,
                    stream = name,
                    reader = pipeline,
                    unread,
                    "the stream is not written any more, and has not been read to its end; rows stay until it has its name back"
                );
            }
        }
    }
    Ok(())
}

/// Cursors belong to the place that was read, wherever it stands among the inputs now. Those of places that are gone are kept aside.
pub(super) fn settle_inputs(spec: &JobSpec, checkpoint: &mut Checkpoint, changes: &mut Changes) {
    let now = &spec.fingerprints.inputs;
    let then = std::mem::replace(&mut checkpoint.fingerprints.inputs, now.clone());
    let heirs = heirs(&then, now);
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for old in checkpoint.cursors.keys() {
        let (step, partition) = of_input(old);
        // Nothing is known of the inputs of earlier versions: they stay what they were.
        let Some(place) = then.get(&step) else { continue };
        let owner = heirs.get(&step).cloned().unwrap_or_else(|| parked(place));
        if !now.contains_key(&owner) {
            checkpoint.fingerprints.inputs.insert(owner.clone(), place.clone());
        }
        names.insert(old.clone(), qualified(&owner, partition));
    }
    for (old, _) in names.iter().filter(|(old, new)| old != new) {
        changes.remove(checkpoint::partition_key(&spec.pipeline, old));
    }
    rename(&mut checkpoint.cursors, &names);
    rename(&mut checkpoint.watermarks, &names);
}

fn rename<T>(all: &mut BTreeMap<String, T>, names: &BTreeMap<String, String>) {
    let renamed = std::mem::take(all).into_iter().map(|(old, its)| (names.get(&old).cloned().unwrap_or(old), its));
    *all = renamed.collect();
}

/// Old input → the one that goes on where it was: the same place where it stood, else the same place elsewhere, else an edit of what
/// stood there.
fn heirs(then: &BTreeMap<StepId, String>, now: &BTreeMap<StepId, String>) -> BTreeMap<StepId, StepId> {
    let mut heirs: BTreeMap<StepId, StepId> = BTreeMap::new();
    for (step, place) in now {
        if then.get(step) == Some(place) {
            heirs.insert(step.clone(), step.clone());
        }
    }
    for (step, place) in now {
        if then.get(step) == Some(place) {
            continue;
        }
        if let Some((old, _)) = then.iter().find(|(old, its)| *its == place && !heirs.contains_key(*old)) {
            heirs.insert(old.clone(), step.clone());
        }
    }
    for step in now.keys() {
        let served = heirs.values().any(|heir| heir == step);
        let one_of_its_own =
            |places: &BTreeMap<StepId, String>| places.get(step).is_some_and(|place| is_backfill(place));
        if !served
            && !one_of_its_own(then)
            && !one_of_its_own(now)
            && then.contains_key(step)
            && !heirs.contains_key(step)
        {
            heirs.insert(step.clone(), step.clone());
        }
    }
    heirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprints::of_backfill;

    fn map(all: &[(&str, &str)]) -> BTreeMap<StepId, String> {
        all.iter().map(|(step, place)| (StepId::new(step), (*place).to_owned())).collect()
    }

    fn told(then: &[(&str, &str)], now: &[(&str, &str)]) -> Vec<String> {
        heirs(&map(then), &map(now)).iter().map(|(old, new)| format!("{old} → {new}")).collect()
    }

    #[test]
    fn cursors_follow_their_place() {
        let ab = [("source", "a"), ("source_2", "b")];
        assert_eq!(told(&ab, &ab), ["source → source", "source_2 → source_2"]);
        assert_eq!(told(&ab, &[("source", "b"), ("source_2", "a")]), ["source → source_2", "source_2 → source"]);
        // One is put in front: `b` moves on, `a` is gone, and `c` begins.
        assert_eq!(
            told(&ab, &[("source", "c"), ("source_2", "a"), ("source_3", "b")]),
            ["source → source_2", "source_2 → source_3"]
        );
        // An edit of what stands there.
        assert_eq!(told(&ab, &[("source", "a*"), ("source_2", "b")]), ["source → source", "source_2 → source_2"]);
        // The first is taken out, and comes back.
        assert_eq!(told(&ab, &[("source", "b")]), ["source_2 → source"]);
        assert_eq!(told(&[("source", "b"), ("parked a", "a")], &ab), ["parked a → source", "source → source_2"]);
        assert_eq!(told(&[], &ab), [""; 0]);
        // A second backfill begins anew where the first one stood.
        let (first, second) = (of_backfill("b", 1), of_backfill("b", 2));
        let (first, second) = ([("source_2", &*first)], [("source_2", &*second)]);
        assert_eq!((told(&first, &second), told(&[("source_2", "b")], &first)), (vec![], vec![]));
    }
}
