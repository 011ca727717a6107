//! Revisions of a pipeline: with which text it began when, what its state was when another text took its place, and the way back.
//!
//! | key | value |
//! |---|---|
//! | `v/<pipeline> NUL number` | [`Revision`], the last [`KEPT_REVISIONS`] of them |
//! | `z/<pipeline> NUL number NUL key` | what stood under `key` when that revision was over, of the newest [`KEPT_STATES`] that have it |
//! | `x/<pipeline>` | [`Back`]: it was decided that the pipeline goes back; its next start does |
//! | `a/<pipeline>` | [`Allowed`]: what a text may lose whose file was written, until it has begun |
//! | `n/<key> NUL part` | a part of the text of what stands under `key`, where it is too long for that (`texts`) |
//!
//! A revision is noted in the commit of the start that begins it. Before that commit its predecessor's state is copied; the copy counts
//! only when the same commit says that it is whole. A way back is decided by one record, and until the start that goes it has committed,
//! every start begins it again from the copy, which nobody writes to.

#[cfg(test)]
mod tests;
mod texts;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncline_record::{Epoch, Micros, StepId};

use crate::{
    checkpoint::{self, Checkpoint, PartitionNote, ReadError},
    sink::Delivered,
    store::{Changes, StateStore, StoreError},
};
use texts::Stored;

/// Revisions of a pipeline that are remembered.
pub const KEPT_REVISIONS: u64 = 20;
/// Of those, the newest whose state is kept too.
pub const KEPT_STATES: usize = 3;
/// Bytes that are copied at once.
const CHUNK: usize = 4 << 20;

/// What a start is told about the text that it was made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Of all that makes a revision another one.
    pub digest: String,
    /// The text of its file.
    pub text: String,
    pub by: String,
    /// The most bytes of state that are copied when another revision follows.
    pub most: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    pub pipeline: String,
    /// From 1; grows by one.
    pub number: u64,
    pub began: Micros,
    pub digest: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    pub by: String,
    /// The revision that it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back_to: Option<u64>,
    /// Its state when it was over, where that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptState>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptState {
    pub epoch: Epoch,
    pub keys: u64,
    pub bytes: u64,
}

/// What a text may lose: said before its file is written, so that whoever starts it knows, also when the process died in between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    /// Of what the text declares.
    pub digest: String,
    pub steps: Vec<StepId>,
}

/// The pipeline goes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Back {
    pub pipeline: String,
    pub to: u64,
    /// The text that its file has again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// What the checkpoint said when it was decided, and grows with every start: whoever has gone on since has the pipeline, and what he made
    /// is not undone unasked.
    #[serde(default)]
    pub fence: Option<u64>,
}

fn prefix(pipeline: &str) -> Vec<u8> {
    [b"v/", pipeline.as_bytes(), b"\0"].concat()
}

fn key(pipeline: &str, number: u64) -> Vec<u8> {
    [prefix(pipeline).as_slice(), &number.to_be_bytes()].concat()
}

fn states_prefix(pipeline: &str) -> Vec<u8> {
    [b"z/", pipeline.as_bytes(), b"\0"].concat()
}

fn state_prefix(pipeline: &str, number: u64) -> Vec<u8> {
    [states_prefix(pipeline).as_slice(), &number.to_be_bytes(), b"\0"].concat()
}

fn back_key(pipeline: &str) -> Vec<u8> {
    [b"x/", pipeline.as_bytes()].concat()
}

fn allowed_key(pipeline: &str) -> Vec<u8> {
    [b"a/", pipeline.as_bytes()].concat()
}

/// All that is kept of the revisions of a pipeline: what is decided, and they with what they left; of each whole keys or beginnings of keys.
pub fn keys_of(pipeline: &str) -> ([Vec<u8>; 2], [Vec<u8>; 3]) {
    let decided = [back_key(pipeline), allowed_key(pipeline)];
    (decided, [prefix(pipeline), texts::under(&prefix(pipeline)), states_prefix(pipeline)])
}

/// Takes away what is decided about a pipeline.
pub fn forget_decided(store: &dyn StateStore, pipeline: &str, changes: &mut Changes) -> Result<(), StoreError> {
    keys_of(pipeline).0.into_iter().for_each(|key| changes.remove(key));
    texts::forget(store, changes, &back_key(pipeline), 0)
}

/// Says what the next start of this text may lose; nothing, and what was said before does not hold any more. Durable when it returns.
pub fn allow(store: &dyn StateStore, pipeline: &str, allowed: &Allowed) -> Result<(), StoreError> {
    let (key, mut changes) = (allowed_key(pipeline), Changes::default());
    match allowed.steps.is_empty() {
        true if store.get(&key)?.is_none() => return Ok(()),
        true => changes.remove(key),
        false => checkpoint::put(&mut changes, key, allowed),
    }
    store.apply(changes)?;
    store.flush()
}

/// What a start with this text may lose.
pub(crate) fn allowed(store: &dyn StateStore, pipeline: &str, written: &Written) -> Result<Vec<StepId>, ReadError> {
    let said: Option<Allowed> = checkpoint::read(store, &allowed_key(pipeline))?;
    Ok(said.filter(|said| said.digest == written.digest).map(|said| said.steps).unwrap_or_default())
}

/// The oldest first.
pub fn all(store: &dyn StateStore, pipeline: &str) -> Result<Vec<Revision>, ReadError> {
    stored(store, pipeline)?.into_iter().map(|one| whole(store, one)).collect()
}

/// The same without texts that lie beside them.
fn stored(store: &dyn StateStore, pipeline: &str) -> Result<Vec<Stored<Revision>>, ReadError> {
    checkpoint::read_all(store, &prefix(pipeline))
}

fn whole(store: &dyn StateStore, stored: Stored<Revision>) -> Result<Revision, ReadError> {
    let key = key(&stored.record.pipeline, stored.record.number);
    stored.whole(store, &key)
}

pub fn read(store: &dyn StateStore, pipeline: &str, number: u64) -> Result<Option<Revision>, ReadError> {
    checkpoint::read(store, &key(pipeline, number))?.map(|one| whole(store, one)).transpose()
}

/// The one that began last.
pub fn last(store: &dyn StateStore, pipeline: &str) -> Result<Option<Revision>, ReadError> {
    stored(store, pipeline)?.pop().map(|one| whole(store, one)).transpose()
}

/// As it stands in a store whose values have any length.
pub fn record(revision: &Revision) -> (Vec<u8>, Vec<u8>) {
    (key(&revision.pipeline, revision.number), serde_json::to_vec(revision).unwrap_or_default())
}

/// Whether somebody has decided that the pipeline goes back.
pub fn back(store: &dyn StateStore, pipeline: &str) -> Result<Option<Back>, ReadError> {
    checkpoint::read(store, &back_key(pipeline))?.map(|one| whole_back(store, one)).transpose()
}

fn whole_back(store: &dyn StateStore, stored: Stored<Back>) -> Result<Back, ReadError> {
    let key = back_key(&stored.record.pipeline);
    stored.whole(store, &key)
}

/// Pipelines that go back.
pub fn all_back(store: &dyn StateStore) -> Result<Vec<Back>, ReadError> {
    checkpoint::read_all(store, b"x/")?.into_iter().map(|one| whole_back(store, one)).collect()
}

/// Decides that the pipeline goes back. Durable when it returns.
pub fn decide(store: &dyn StateStore, back: &Back) -> Result<(), StoreError> {
    let mut changes = Changes::default();
    texts::put(store, &mut changes, back_key(&back.pipeline), back)?;
    store.apply(changes)?;
    store.flush()
}

/// What a revision had committed when it was over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stood {
    pub checkpoint: Checkpoint,
    pub delivered: BTreeMap<StepId, Delivered>,
}

/// `None`: it is not kept.
pub fn stood(store: &dyn StateStore, pipeline: &str, number: u64) -> Result<Option<Stood>, ReadError> {
    let prefix = state_prefix(pipeline, number);
    let under = |own: Vec<u8>| [prefix.as_slice(), &own].concat();
    let Some(mut checkpoint) = checkpoint::read::<Checkpoint>(store, &under(checkpoint::checkpoint_key(pipeline)))?
    else {
        return Ok(None);
    };
    let fingerprints = checkpoint::read(store, &under(checkpoint::fingerprints_key(pipeline)))?;
    checkpoint.fingerprints = fingerprints.unwrap_or_default();
    for note in checkpoint::read_all::<PartitionNote>(store, &under(checkpoint::partition_prefix(pipeline)))? {
        checkpoint.watermarks.extend(note.watermark.map(|watermark| (note.partition.clone(), watermark)));
        checkpoint.cursors.insert(note.partition, note.cursor);
    }
    let of = under(checkpoint::delivered_prefix(pipeline));
    let delivered = checkpoint::delivered_under(store, &of)?;
    Ok(Some(Stood { checkpoint, delivered }))
}

/// What of a pipeline is copied beside its checkpoint.
fn copied(pipeline: &str) -> [Vec<u8>; 4] {
    [
        checkpoint::fingerprints_key(pipeline),
        checkpoint::delivered_prefix(pipeline),
        checkpoint::partition_prefix(pipeline),
        checkpoint::state_prefix(pipeline),
    ]
}

/// Copies what is committed, with `checkpoint` in the place of the committed one. `None`: it is more than `most` bytes.
fn keep(
    store: &dyn StateStore,
    (pipeline, number): (&str, u64),
    checkpoint: &Checkpoint,
    most: u64,
) -> Result<Option<KeptState>, StoreError> {
    let to = state_prefix(pipeline, number);
    // Of a start that was cut off.
    store.wipe(&to)?;
    let (mut keys, mut bytes) = (vec![], 0);
    for prefix in copied(pipeline) {
        store.scan(&prefix, &mut |key, value| {
            // The key of fingerprints is whole, and may begin that of another pipeline.
            if key.len() == prefix.len() || prefix.ends_with(b"\0") {
                bytes += (key.len() + value.len()) as u64;
                keys.push(key.to_vec());
            }
            bytes <= most
        })?;
    }
    if bytes > most {
        return Ok(None);
    }
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, [to.as_slice(), &checkpoint::checkpoint_key(pipeline)].concat(), checkpoint);
    // A store that writes elsewhere too is given it piece by piece: it counts when the start says so.
    copy(store, keys.into_iter().map(|key| ([to.as_slice(), &key].concat(), key)), changes, true)?;
    let held = checkpoint.states.values().map(|state| state.size.keys).sum();
    Ok(Some(KeptState { epoch: checkpoint.epoch, keys: held, bytes }))
}

/// Puts what stands under the second keys under the first, some at a time. It counts when somebody says so.
fn copy(
    store: &dyn StateStore,
    pairs: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
    mut changes: Changes,
    flushed: bool,
) -> Result<(), StoreError> {
    let mut bytes = 0;
    for (to, from) in pairs {
        let Some(value) = store.get(&from)? else { continue };
        bytes += to.len() + value.len();
        changes.put(to, value);
        if bytes >= CHUNK {
            store.apply(std::mem::take(&mut changes))?;
            if flushed {
                store.flush()?;
            }
            bytes = 0;
        }
    }
    store.apply(changes)
}

/// Brings what was copied of a revision back to where it stood, but for its checkpoint. Doing it again gives the same.
pub(crate) fn bring_back(store: &dyn StateStore, pipeline: &str, number: u64) -> Result<(), StoreError> {
    let from = state_prefix(pipeline, number);
    let keep = [checkpoint::delivered_prefix(pipeline), checkpoint::checkpoint_key(pipeline)];
    store.wipe(&checkpoint::partition_prefix(pipeline))?;
    store.wipe(&checkpoint::state_prefix(pipeline))?;
    let mut keys = vec![];
    store.scan(&from, &mut |key, _| {
        let own = &key[from.len()..];
        if !own.starts_with(&keep[0]) && own != keep[1] {
            keys.push((own.to_vec(), key.to_vec()));
        }
        true
    })?;
    // With a changelog all of it is one transaction with the commit of the start.
    copy(store, keys.into_iter(), Changes::default(), false)
}

/// The pipeline starts over: what its revisions stood on is no more.
pub(crate) fn forget_states(store: &dyn StateStore, pipeline: &str, changes: &mut Changes) -> Result<(), ReadError> {
    for mut stored in stored(store, pipeline)?.into_iter().filter(|stored| stored.record.kept.is_some()) {
        stored.record.kept = None;
        checkpoint::put(changes, key(pipeline, stored.record.number), &stored);
    }
    Ok(())
}

/// A start that begins a revision.
#[derive(Debug, Default)]
pub(crate) struct Begun {
    /// Whose copies go when the start has committed.
    forgotten: Vec<Vec<u8>>,
}

impl Begun {
    /// The start has committed.
    pub fn committed(self, store: &dyn StateStore) -> Result<(), StoreError> {
        self.forgotten.iter().try_for_each(|prefix| store.wipe(prefix))
    }
}

/// Whether a start with this text begins another revision than the last.
pub(crate) fn is_another(store: &dyn StateStore, pipeline: &str, written: &Written) -> Result<bool, ReadError> {
    Ok(stored(store, pipeline)?.pop().is_some_and(|last| last.record.digest != written.digest))
}

/// Notes the revision that a start begins, if it is another one. `stood`: what the one before leaves; `back`: it goes back.
pub(crate) fn begin(
    store: &dyn StateStore,
    pipeline: &str,
    written: &Written,
    (stood, back): (&Checkpoint, Option<&Back>),
    now: Micros,
    changes: &mut Changes,
) -> Result<Begun, ReadError> {
    // What is rewritten of those before is not their texts.
    let mut revisions = stored(store, pipeline)?;
    if store.get(&allowed_key(pipeline))?.is_some() {
        changes.remove(allowed_key(pipeline));
    }
    if revisions.last().is_some_and(|last| last.record.digest == written.digest && back.is_none()) {
        if let Some(last) = last(store, pipeline)?.filter(|last| last.text != written.text) {
            // Other words for the same.
            let said = Revision { text: written.text.clone(), ..last };
            texts::put(store, changes, key(pipeline, said.number), &said)?;
        }
        return Ok(Begun::default());
    }
    let number = revisions.last().map_or(0, |last| last.record.number) + 1;
    if let Some(last) = revisions.last_mut().filter(|_| back.is_none() && stood.epoch > 0) {
        last.record.kept = keep(store, (pipeline, last.record.number), stood, written.most)?;
    }
    let mut kept = 0;
    for Stored { record: revision, .. } in revisions.iter_mut().rev() {
        // What it stood on was taken back with those that came after it.
        let undone = back.is_some_and(|back| revision.number > back.to);
        kept += usize::from(revision.kept.is_some() && !undone);
        if undone || kept > KEPT_STATES {
            revision.kept = None;
        }
    }
    let mut begun = Begun::default();
    for stored in &revisions {
        let Revision { number: its, kept, .. } = stored.record;
        let gone = its + KEPT_REVISIONS <= number;
        match gone {
            true => {
                texts::forget(store, changes, &key(pipeline, its), 0)?;
                changes.remove(key(pipeline, its));
            }
            false => checkpoint::put(changes, key(pipeline, its), stored),
        }
        if gone || kept.is_none() {
            begun.forgotten.push(state_prefix(pipeline, its));
        }
    }
    let Written { digest, text, by, .. } = written.clone();
    let back_to = back.map(|back| back.to);
    let began = Revision { pipeline: pipeline.to_owned(), number, began: now, digest, text, by, back_to, kept: None };
    texts::put(store, changes, key(pipeline, number), &began)?;
    texts::forget(store, changes, &back_key(pipeline), 0)?;
    changes.remove(back_key(pipeline));
    Ok(begun)
}
