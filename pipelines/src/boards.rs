//! What people asked of pipelines with a changelog, as this process last saw it on their boards (`engine/src/board.rs`), and with what of it
//! its tasks began.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use syncline_dsl::plan::Place;
use syncline_engine::{
    board::{Board, View},
    changelog::{Changelog, ChangelogError},
};

/// By the names of pipelines in their files.
#[derive(Default)]
pub struct Boards(Mutex<BTreeMap<String, Arc<Seat>>>);

/// Of one pipeline. Who looks holds the board, which may take as long as brokers do; who only wants to know what was seen does not wait for him.
#[derive(Default)]
struct Seat {
    board: Mutex<Option<(Place, Board)>>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// The number of what its tasks are to read.
    wanted: Option<u64>,
    /// What each task of this process began with.
    begun: BTreeMap<String, Option<u64>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Boards {
    fn seat(&self, pipeline: &str) -> Arc<Seat> {
        locked(&self.0).entry(pipeline.to_owned()).or_default().clone()
    }

    /// Looks at the board of a pipeline, keeps its client for the next look, and has `seen` note what stands there before anybody sees what
    /// comes later. `begins`: the task that begins with it.
    pub fn look(
        &self,
        (pipeline, place): (&str, Place),
        begins: Option<&str>,
        open: impl FnOnce() -> Result<Box<dyn Changelog>, ChangelogError>,
        seen: impl FnOnce(&View),
    ) -> Result<View, ChangelogError> {
        let seat = self.seat(pipeline);
        let mut held = locked(&seat.board);
        let (place, mut board) = match held.take() {
            Some((known, board)) if known == place => (known, board),
            _ => (place, Board::new(open()?)),
        };
        let looked = board.look().cloned();
        // A client that met trouble makes another one by itself; what was read stays.
        *held = Some((place, board));
        let view = looked?;
        seen(&view);
        let mut known = locked(&seat.known);
        known.wanted = view.wanted();
        if let Some(task) = begins {
            known.begun.insert(task.to_owned(), view.wanted());
        }
        Ok(view)
    }

    /// The tasks of this process that began with something else than what is wanted of them now.
    pub fn behind(&self, pipeline: &str) -> Vec<String> {
        let seat = self.seat(pipeline);
        let known = locked(&seat.known);
        known.begun.iter().filter(|(_, begun)| **begun != known.wanted).map(|(task, _)| task.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use syncline_engine::{
        board::{self, asked},
        changelog::memory::MemoryChangelogs,
    };

    use super::*;

    #[test]
    fn a_task_is_behind_until_it_begins_with_what_is_wanted() {
        let (boards, cluster) = (Boards::default(), MemoryChangelogs::default());
        let place = || Place { connector: "kafka".into(), text: "b".into(), positional: vec![], named: vec![] };
        let look = |task| {
            let open = || -> Result<Box<dyn Changelog>, ChangelogError> { Ok(Box::new(cluster.writer())) };
            boards.look(("p", place()), task, open, |_| {}).unwrap().wanted()
        };
        let settle = |wish: Option<syncline_engine::backfill::Wish>| {
            let mut open = || -> Result<Box<dyn Changelog>, ChangelogError> { Ok(Box::new(cluster.writer())) };
            let mut decide = |view: &View| match wish {
                None => board::conformance::next(view, "'a'"),
                Some(wish) => {
                    let mut newest = view.newest().expect("one");
                    newest.wish = wish;
                    Ok(vec![asked(&newest)])
                }
            };
            board::settle(&mut open, &mut decide, &mut |_| {}).unwrap();
        };
        assert_eq!((look(Some("p.0")), look(Some("p.1"))), (None, None));
        settle(None);
        assert_eq!(boards.behind("p"), [""; 0], "nobody has looked");
        assert_eq!((look(None), boards.behind("p")), (Some(1), vec!["p.0".to_owned(), "p.1".to_owned()]));
        assert_eq!((look(Some("p.1")), boards.behind("p")), (Some(1), vec!["p.0".to_owned()]));
        settle(Some(syncline_engine::backfill::Wish::Pause));
        assert_eq!((look(None), boards.behind("p")), (None, vec!["p.1".to_owned()]));
    }
}
