//! What a watcher sees of a job: how far its inputs are, and what keeps them.

use std::time::Duration;

use syncline_record::StepId;

use super::job::Job;
use crate::source::Progress;

impl Job {
    pub fn progress(&self) -> Progress {
        self.progress_of(0..self.spec.graph.inputs.len())
    }

    /// Of some of the inputs, together.
    pub(super) fn progress_of(&self, inputs: impl Iterator<Item = usize>) -> Progress {
        let mut all = Progress { total: Some(0), records_left: Some(0), ..Progress::default() };
        for input in inputs {
            let one = self.spec.graph.inputs[input].source.progress();
            all.done += one.done;
            all.skipped += one.skipped;
            all.total = all.total.zip(one.total).map(|(all, one)| all + one);
            all.records_left = all.records_left.zip(one.records_left).map(|(all, one)| all + one);
        }
        all
    }

    /// When the source last had nothing more to give, on the clock's `elapsed`.
    pub fn caught_up(&self) -> Duration {
        let inputs = (0..self.spec.graph.inputs.len()).filter(|input| !self.over.contains(input));
        inputs.map(|input| self.frontier.caught_up(input)).min().unwrap_or_else(|| self.ground.clock.elapsed())
    }

    /// Records that the inputs have not read yet; `None`: no input knows.
    pub fn records_left(&self) -> Option<u64> {
        let inputs = self.spec.graph.inputs.iter();
        inputs.filter_map(|input| input.source.behind()).reduce(|all, one| all + one)
    }

    /// Inputs from which nothing comes, and why.
    pub fn trouble(&self) -> impl Iterator<Item = (StepId, String)> + '_ {
        let inputs = self.spec.graph.inputs.iter();
        inputs.filter_map(|input| Some((input.step.clone(), input.source.trouble()?))).chain(self.ailment())
    }
}
