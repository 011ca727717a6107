//! Rows that a source left out: it was told what its first step is, a `WHERE`, and knows that none of them would pass it.

use syncline_record::Fate;

use super::job::{Job, JobError};
use crate::{
    operator::{Halt, Output},
    source::LeftOut,
};

impl Job {
    /// Books rows that the source left out as the first step would have: they came, and were filtered there.
    pub(super) fn leave_out(&mut self, input: usize, left_out: LeftOut) -> Result<(), JobError> {
        let LeftOut { partition, first, rows, cursor } = left_out;
        let since = self.open_epoch();
        self.open.rows += rows;
        let at = &self.spec.graph.inputs[input];
        let qualified = at.qualified(&partition.to_string());
        self.frontier.gave_rows(&qualified, since);
        let mut came = Output::new(at.step.clone(), false);
        came.books.rows_in = rows;
        came.books.count(Fate::Passed, rows);
        came.books.rows_out = rows;
        let [edge] = at.first.as_slice() else {
            let detail = "rows were left out, and more than one step wants them".to_owned();
            return Err(Halt::Broken { step: at.step.clone(), detail }.into());
        };
        let mut filtered = Output::new(self.spec.graph.nodes[edge.to].id.clone(), false);
        filtered.books.rows_in = rows;
        filtered.left_out(partition, first..first + rows);
        self.past.take(&self.spec.graph, input, rows, 0);
        self.enter(came);
        self.enter(filtered);
        self.past.let_go();
        self.open.moved.insert(qualified.clone());
        self.checkpoint.cursors.insert(qualified, cursor);
        Ok(())
    }
}
