//! Which input is asked for rows next: they take turns; a history comes first, and what is read beside the others has its share of the time.

use super::{
    Turn,
    job::{Job, JobError},
};
use crate::{graph::Beside, source::Polled};

impl Job {
    /// Asks the inputs in turn until one has rows.
    pub(super) fn poll(&mut self) -> Result<Turn, JobError> {
        let inputs = self.spec.graph.inputs.len();
        let in_history = self.in_history();
        let beside = self.spec.graph.beside.map(|beside| beside.input);
        if in_history && let Some(turn) = self.note_beginning()? {
            return Ok(turn);
        }
        let mut fills = self.beside().filter(|_| !self.crowded);
        if fills.is_some() && !self.over.contains(&0) {
            match self.note_beginning()? {
                Some(Turn::Worked) => return Ok(Turn::Worked),
                // What is read beside it waits; the others do not.
                Some(_) => fills = None,
                None => {}
            }
        }
        if fills.is_some_and(|beside| self.has_share(beside)) && self.poll_beside(fills)? == Turn::Worked {
            return Ok(Turn::Worked);
        }
        for _ in 0..inputs {
            let input = self.turn;
            self.turn = (input + 1) % inputs;
            if self.over.contains(&input) || beside == Some(input) || (in_history && input == 0) {
                continue;
            }
            let since = (fills.is_some() || in_history).then(|| self.ground.clock.elapsed());
            let turn = self.poll_one(input)?;
            if let Some(since) = since {
                self.count_time(input, turn, self.ground.clock.elapsed().saturating_sub(since));
            }
            if turn == Turn::Worked {
                return Ok(turn);
            }
            if in_history && !self.in_history() {
                self.cut_over();
            }
        }
        // The others have nothing now.
        if self.poll_beside(fills.and_then(|_| self.beside()))? == Turn::Worked {
            return Ok(Turn::Worked);
        }
        if self.over.len() == inputs {
            return Ok(Turn::Ended);
        }
        Ok(Turn::Idle)
    }

    fn poll_beside(&mut self, beside: Option<Beside>) -> Result<Turn, JobError> {
        let Some(beside) = beside else { return Ok(Turn::Idle) };
        let since = self.ground.clock.elapsed();
        let turn = if self.is_well(beside.input)? { self.poll_one(beside.input)? } else { Turn::Idle };
        self.count_time(beside.input, turn, self.ground.clock.elapsed().saturating_sub(since));
        if turn == Turn::Ended {
            self.filled(beside);
        }
        Ok(turn)
    }

    /// Asks one input: `Worked` when it had something, `Ended` when it is at its end.
    fn poll_one(&mut self, input: usize) -> Result<Turn, JobError> {
        let polled = match self.spec.graph.inputs[input].source.poll(self.ground.clock.now()) {
            Ok(polled) => polled,
            Err(error) => {
                self.ails(input, error)?;
                return Ok(Turn::Idle);
            }
        };
        match polled {
            Polled::Rows(rows) => self.take(input, rows)?,
            Polled::LeftOut(left_out) => self.leave_out(input, left_out)?,
            Polled::Streamed(streamed) => self.take_streamed(input, *streamed)?,
            // Who cannot ask has not said that there is nothing.
            Polled::Idle if self.spec.graph.inputs[input].source.trouble().is_some() => return Ok(Turn::Idle),
            Polled::Idle => {
                self.frontier.exhausted(input, self.ground.clock.elapsed());
                self.came_up(input);
                return Ok(Turn::Idle);
            }
            Polled::Ended => {
                self.over.insert(input);
                self.end_branches()?;
                self.came_up(input);
                return Ok(Turn::Ended);
            }
        }
        Ok(Turn::Worked)
    }
}
