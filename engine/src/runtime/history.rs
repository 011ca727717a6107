//! What happened before: inputs that are read to their end before the first one begins, without a gap and without a repeat; or beside it,
//! with a share of the time.
//!
//! Where the first input begins is committed with the first row of its history, not when its turn comes: what is written to it meanwhile is
//! read then. A history that was read to its end is over for good, whatever becomes of the place.

use std::time::Duration;

use syncline_record::{Fate, StepBooks};

use super::{
    Turn,
    job::{Job, JobError, JobSpec},
};
use crate::{
    checkpoint::{Checkpoint, HistoryNote},
    graph::{Beside, Graph},
    source::{Progress, Waits},
};

/// What came of a history since a commit.
pub(super) struct Past {
    rows: u64,
    dead: u64,
    /// The number of what was read to its end.
    over: Option<u64>,
    since: Duration,
    /// What an epoch took so far: for the rows beside the others, and for the others.
    spent: [Duration; 2],
}

impl Past {
    pub fn at(now: Duration) -> Self {
        Self { rows: 0, dead: 0, over: None, since: now, spent: [Duration::ZERO; 2] }
    }

    pub fn take(&mut self, graph: &Graph, input: usize, page: &StepBooks) {
        if graph.history.contains(&input) || graph.is_beside(input) {
            self.rows += page.rows_in;
            self.dead += page.fate(Fate::Dead);
        }
    }
}

impl Graph {
    fn is_beside(&self, input: usize) -> bool {
        self.beside.is_some_and(|beside| beside.input == input)
    }
}

impl Job {
    /// What is read beside the others now.
    pub(super) fn beside(&self) -> Option<Beside> {
        self.spec.graph.beside.filter(|beside| !self.over.contains(&beside.input) && !self.in_history())
    }

    /// Whether it has not had its share of this epoch.
    pub(super) fn has_share(&self, beside: Beside) -> bool {
        let [its, others] = self.past.spent;
        its * (100 - u32::from(beside.share.min(99))) < others * u32::from(beside.share)
    }

    pub(super) fn count_time(&mut self, input: usize, spent: Duration) {
        let whose = usize::from(!self.spec.graph.is_beside(input));
        self.past.spent[whose] += spent;
    }

    /// Everything of before is there; the others go on.
    pub(super) fn filled(&mut self, beside: Beside) {
        self.checkpoint
            .passed
            .extend(prints(&self.spec).filter(|(input, _)| *input == beside.input).map(|(_, print)| print));
        self.past.over = Some(beside.number);
        self.open_epoch();
        tracing::info!(pipeline = self.spec.pipeline, backfill = beside.number, "the backfill is read");
    }

    pub(super) fn in_history(&self) -> bool {
        self.spec.graph.history.iter().any(|input| !self.over.contains(input))
    }

    /// Has the first input say where it begins. `None`: it has.
    pub(super) fn note_beginning(&mut self) -> Result<Option<Turn>, JobError> {
        let now = self.ground.clock.now();
        Ok(match self.spec.graph.inputs[0].source.wait(now)? {
            Waits::Noted => None,
            Waits::NotYet => Some(Turn::Idle),
            Waits::Begun(rows) => {
                self.take(0, rows)?;
                Some(Turn::Worked)
            }
        })
    }

    /// The history is over: the first input goes on from where it was then.
    pub(super) fn cut_over(&mut self) {
        let history = &self.spec.graph.history;
        self.checkpoint
            .passed
            .extend(prints(&self.spec).filter(|(input, _)| history.contains(input)).map(|(_, print)| print));
        self.past.over = Some(0);
        // Also when no row comes for a while, it is known that this is over.
        self.open_epoch();
        let now = self.ground.clock.elapsed();
        // It could not give anything before, so it was not idle.
        let first = &self.spec.graph.inputs[0];
        for partition in first.source.partitions() {
            self.frontier.gave_rows(&first.qualified(&partition.to_string()), now);
        }
        tracing::info!(pipeline = self.spec.pipeline, "the history is read; what came since then follows");
    }

    /// How far the history is, as of the commit that is being made.
    pub(super) fn note_history(&mut self) {
        let now = self.ground.clock.elapsed();
        let Past { rows, dead, over, since, .. } = std::mem::replace(&mut self.past, Past::at(now));
        let reads = if self.in_history() { Some(0) } else { self.beside().map(|beside| beside.number) };
        // One that nobody reads now stays what it was.
        let Some(number) = over.or(reads) else { return };
        let known = self.checkpoint.history.take().filter(|note| note.number == number && note.ended.is_none());
        let noted = self.checkpoint.time;
        let mut note = known.unwrap_or_else(|| HistoryNote { number, began: noted, ..HistoryNote::default() });
        let spent = note.spent + now.saturating_sub(since).as_micros() as u64;
        let Progress { done, total, .. } = match self.spec.graph.beside.filter(|_| number > 0) {
            Some(beside) => self.progress_of(std::iter::once(beside.input)),
            None => self.progress_of(self.spec.graph.history.iter().copied()),
        };
        if let Some(total) = total {
            note.course.add(spent, total.saturating_sub(done));
        }
        let ended = over.map(|_| noted);
        let (rows, dead) = (note.rows + rows, note.dead + dead);
        self.checkpoint.history = Some(HistoryNote { rows, dead, spent, done, total, ended, noted, ..note });
    }
}

/// The inputs that are not read any more.
pub(super) fn passed<'a>(spec: &'a JobSpec, checkpoint: &'a Checkpoint) -> impl Iterator<Item = usize> + 'a {
    prints(spec).filter(|(_, print)| checkpoint.passed.contains(print)).map(|(input, _)| input)
}

fn prints(spec: &JobSpec) -> impl Iterator<Item = (usize, String)> + '_ {
    let print = |input: &usize| {
        let print = spec.fingerprints.inputs.get(&spec.graph.inputs[*input].step)?;
        Some((*input, print.clone()))
    };
    spec.graph.history.iter().chain(spec.graph.beside.iter().map(|beside| &beside.input)).filter_map(print)
}
