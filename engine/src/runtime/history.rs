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
    checkpoint::{Checkpoint, Course, HistoryNote},
    graph::{Beside, Graph},
    source::{Progress, Waits},
};

/// What came of a history since a commit.
pub(super) struct Past {
    rows: u64,
    dead: u64,
    bytes: u64,
    busy: Duration,
    /// What goes through the steps now is of it.
    taken: bool,
    /// Nothing of this start was noted yet.
    new: bool,
    /// The number of what was read to its end.
    over: Option<u64>,
    /// It was beside the others, and nothing waited for it.
    filled: bool,
    /// The first input had nothing more behind its history.
    caught: bool,
    since: Duration,
    /// What an epoch took so far: for the rows beside the others, and for the others.
    spent: [Duration; 2],
}

impl Past {
    pub fn at(now: Duration) -> Self {
        let (busy, spent) = (Duration::ZERO, [Duration::ZERO; 2]);
        Self {
            rows: 0,
            dead: 0,
            bytes: 0,
            busy,
            taken: false,
            new: true,
            over: None,
            filled: false,
            caught: false,
            since: now,
            spent,
        }
    }

    /// Rows come in, with so many bytes.
    pub fn take(&mut self, graph: &Graph, input: usize, rows: u64, bytes: usize) {
        self.taken = graph.history.contains(&input) || graph.is_beside(input);
        if self.taken {
            self.rows += rows;
            self.bytes += bytes as u64;
        }
    }

    /// A step has said what became of rows.
    pub fn enter(&mut self, page: &StepBooks) {
        if self.taken {
            self.dead += page.fate(Fate::Dead);
        }
    }

    /// They are through.
    pub fn let_go(&mut self) {
        self.taken = false;
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

    /// `turn`: whether it had something; else it was only asked, and that cost nobody anything.
    pub(super) fn count_time(&mut self, input: usize, turn: Turn, spent: Duration) {
        let graph = &self.spec.graph;
        let beside = graph.is_beside(input);
        self.past.spent[usize::from(!beside)] += spent;
        if turn == Turn::Worked && (beside || graph.history.contains(&input)) {
            self.past.busy += spent;
        }
    }

    /// Everything of before is there; the others go on.
    pub(super) fn filled(&mut self, beside: Beside) {
        self.checkpoint
            .passed
            .extend(prints(&self.spec).filter(|(input, _)| *input == beside.input).map(|(_, print)| print));
        (self.past.over, self.past.filled) = (Some(beside.number), true);
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

    /// An input has nothing more now. The first one behind its history: what came meanwhile is read too.
    pub(super) fn came_up(&mut self, input: usize) {
        let cut = self.past.over.is_some() && !self.past.filled;
        let follows = cut || self.checkpoint.history.as_ref().is_some_and(HistoryNote::is_catching_up);
        let behind = |job: &Self| job.spec.graph.inputs[0].source.behind().unwrap_or(0);
        if input == 0 && follows && !self.past.caught && behind(self) == 0 {
            self.past.caught = true;
            // Also when no row comes for a while.
            self.open_epoch();
        }
    }

    /// How far the first input is that follows its history.
    fn note_catching_up(&mut self, caught: bool) {
        let (noted, left) = (self.checkpoint.time, self.spec.graph.inputs[0].source.behind());
        let Some(note) = self.checkpoint.history.as_mut().filter(|note| note.is_catching_up()) else { return };
        note.noted = noted;
        note.caught = caught.then_some(noted);
        if let (Some(left), Some(ended)) = (left, note.ended) {
            note.course.add(noted.saturating_sub(ended).max(0) as u64, left);
        }
    }

    /// How far the history is, as of the commit that is being made.
    pub(super) fn note_history(&mut self) {
        let now = self.ground.clock.elapsed();
        let next = Past { new: false, ..Past::at(now) };
        let past = std::mem::replace(&mut self.past, next);
        let Past { rows, dead, bytes, busy, new, over, filled, caught, since, .. } = past;
        let reads = if self.in_history() { Some(0) } else { self.beside().map(|beside| beside.number) };
        let beside = self.spec.graph.beside.filter(|_| filled || over.is_none() && !self.in_history());
        // One that nobody reads now stays what it was.
        let Some(number) = over.or(reads) else { return self.note_catching_up(caught) };
        let before = self.checkpoint.history.take();
        let read = before.as_ref().map_or(0, HistoryNote::newest_read);
        let known = before.filter(|note| note.number == number && note.ended.is_none());
        let noted = self.checkpoint.time;
        let mut note = known.unwrap_or_else(|| HistoryNote { number, read, began: noted, ..HistoryNote::default() });
        let spent = note.spent + now.saturating_sub(since).as_micros() as u64;
        let told = match beside {
            // One that could not be opened knows of nothing.
            Some(_) if self.ailing.is_some() => {
                let records_left = note.records.map(|all| all.saturating_sub(note.rows));
                Progress { done: note.done, total: note.total, records_left, ..Progress::default() }
            }
            Some(beside) => self.progress_of(std::iter::once(beside.input)),
            None => self.progress_of(self.spec.graph.history.iter().copied()),
        };
        let Progress { done, total, records_left, .. } = told;
        note.rows += rows;
        note.dead += dead;
        note.bytes += bytes;
        note.busy += busy.as_micros() as u64;
        note.starts += u64::from(new);
        note.records = records_left.filter(|_| total.is_none()).map(|left| note.rows + left);
        if let Some(left) = total.map(|total| total.saturating_sub(done)).or(records_left) {
            note.course.add(spent, left);
        }
        let ended = over.map(|_| noted);
        if over.is_some() {
            note.course = Course::default();
        }
        note.caught = ended.filter(|_| caught || filled);
        self.checkpoint.history = Some(HistoryNote { spent, done, total, ended, noted, ..note });
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
