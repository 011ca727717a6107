//! What people ask a running pipeline to take in beside its sources: something that ends, through the same steps into the same state.
//!
//! | key | value |
//! |---|---|
//! | `b/<pipeline>` | [`Backfill`]: the newest one that was asked for |
//!
//! How far it is stands in the checkpoint ([`HistoryNote`]), with the rows. The pipeline reads this record when it starts, so whoever
//! writes it starts the pipeline again: one that is held or cancelled is in its graph no more, and its place is kept until it goes on.

use serde::{Deserialize, Serialize};
use syncline_record::Micros;

use crate::{
    checkpoint::{self, HistoryNote, ReadError},
    store::{Changes, StateStore},
};

/// What people want of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wish {
    Read,
    Pause,
    /// What it has read stays; the rest is not read.
    Cancel,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// From 1; grows by one. Each reads its place from the beginning.
    pub number: u64,
    /// What it reads, in the words of a pipeline file: what stands in `history(…)`.
    pub from: String,
    /// What it may take of the time while the pipeline has other rows, in hundredths.
    pub share: u8,
    pub wish: Wish,
    pub asked: Micros,
}

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It is read, whenever somebody runs the pipeline.
    Reading,
    Paused,
    Cancelled,
    Done,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::Done => "done",
        }
    }

    /// Whether there is nothing more to do.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }
}

impl Backfill {
    /// `note`: of the pipeline's checkpoint.
    pub fn state(&self, note: Option<&HistoryNote>) -> State {
        let done = note.is_some_and(|note| note.number == self.number && note.ended.is_some());
        match self.wish {
            _ if done => State::Done,
            Wish::Read => State::Reading,
            Wish::Pause => State::Paused,
            Wish::Cancel => State::Cancelled,
        }
    }
}

pub fn key(pipeline: &str) -> Vec<u8> {
    [b"b/", pipeline.as_bytes()].concat()
}

/// The newest one of a pipeline.
pub fn read(store: &dyn StateStore, pipeline: &str) -> Result<Option<Backfill>, ReadError> {
    checkpoint::read(store, &key(pipeline))
}

/// The newest one, and how it stands.
pub fn standing(store: &dyn StateStore, pipeline: &str) -> Result<Option<(Backfill, State)>, ReadError> {
    let Some(backfill) = read(store, pipeline)? else { return Ok(None) };
    let note = checkpoint::read_checkpoint(store, pipeline)?.and_then(|checkpoint| checkpoint.history);
    let state = backfill.state(note.as_ref());
    Ok(Some((backfill, state)))
}

pub fn write(store: &dyn StateStore, pipeline: &str, backfill: &Backfill) -> Result<(), ReadError> {
    let mut changes = Changes::default();
    checkpoint::put(&mut changes, key(pipeline), backfill);
    store.apply(changes)?;
    Ok(store.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    #[test]
    fn it_is_done_when_its_own_rows_are_committed_and_not_another_ones() {
        let store = MemoryStore::new();
        let mut asked = Backfill { number: 2, from: "'a/*.ndjson'".into(), share: 25, wish: Wish::Read, asked: 7 };
        write(&store, "p", &asked).unwrap();
        assert_eq!(standing(&store, "p").unwrap(), Some((asked.clone(), State::Reading)));
        assert_eq!(standing(&store, "q").unwrap(), None);
        let mut note = HistoryNote { number: 1, ended: Some(3), ..HistoryNote::default() };
        assert_eq!(asked.state(Some(&note)), State::Reading);
        note.number = 2;
        assert_eq!(asked.state(Some(&note)), State::Done);
        // Whoever cancels it then comes too late.
        asked.wish = Wish::Cancel;
        assert_eq!((asked.state(Some(&note)), asked.state(None)), (State::Done, State::Cancelled));
    }
}
