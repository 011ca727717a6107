//! What people asked of a pipeline that several processes run ([`backfill`](crate::backfill)), where all of them find it.
//!
//! A board is a [`Changelog`] of its own, beside those of the tasks: whoever opens it to write fences the one who was about to, so what is
//! decided by what stands there is written while that stands there still, or not at all. Whoever only looks fences nobody. The last
//! record of a key holds, so brokers may throw the others away.
//!
//! | key | value |
//! |---|---|
//! | `b` | [`Backfill`]: the newest one that was asked for |
//! | `d`, the name of a task | the number of the newest one that it has read to its end |

pub mod conformance;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    backfill::{Backfill, Shared, State, Wish},
    changelog::{Changelog, ChangelogError, Record},
};

const ASKED: &[u8] = b"b";
const DONE: u8 = b'd';

/// Others may come between so often before somebody gives up.
const TRIES: u32 = 20;

/// What stands on a board.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    asked: Option<Backfill>,
    done: BTreeMap<String, u64>,
}

impl View {
    /// The newest one, with the tasks that have read it to its end.
    pub fn newest(&self) -> Option<Backfill> {
        let mut asked = self.asked.clone()?;
        let has_read = |task: &&String| self.done.get(*task) == Some(&asked.number);
        if let Some(shared) = &asked.shared {
            let done: BTreeSet<String> = shared.tasks.iter().filter(has_read).cloned().collect();
            asked.shared = Some(Shared { done, ..shared.clone() });
        }
        Some(asked)
    }

    /// The newest one, and how it stands.
    pub fn standing(&self) -> Option<(Backfill, State)> {
        let newest = self.newest()?;
        let state = newest.state(None);
        Some((newest, state))
    }

    /// The number of what the tasks have in their graphs; none where nothing is wanted of them.
    pub fn wanted(&self) -> Option<u64> {
        self.asked.as_ref().filter(|asked| asked.wish == Wish::Read).map(|asked| asked.number)
    }

    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), String> {
        let words = |error: serde_json::Error| error.to_string();
        match (key, value) {
            (ASKED, value) => self.asked = value.map(serde_json::from_slice).transpose().map_err(words)?,
            ([DONE, task @ ..], value) => {
                let task = String::from_utf8(task.to_vec()).map_err(|error| error.to_string())?;
                match value {
                    Some(value) => _ = self.done.insert(task, serde_json::from_slice(value).map_err(words)?),
                    None => _ = self.done.remove(&task),
                }
            }
            // Of a later version.
            _ => {}
        }
        Ok(())
    }

    /// As it is behind these records, which were made here.
    pub fn with(&self, records: &[Record]) -> Self {
        let mut with = self.clone();
        records.iter().for_each(|(key, value)| _ = with.take(key, value.as_deref()));
        with
    }
}

/// What a board says from now on.
pub fn asked(asked: &Backfill) -> Record {
    let mut asked = asked.clone();
    if let Some(shared) = &mut asked.shared {
        // Tasks say so themselves.
        (shared.done, shared.elsewhere) = Default::default();
    }
    (ASKED.to_vec(), serde_json::to_vec(&asked).ok())
}

/// That a task has read one to its end.
pub fn done(task: &str, number: u64) -> Record {
    ([&[DONE], task.as_bytes()].concat(), Some(number.to_string().into_bytes()))
}

/// That a task has read nothing: it starts over.
pub fn undone(task: &str) -> Record {
    ([&[DONE], task.as_bytes()].concat(), None)
}

/// A board, for whoever looks at it again and again.
pub struct Board {
    changelog: Box<dyn Changelog>,
    /// Everything before this record was taken.
    next: u64,
    view: View,
}

impl Board {
    pub fn new(changelog: Box<dyn Changelog>) -> Self {
        Self { changelog, next: 0, view: View::default() }
    }

    /// What stands there now, as far as that is decided.
    pub fn look(&mut self) -> Result<&View, ChangelogError> {
        let span = self.changelog.look()?;
        self.read(span.oldest, span.end)
    }

    fn read(&mut self, oldest: u64, end: u64) -> Result<&View, ChangelogError> {
        // Another one of this name, or one that was emptied.
        if end < self.next || oldest > self.next {
            (self.next, self.view) = (oldest, View::default());
        }
        let (name, view) = (self.changelog.name().to_owned(), &mut self.view);
        self.changelog.read(self.next, end, &mut |offset, key, value| {
            view.take(key, value).map_err(|detail| ChangelogError::Damaged { name: name.clone(), offset, detail })
        })?;
        self.next = end;
        Ok(&self.view)
    }

    /// Shuts out whoever is about to write, and reads all that was written before.
    fn take_over(&mut self) -> Result<&View, ChangelogError> {
        let span = self.changelog.open()?;
        self.read(span.oldest, span.end)
    }
}

/// Writes what `decide` makes of what stands there; nothing, where that is nothing. Whoever decides at the same moment comes before or
/// after, and whoever comes after decides by what the first has written. `wait`: before it is tried again. What stands there then.
pub fn settle<E: From<ChangelogError>>(
    open: &mut dyn FnMut() -> Result<Box<dyn Changelog>, ChangelogError>,
    decide: &mut dyn FnMut(&View) -> Result<Vec<Record>, E>,
    wait: &mut dyn FnMut(u32),
) -> Result<View, E> {
    let mut sent: Option<Vec<Record>> = None;
    let mut tries = 0;
    loop {
        tries += 1;
        let mut board = Board::new(open()?);
        let view = match board.take_over() {
            Ok(view) => view.clone(),
            Err(ChangelogError::Fenced { .. }) if tries < TRIES => {
                wait(tries);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        // Nobody had told whether it was written.
        if sent.as_ref().is_some_and(|sent| view.with(sent) == view) {
            return Ok(view);
        }
        let records = decide(&view)?;
        if records.is_empty() {
            return Ok(view);
        }
        match board.changelog.write(&records, &[]) {
            Ok(_) => return Ok(view.with(&records)),
            Err(ChangelogError::Fenced { .. } | ChangelogError::Unknown { .. }) if tries < TRIES => {
                sent = Some(records);
                wait(tries);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changelog::memory::MemoryChangelogs;

    #[test]
    fn a_changelog_in_memory_is_a_board() {
        conformance::boards(MemoryChangelogs::default);
    }

    #[test]
    fn who_is_not_told_whether_it_was_written_neither_asks_twice_nor_believes_it() {
        for written in [true, false] {
            let board = MemoryChangelogs::default();
            board.lose_answer(written);
            let (mut asks, mut waits) = (0, 0);
            let view = conformance::settled(
                &board,
                &mut |view| {
                    asks += 1;
                    conformance::next(view, "a")
                },
                &mut |_| waits += 1,
            );
            let newest = view.expect("it is written").newest().expect("one");
            assert_eq!((newest.number, asks, waits), (1, if written { 1 } else { 2 }, 1));
            assert_eq!(Board::new(Box::new(board.writer())).look().map(View::wanted), Ok(Some(1)));
        }
    }
}
