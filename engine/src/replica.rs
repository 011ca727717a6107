//! The store and the topics of one task, of which a changelog is the truth and this machine's folder a copy.
//!
//! What is applied waits in memory, where readers find it. A flush writes it to the changelog, all of it or nothing: **that is the commit**.
//! Then the copy follows, in one batch with the place up to which it is one. So a copy is never ahead of the changelog, and one that lags
//! behind, is torn or is not there is brought up by reading (`restore`).
//!
//! Frames of topics go the same way. Those of a transaction go with the checkpoint that names them; one that is published is written before
//! it is shown. The ends that a checkpoint names are numbers of records ([`End::at`]): where the bytes lie differs from machine to machine.
//!
//! | first byte of a key | what follows | value |
//! |---|---|---|
//! | `k` | a key of the store | its value |
//! | `l` | length of a topic's name (2 bytes), the name, number of a frame's first record (8), number of the part (2) | kind, count, time, how many parts, a part of the body |
//! | `e` | a topic's name | nothing of it that was written before holds: number of the next record, which is 0 (8) |
//! | `t` | a topic's name | number of the oldest record that is not let go of (8) |
//! | `i` | nothing; the first record | the changelog's id: another one under the same name has another |
//!
//! Who goes back to what a revision left ([`revision`]) writes pairs and positions of that moment with the commit of its start, and takes out the frames
//! that were written since: one transaction, so that a machine finds the one state or the other.
//!
//! That a topic was emptied has a key of its own, since brokers may throw away all but the last record of a key: frames of before would else be
//! the topic's again. All numbers are big-endian. What a hop takes to other tasks goes with the checkpoint too, into topics beside the changelog: nothing of it lies
//! here.

pub mod conformance;
mod frames;
mod restore;
mod topics;
mod witnessed;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    changelog::{Changelog, ChangelogError, Record, Sent, Span},
    checkpoint,
    clock::Clock,
    log::{Log, NewFrame},
    ownership::Ownership,
    revision,
    runtime::Ground,
    store::{Changes, StateStore, StoreError},
};

use self::topics::Topics;
pub use self::witnessed::Witnessed;

const PAIR: u8 = b'k';
const FRAME: u8 = b'l';
const EMPTIED: u8 = b'e';
const OLDEST: u8 = b't';
const IDENTITY: u8 = b'i';

/// What of a folder is the task's.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Where the place of the copy is noted.
    place: Vec<u8>,
    /// What names the ends of the topics: frames go with it.
    checkpoint: Vec<u8>,
    keys: Vec<Vec<u8>>,
    prefixes: Vec<Vec<u8>>,
    /// What the names of its topics begin with.
    topics: String,
}

impl Scope {
    pub fn of(pipeline: &str) -> Self {
        let (keys, mut prefixes) = checkpoint::keys_of(pipeline);
        // Its revisions, and what they left. That it goes back was decided here, and is nobody else's.
        prefixes.extend(revision::keys_of(pipeline).1);
        Self {
            place: checkpoint::place_key(pipeline),
            checkpoint: checkpoint::checkpoint_key(pipeline),
            keys,
            prefixes,
            topics: format!("pipeline/{pipeline}/"),
        }
    }
}

/// How far the copy is one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// Of the changelog.
    id: String,
    /// The copy has everything before this record.
    next: u64,
    time: Micros,
    /// It is being made, or was changed before the changelog: it is none yet.
    unfinished: bool,
    /// By topic: number of the oldest record that is not let go of.
    oldest: BTreeMap<String, u64>,
}

/// What is committed together.
#[derive(Default)]
struct Batch {
    /// Topics of which nothing holds that was written before.
    emptied: BTreeSet<String>,
    /// By topic: number of the oldest record that is not let go of. Read before what is new in them.
    moved: BTreeMap<String, u64>,
    pairs: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    frames: Vec<Record>,
    /// What of the frames is published: shown as soon as it is written.
    published: Vec<(String, Vec<NewFrame>)>,
    /// What goes to other tasks (`hop`).
    beside: Vec<Sent>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.emptied.is_empty() && self.moved.is_empty() && self.pairs.is_empty() && self.frames.is_empty()
    }

    /// Removals first: a key that is both removed and put is there afterwards.
    fn add(&mut self, changes: Changes) {
        self.pairs.extend(changes.removals.into_iter().map(|key| (key, None)));
        self.pairs.extend(changes.puts.into_iter().map(|(key, value)| (key, Some(value))));
    }

    fn records(&self) -> Vec<Record> {
        let pairs = self.pairs.iter().map(|(key, value)| ([&[PAIR], key.as_slice()].concat(), value.clone()));
        let head = |kind: u8, topic: &String, number: u64| -> Record {
            ([&[kind], topic.as_bytes()].concat(), Some(number.to_be_bytes().to_vec()))
        };
        let emptied = self.emptied.iter().map(|topic| head(EMPTIED, topic, 0));
        let moved = self.moved.iter().map(|(topic, oldest)| head(OLDEST, topic, *oldest));
        emptied.chain(moved).chain(pairs).chain(self.frames.iter().cloned()).collect()
    }

    fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        for (key, value) in &self.pairs {
            match value {
                Some(value) => changes.put(key.as_slice(), value.as_slice()),
                None => changes.remove(key.as_slice()),
            }
        }
        changes
    }
}

#[derive(Default)]
struct State {
    /// Applied, and not written.
    pending: Batch,
    /// Being written; the copy does not have it yet.
    writing: Option<Arc<Batch>>,
    place: Place,
    topics: Topics,
    /// Why nothing goes on: drop it, and open another.
    failed: Option<StoreError>,
}

impl State {
    /// What readers see of a key before they look into the copy.
    fn newer(&self, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let writing = self.writing.as_deref().and_then(|batch| batch.pairs.get(key));
        self.pending.pairs.get(key).or(writing)
    }

    /// Number of the oldest record of a topic that is not let go of, whether or not the changelog has heard of it. None: nor has it of this
    /// life of the topic, in which there is nothing to let go of then.
    fn oldest(&self, topic: &str) -> Option<u64> {
        for batch in [Some(&self.pending), self.writing.as_deref()].into_iter().flatten() {
            if let Some(oldest) = batch.moved.get(topic) {
                return Some(*oldest);
            }
            if batch.emptied.contains(topic) {
                return None;
            }
        }
        Some(self.place.oldest.get(topic).copied().unwrap_or_default())
    }

    fn check(&self) -> Result<(), StoreError> {
        self.failed.clone().map_or(Ok(()), Err)
    }
}

/// For a task without a changelog: what its folder has may not be a copy of one, or the two would part. `anew`: it may be thrown away.
pub fn leave(ground: &Ground, scope: &Scope, anew: bool) -> Result<(), StoreError> {
    if ground.store.get(&scope.place)?.is_none() {
        return Ok(());
    }
    if !anew {
        let detail = "what is kept here is a copy of one, and the pipeline names none".to_owned();
        return Err(ChangelogError::Foreign { name: "of another start".to_owned(), detail }.into());
    }
    restore::throw_away(ground, scope, &Place::default())?;
    let mut changes = Changes::default();
    changes.remove(scope.place.clone());
    ground.store.apply(changes)?;
    ground.store.flush()
}

/// Keeps the copy of a task that another process works on.
pub struct Follower {
    scope: Scope,
    changelog: Box<dyn Changelog>,
    /// The id of the changelog, and what it had when it was looked at last.
    known: Option<(String, Span)>,
}

impl Follower {
    pub fn new(scope: Scope, changelog: Box<dyn Changelog>) -> Self {
        Self { scope, changelog, known: None }
    }

    /// Brings it up to its changelog, as far as that is decided. Nobody is fenced.
    pub fn follow(&mut self, ground: &Ground) -> Result<(), StoreError> {
        restore::follow(ground, &self.scope, &mut *self.changelog, &mut self.known)
    }
}

pub struct Replica {
    store: Arc<dyn StateStore>,
    log: Arc<dyn Log>,
    clock: Arc<dyn Clock>,
    scope: Scope,
    state: Mutex<State>,
    /// Locked for a whole transaction. Whoever needs the state too takes it second.
    changelog: Mutex<Box<dyn Changelog>>,
    ownership: Option<Arc<dyn Ownership>>,
    /// Locked while something is published: numbers are given in the order in which they are written.
    publishing: Mutex<()>,
}

impl Replica {
    /// The ground of a task that stands on its changelog: brings the copy in `ground` up to it first. `anew`: what the folder has and the
    /// changelog has not may be thrown away.
    pub fn open(
        ground: &Ground,
        scope: Scope,
        changelog: Box<dyn Changelog>,
        ownership: Option<Arc<dyn Ownership>>,
        anew: bool,
    ) -> Result<Arc<Replica>, StoreError> {
        let (mut changelog, place) = restore::bring_up(ground, &scope, changelog, anew)?;
        changelog.copied();
        let topics = Topics::found(ground.log.topics(&scope.topics)?);
        Ok(Arc::new(Replica {
            store: ground.store.clone(),
            log: ground.log.clone(),
            clock: ground.clock.clone(),
            scope,
            state: Mutex::new(State { place, topics, ..State::default() }),
            changelog: Mutex::new(changelog),
            ownership,
            publishing: Mutex::default(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Frames that were prepared go with the next flush. The checkpoint does it; who has none calls this.
    fn seal(state: &mut State) {
        let frames = state.topics.take_prepared();
        state.pending.frames.extend(frames);
        let leaving = state.topics.take_leaving();
        state.pending.beside.extend(leaving);
    }

    /// Pairs below one prefix, what waits in memory over what the copy has; false when `each` wants no more.
    fn scan_one(
        &self,
        state: &State,
        prefix: &[u8],
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<bool, StoreError> {
        let mut newer: BTreeMap<&[u8], Option<&[u8]>> = BTreeMap::new();
        for batch in state.writing.as_deref().into_iter().chain([&state.pending]) {
            let below = batch.pairs.range::<[u8], _>((Bound::Included(prefix), Bound::Unbounded));
            let below = below.take_while(|(key, _)| key.starts_with(prefix));
            newer.extend(below.map(|(key, value)| (key.as_slice(), value.as_deref())));
        }
        let mut newer = newer.into_iter().peekable();
        let mut goes_on = true;
        self.store.scan(prefix, &mut |key, value| {
            while let Some((before, value)) = newer.next_if(|(newer, _)| *newer < key) {
                goes_on = value.is_none_or(|value| each(before, value));
                if !goes_on {
                    return false;
                }
            }
            goes_on = match newer.next_if(|(newer, _)| *newer == key) {
                Some((_, value)) => value.is_none_or(|value| each(key, value)),
                // How far the copy is one is nothing that it holds.
                None => *key == self.scope.place || each(key, value),
            };
            goes_on
        })?;
        for (key, value) in newer {
            goes_on = goes_on && value.is_none_or(|value| each(key, value));
        }
        Ok(goes_on)
    }

    /// What the copy has is changed before the changelog hears of it.
    fn no_copy_until_the_next_flush(&self) -> Result<(), StoreError> {
        let state = self.state();
        let mut changes = Changes::default();
        checkpoint::put(&mut changes, self.scope.place.clone(), &Place { unfinished: true, ..state.place.clone() });
        self.store.apply(changes)?;
        self.store.flush()
    }

    fn fail(&self, error: StoreError) -> StoreError {
        self.state().failed.get_or_insert(error).clone()
    }
}

impl StateStore for Replica {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.state();
        state.check()?;
        match state.newer(key) {
            Some(value) => Ok(value.clone()),
            None => self.store.get(key),
        }
    }

    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        // Locked to the end: no batch may reach the copy meanwhile.
        let state = self.state();
        state.check()?;
        for prefix in prefixes {
            if !self.scan_one(&state, prefix, each)? {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        let mut state = self.state();
        state.check()?;
        if changes.puts.iter().any(|(key, _)| *key == self.scope.checkpoint) {
            Self::seal(&mut state);
        }
        state.pending.add(changes);
        Ok(())
    }

    /// One transaction of the changelog, with everything that was applied before, by whomever.
    fn flush(&self) -> Result<(), StoreError> {
        let mut changelog = self.changelog.lock().unwrap_or_else(PoisonError::into_inner);
        let (batch, published) = {
            let mut state = self.state();
            state.check()?;
            if state.pending.is_empty() {
                return Ok(());
            }
            let published = std::mem::take(&mut state.pending.published);
            let batch = Arc::new(std::mem::take(&mut state.pending));
            state.writing = Some(batch.clone());
            (batch, published)
        };
        let next = changelog.write(&batch.records(), &batch.beside).map_err(|error| self.fail(error.into()))?;
        // Before the place moves past it: a start goes on from there.
        for (topic, frames) in published {
            self.log.publish(&topic, frames).map_err(|error| self.fail(error.into()))?;
        }
        let mut state = self.state();
        (state.place.next, state.place.time) = (next, self.clock.now());
        state.place.oldest.retain(|topic, _| !batch.emptied.contains(topic));
        state.place.oldest.extend(batch.moved.clone());
        let mut changes = batch.changes();
        checkpoint::put(&mut changes, self.scope.place.clone(), &state.place);
        // A copy that lags behind is one all the same, so it needs no flush.
        if let Err(error) = self.store.apply(changes) {
            return Err(state.failed.get_or_insert(error).clone());
        }
        state.writing = None;
        changelog.copied();
        Ok(())
    }

    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError> {
        let mut changes = Changes::default();
        self.scan(prefix, &mut |key, _| {
            changes.remove(key);
            true
        })?;
        self.apply(changes)
    }

    fn size_on_disk(&self) -> u64 {
        self.store.size_on_disk()
    }
}
