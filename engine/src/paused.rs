//! Pipelines that somebody has paused: nobody runs them from this folder, over restarts too, until they are resumed.
//!
//! | key | value |
//! |---|---|
//! | `y/<pipeline>` | [`Paused`] |
//!
//! Only whoever pauses and resumes writes it, so it takes no part in commits.

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, ReadError},
    store::{Changes, StateStore, StoreError},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub at: Micros,
}

pub fn key(pipeline: &str) -> Vec<u8> {
    [b"y/", pipeline.as_bytes()].concat()
}

pub fn read(store: &dyn StateStore, pipeline: &str) -> Result<Option<Paused>, ReadError> {
    checkpoint::read(store, &key(pipeline))
}

/// Durable when it returns. One that is paused already stays so since then.
pub fn pause(store: &dyn StateStore, pipeline: &str, at: Micros) -> Result<(), ReadError> {
    if read(store, pipeline)?.is_some() {
        return Ok(());
    }
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, key(pipeline), &Paused { at });
    store.apply(changes)?;
    Ok(store.flush()?)
}

/// Durable when it returns.
pub fn resume(store: &dyn StateStore, pipeline: &str) -> Result<(), StoreError> {
    if store.get(&key(pipeline))?.is_none() {
        return Ok(());
    }
    let mut changes = Changes::default();
    changes.remove(key(pipeline));
    store.apply(changes)?;
    store.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn a_pipeline_is_paused_since_the_first_time_it_was_said_until_it_is_resumed() {
        let store = MemoryStore::new();
        pause(&store, "p", 3).unwrap();
        pause(&store, "p", 5).unwrap();
        assert_eq!((read(&store, "p").unwrap(), read(&store, "p2").unwrap()), (Some(Paused { at: 3 }), None));
        resume(&store, "p").unwrap();
        resume(&store, "p").unwrap();
        assert_eq!(read(&store, "p").unwrap(), None);
    }
}
