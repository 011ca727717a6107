//! LIMIT n OFFSET m: the first rows of what a run takes, in the order in which they come; the others are filtered.
//!
//! How many have gone by is state, so a restart goes on counting. A source that has come to its end ends the count: the next run over
//! what is new has its own.

use arrow::array::BooleanArray;
use syncline_record::{Batch, Epoch, Fate, Generation, StepId};

use crate::operator::{Damaged, Delta, Halt, Operator, Output, StateSize};

pub struct Limit {
    count: u64,
    offset: u64,
    /// Rows that came so far, up to the last that is taken.
    seen: u64,
    /// Of them since the last epoch.
    fresh: u64,
    finished: bool,
}

/// There is one count.
const ONLY: Generation = 0;

impl Limit {
    pub fn new(count: u64, offset: u64) -> Self {
        Self { count, offset, seen: 0, fresh: 0, finished: false }
    }
}

impl Operator for Limit {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let ops = batch.operations();
        let (mut kept, mut filtered) = (vec![false; batch.len()], vec![]);
        for (row, kept) in kept.iter_mut().enumerate() {
            if ops.is_clear(row) {
                *kept = true;
                continue;
            }
            *kept = self.seen >= self.offset && self.seen - self.offset < self.count;
            // Behind the last that is taken nothing has to be counted, or kept.
            if self.seen < self.offset.saturating_add(self.count) {
                self.seen += 1;
                self.fresh += 1;
            }
            if !*kept {
                filtered.push(row);
            }
        }
        out.stop(&batch, &filtered, Fate::Filtered, "limit");
        out.emit(batch.keep(&BooleanArray::from(kept)));
        Ok(())
    }

    fn finish(&mut self, _out: &mut Output) -> Result<(), Halt> {
        self.finished = true;
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        let fresh = std::mem::take(&mut self.fresh);
        if std::mem::take(&mut self.finished) {
            self.seen = 0;
            return Ok(Delta { appended: vec![], expired: vec![ONLY] });
        }
        let appended = if fresh > 0 { vec![(ONLY, fresh.to_le_bytes().to_vec())] } else { vec![] };
        Ok(Delta { appended, expired: vec![] })
    }

    fn restore(&mut self, _generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        let (counts, rest) = body.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(Damaged(format!("{} bytes are no whole number of counts", body.len())));
        }
        self.seen += counts.iter().map(|count| u64::from_le_bytes(*count)).sum::<u64>();
        Ok(())
    }

    fn size(&self) -> StateSize {
        StateSize { keys: 1, bytes: size_of::<Self>() as u64 }
    }
}
