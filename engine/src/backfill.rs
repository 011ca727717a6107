//! What people ask a running pipeline to take in beside its sources: something that ends, through the same steps into the same state.
//!
//! | key | value |
//! |---|---|
//! | `b/<pipeline>` | [`Backfill`]: the newest one that was asked for |
//!
//! A pipeline with a changelog may be run by several processes, so what is asked of it stands on a board of them all ([`board`](crate::board)),
//! and the record here is a copy of that: for each task that takes a part, and for the pipeline.
//!
//! How far it is stands in the checkpoint ([`HistoryNote`]), with the rows. The pipeline reads this record when it starts, so whoever
//! writes it starts the pipeline again: one that is held or cancelled is in its graph no more, and its place is kept until it goes on.

use std::collections::BTreeSet;

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
    /// Where it was asked of all processes of the pipeline: what is here is a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<Shared>,
}

/// Of several tasks, which take a part.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shared {
    pub tasks: BTreeSet<String>,
    /// Those that have read theirs, as they said themselves.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub done: BTreeSet<String>,
    /// Those that other processes work on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub elsewhere: BTreeSet<String>,
}

impl Shared {
    pub fn of(tasks: impl IntoIterator<Item = String>) -> Self {
        Self { tasks: tasks.into_iter().collect(), ..Self::default() }
    }

    fn is_done(&self) -> bool {
        self.tasks.is_subset(&self.done)
    }
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
        let read = note.is_some_and(|note| self.is_read(note));
        match self.wish {
            _ if read || self.shared.as_ref().is_some_and(Shared::is_done) => State::Done,
            Wish::Read => State::Reading,
            Wish::Pause => State::Paused,
            Wish::Cancel => State::Cancelled,
        }
    }
}

impl Backfill {
    /// Whether this note says that it was read to its end: a note of what was read after it does too, of its text for example.
    pub fn is_read(&self, note: &HistoryNote) -> bool {
        note.newest_read() >= self.number
    }

    /// The copies of it that a folder keeps, by the name of what each is of: the tasks, and the pipeline.
    pub fn copies(&self, pipeline: &str) -> Vec<(String, Self)> {
        let Some(shared) = &self.shared else { return vec![(pipeline.to_owned(), self.clone())] };
        let of = |task: &String| {
            let only = |all: &BTreeSet<String>| all.iter().filter(|one| *one == task).cloned().collect();
            let (tasks, done) = (BTreeSet::from([task.clone()]), only(&shared.done));
            let shared = Some(Shared { tasks, done, elsewhere: only(&shared.elsewhere) });
            (task.clone(), Self { shared, ..self.clone() })
        };
        let whole = (!shared.tasks.contains(pipeline)).then(|| (pipeline.to_owned(), self.clone()));
        shared.tasks.iter().map(of).chain(whole).collect()
    }
}

/// What keys begin with.
pub const PREFIX: &[u8] = b"b/";

pub fn key(pipeline: &str) -> Vec<u8> {
    [PREFIX, pipeline.as_bytes()].concat()
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
        let mut asked =
            Backfill { number: 2, from: "'a/*.ndjson'".into(), share: 25, wish: Wish::Read, asked: 7, shared: None };
        write(&store, "p", &asked).unwrap();
        assert_eq!(standing(&store, "p").unwrap(), Some((asked.clone(), State::Reading)));
        assert_eq!(standing(&store, "q").unwrap(), None);
        let mut note = HistoryNote { number: 1, ended: Some(3), ..HistoryNote::default() };
        assert_eq!(asked.state(Some(&note)), State::Reading);
        note.number = 2;
        assert_eq!(asked.state(Some(&note)), State::Done);
        // Another history of its file is read now.
        let other = HistoryNote { number: 0, read: 2, ..HistoryNote::default() };
        assert_eq!(asked.state(Some(&other)), State::Done);
        // Whoever cancels it then comes too late.
        asked.wish = Wish::Cancel;
        assert_eq!((asked.state(Some(&note)), asked.state(None)), (State::Done, State::Cancelled));
    }
}
