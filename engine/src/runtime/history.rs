//! What happened before: inputs that are read to their end before the first one begins, without a gap and without a repeat.
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
    graph::Graph,
    source::Waits,
};

/// What came of a history since a commit.
pub(super) struct Past {
    rows: u64,
    dead: u64,
    /// It was read to its end.
    over: bool,
    since: Duration,
}

impl Past {
    pub fn at(now: Duration) -> Self {
        Self { rows: 0, dead: 0, over: false, since: now }
    }

    pub fn take(&mut self, graph: &Graph, input: usize, page: &StepBooks) {
        if graph.history.contains(&input) {
            self.rows += page.rows_in;
            self.dead += page.fate(Fate::Dead);
        }
    }
}

impl Job {
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
        self.checkpoint.passed.extend(prints(&self.spec).map(|(_, print)| print));
        self.past.over = true;
        self.open.touched = true;
        let now = self.ground.clock.elapsed();
        // It could not give anything before, so it was not idle.
        let first = &self.spec.graph.inputs[0];
        for partition in first.source.partitions() {
            self.frontier.gave_rows(&first.qualified(&partition.to_string()), now);
        }
        tracing::info!(pipeline = self.spec.pipeline, "the history is read; what came since then follows");
    }
}

impl Job {
    /// How far the history is, as of the commit that is being made.
    pub(super) fn note_history(&mut self) {
        let now = self.ground.clock.elapsed();
        let Past { rows, dead, over, since } = std::mem::replace(&mut self.past, Past::at(now));
        let reads = self.in_history();
        let known = self.checkpoint.history.take();
        let note = match known {
            Some(note) if note.ended.is_none() => note,
            ended if !reads && !over => {
                self.checkpoint.history = ended;
                return;
            }
            // Another one has begun.
            _ => HistoryNote { began: self.checkpoint.time, ..HistoryNote::default() },
        };
        let spent = note.spent + now.saturating_sub(since).as_micros() as u64;
        let mut note = HistoryNote { rows: note.rows + rows, dead: note.dead + dead, spent, ..note };
        (note.done, note.total) = (0, Some(0));
        for input in &self.spec.graph.history {
            let progress = self.spec.graph.inputs[*input].source.progress();
            note.done += progress.done;
            note.total = note.total.zip(progress.total).map(|(all, one)| all + one);
        }
        note.ended = (!reads).then_some(self.checkpoint.time);
        self.checkpoint.history = Some(note);
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
    spec.graph.history.iter().filter_map(print)
}
