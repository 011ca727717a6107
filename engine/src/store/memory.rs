//! The store of the simulation: a map that can lose what a crash loses, and fail where it is told to.
//!
//! Batches that were applied and not flushed are lost in a crash from the end: any number of the newest, none out of order, none
//! in part. The same value is the store before and after [`crash`](MemoryStore::crash), as a folder would be.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Changes, StateStore, StoreError};
use crate::clock::{Rng, SeededRng};

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
pub struct MemoryStore(Mutex<State>);

#[derive(Default)]
struct State {
    durable: Pairs,
    live: Pairs,
    /// Applied since the last flush, in order.
    unflushed: Vec<Changes>,
    /// How many calls still succeed, and what the one after them answers.
    fault: Option<(u64, StoreError)>,
    dead: bool,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// The next `calls` calls succeed, the one after them fails with `error` and changes nothing. With
    /// [`StoreError::Crashed`] every later call fails too, until [`crash`](Self::crash), and the batch that met it may be found
    /// applied then. Other errors are met once.
    pub fn fail_after(&self, calls: u64, error: StoreError) {
        self.state().fault = Some((calls, error));
    }

    /// The process died and a new one opens the store: batches after the last flush are there up to some number drawn from
    /// `rng`. Faults are forgotten.
    pub fn crash(&self, rng: u64) {
        let mut state = self.state();
        let batches = std::mem::take(&mut state.unflushed);
        let kept = SeededRng::from_seed(rng).next() as usize % (batches.len() + 1);
        let mut pairs = state.durable.clone();
        batches.into_iter().take(kept).for_each(|batch| change(&mut pairs, batch));
        *state = State { durable: pairs.clone(), live: pairs, ..State::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let mut state = self.state();
        state.count()?;
        Ok(state)
    }

    fn write(&self, changes: impl FnOnce(&Pairs) -> Changes) -> Result<(), StoreError> {
        let mut state = self.state();
        let alive = !state.dead;
        let counted = state.count();
        let changes = changes(&state.live);
        if counted.is_ok() {
            change(&mut state.live, changes.clone());
        }
        if alive && (counted.is_ok() || state.dead) {
            state.unflushed.push(changes);
        }
        counted
    }
}

impl State {
    /// Counts one call, and fails when it is this one's turn.
    fn count(&mut self) -> Result<(), StoreError> {
        if self.dead {
            return Err(StoreError::Crashed);
        }
        match self.fault.take() {
            Some((0, error)) => {
                self.dead = error == StoreError::Crashed;
                Err(error)
            }
            fault => {
                self.fault = fault.map(|(calls, error)| (calls - 1, error));
                Ok(())
            }
        }
    }
}

impl StateStore for MemoryStore {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let state = self.call()?;
        Ok(state.live.get(key).cloned())
    }

    fn scan_all(&self, prefixes: &[&[u8]], each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let state = self.call()?;
        for (key, value) in prefixes.iter().flat_map(|prefix| below(&state.live, prefix)) {
            if !each(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&self, changes: Changes) -> Result<(), StoreError> {
        self.write(|_| changes)
    }

    fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.call()?;
        let State { durable, unflushed, .. } = &mut *state;
        unflushed.drain(..).for_each(|batch| change(durable, batch));
        Ok(())
    }

    fn wipe(&self, prefix: &[u8]) -> Result<(), StoreError> {
        self.write(|live| {
            let removals = below(live, prefix).map(|(key, _)| key.clone()).collect();
            Changes { puts: Vec::new(), removals }
        })
    }

    fn size_on_disk(&self) -> u64 {
        0
    }
}

/// Removals first: a key that is both removed and put is there afterwards.
fn change(pairs: &mut Pairs, changes: Changes) {
    for key in changes.removals {
        pairs.remove(&key);
    }
    pairs.extend(changes.puts);
}

fn below<'p>(pairs: &'p Pairs, prefix: &'p [u8]) -> impl Iterator<Item = (&'p Vec<u8>, &'p Vec<u8>)> {
    let from = (Bound::Included(prefix), Bound::Unbounded);
    pairs.range::<[u8], _>(from).take_while(move |(key, _)| key.starts_with(prefix))
}

#[cfg(test)]
mod tests;
