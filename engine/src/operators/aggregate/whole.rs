//! Groups of all rows there are: they go out at the end of all inputs.
//!
//! What was settled at an earlier end, and what came since, are generations of their own. At an end the groups that something came
//! to since the last go out with their new totals.

use arrow::array::RecordBatch;
use syncline_functions::{ExprError, Groups};
use syncline_record::{Batch, Epoch, Generation, Micros, StepId, time::NO_WATERMARK};

use super::{
    ABSORBED, Ledgered, Picked, Recipe,
    body::{self, NOTES, Noted},
    broken, changes, filtered, merged,
    release::{self, Moment, Shape},
};
use crate::fingerprints::Layout;
use crate::operator::{Damaged, Delta, Halt, Operator, Output, StateSize, of_rows};

/// Groups as of the last end of all inputs, and what came since.
const SETTLED: Generation = 0;
const SINCE: Generation = 1;

pub struct Whole {
    recipe: Recipe,
    shape: Shape,
    settled: Ledgered,
    since: Ledgered,
    /// Parts that an end has moved to what is settled.
    moved: Vec<Vec<u8>>,
    notes: Noted,
    /// What comes back has other columns.
    picked: Option<Picked>,
}

impl Whole {
    pub fn new(recipe: Recipe) -> Self {
        let shape = Shape::new(&recipe.aggregates.schema(), None, false);
        Self {
            recipe,
            shape,
            settled: Ledgered::default(),
            since: Ledgered::default(),
            moved: vec![],
            notes: Noted::default(),
            picked: None,
        }
    }

    /// As one of several tasks, of which each has groups of its own.
    pub fn of_task(mut self, task: u32) -> Self {
        self.shape = self.shape.of_task(task);
        self
    }

    /// Columns of what comes out.
    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.shape.schema()
    }

    fn add(&mut self, rows: &RecordBatch, keep: &[bool]) -> Result<(), ExprError> {
        let rows = filtered(rows, keep.iter().copied())?;
        self.since.fresh(&self.recipe.aggregates)?.update(rows.columns(), rows.num_rows())
    }

    fn note_times(&mut self, batch: &Batch, rows: impl Iterator<Item = usize>) {
        let ids = batch.row_ids();
        let latest = rows.map(|row| batch.origin.times[ids.value(row) as usize]).max();
        self.notes.now.latest = self.notes.now.latest.max(latest.unwrap_or(NO_WATERMARK));
    }

    /// The answers for the groups that something came to, all of their rows counted; what came is settled.
    fn settle(&mut self) -> Result<Option<RecordBatch>, ExprError> {
        let aggregates = &self.recipe.aggregates;
        let mut since = std::mem::take(&mut self.since).whole(aggregates)?;
        let first = self.notes.now.ended_to == Micros::MIN;
        if since.is_empty() {
            // Without keys the first answer is about all rows, even when there are none.
            return if first && aggregates.keys() == 0 { since.evaluate().map(Some) } else { Ok(None) };
        }
        let came = since.states()?;
        self.moved = body::bodies(&came).map_err(ExprError::other)?;
        let mut touched: Groups = aggregates.groups()?;
        if let Some(settled) = self.settled.total.as_mut().filter(|settled| !settled.is_empty()) {
            let all = settled.look()?;
            let known = aggregates.counterparts(&all, &came)?;
            touched.merge(&filtered(&all, known.iter().map(Option::is_some))?)?;
        }
        touched.merge(&came)?;
        self.settled.total(aggregates)?.merge(&came)?;
        touched.evaluate().map(Some)
    }
}

impl Operator for Whole {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let taken = self.recipe.taken.apply(&batch.rows);
        let failed = merged(of_rows(&batch, taken.failed), changes(&batch));
        if failed.is_empty() && batch.ops().is_none() {
            self.since
                .fresh(&self.recipe.aggregates)
                .and_then(|fresh| fresh.update(taken.rows.columns(), batch.len()))
                .map_err(broken(out))?;
            self.note_times(&batch, 0..batch.len());
            out.absorb_all(&batch, ABSORBED);
            return Ok(());
        }
        let ops = batch.operations();
        let mut keep: Vec<bool> = (0..batch.len()).map(|row| !ops.is_clear(row)).collect();
        failed.iter().for_each(|failure| keep[failure.row as usize] = false);
        let rows: Vec<usize> = (0..batch.len()).filter(|row| keep[*row]).collect();
        if !rows.is_empty() {
            self.add(&taken.rows, &keep).map_err(broken(out))?;
            self.note_times(&batch, rows.iter().copied());
        }
        out.dead(&batch, &failed);
        out.absorb(&batch, &rows, ABSORBED);
        Ok(())
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Halt> {
        let answers = self.settle().map_err(broken(out))?;
        self.notes.now.ended_to = self.notes.now.ended_to.max(0);
        let Some(answers) = answers else { return Ok(()) };
        let time = self.notes.now.latest.max(0);
        let at = Moment { start: time, time, mark: NO_WATERMARK, watermark: NO_WATERMARK };
        let step = out.step().clone();
        let batches = release::batches(&self.shape, &step, (&answers).into(), at, &mut self.notes.now.next)
            .map_err(|detail| Halt::Broken { step, detail })?;
        batches.into_iter().for_each(|batch| out.release(batch));
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, step: &StepId) -> Result<Delta, Halt> {
        let mut delta = Delta::default();
        if !self.moved.is_empty() {
            delta.expired.push(SINCE);
            delta.appended.extend(std::mem::take(&mut self.moved).into_iter().map(|body| (SETTLED, body)));
        }
        let bodies = self.since.bodies(&self.recipe.aggregates, step)?;
        delta.appended.extend(bodies.into_iter().map(|body| (SINCE, body)));
        self.notes.settle(&mut delta);
        Ok(delta)
    }

    fn adopts(&mut self, then: &Layout, now: &Layout) -> Option<String> {
        let (picked, said) = Picked::of(then, now, self.recipe.aggregates.keys())?;
        self.picked = Some(picked);
        Some(said)
    }

    fn restored(&mut self) {
        if self.picked.is_some() {
            self.notes.again();
        }
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        let (aggregates, picked) = (&self.recipe.aggregates, self.picked.as_ref());
        match generation {
            NOTES => self.notes.restore(body),
            SINCE => self.since.restore(aggregates, picked, body),
            SETTLED => {
                // What is settled is written only when it is moved.
                let mut before = Ledgered::default();
                let groups = if picked.is_some() { &mut before } else { &mut self.settled };
                groups.restore(aggregates, picked, body)?;
                let Some(fresh) = before.fresh.as_mut() else { return Ok(()) };
                let damaged = |error: ExprError| Damaged(error.to_string());
                let states = fresh.states().map_err(damaged)?;
                self.moved.extend(body::bodies(&states).map_err(Damaged)?);
                self.settled.total(aggregates).and_then(|total| total.merge(&states)).map_err(damaged)
            }
            other => Err(Damaged(format!("an AGGREGATE without a window has no generation {other}"))),
        }
    }

    fn size(&self) -> StateSize {
        let (settled, since) = (self.settled.size(), self.since.size());
        StateSize { keys: settled.keys + since.keys, bytes: settled.bytes + since.bytes }
    }
}
