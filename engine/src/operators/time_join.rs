//! JOIN of two sides that never end, with a time bound: rows of equal keys whose times are near enough.
//!
//! Each side keeps its rows for as long as a row of the other may still come that belongs to them: `right - left` lies between
//! `least` and `most`, and what is not late is not behind the lowest watermark `w`. So a left row is needed while
//! `left + most >= w`, a right one while `right - least >= w`. A row looks for its partners when it comes, so that each pair is made
//! once, by the later of its two rows.
//!
//! A row is `absorbed`: what goes out are rows of the join's own, as those of an AGGREGATE are. It is late when its time is behind
//! the watermark of its own partition (`late`), or behind the lowest of all because nobody waited for its partition (`late-idle`).
//! A row that can have no partner, since its key or its time is NULL, is filtered (`unmatched`).
//!
//! `LEFT`: a left row without a partner goes out with NULLs when none can come any more, or when all inputs are at their end; from
//! then on it has none. A joined row has the later of the two times; one with NULLs the time up to which it waited. So no row goes
//! out behind the lowest watermark, and what stands behind the join never finds it late.

mod pairs;
mod partner;
mod side;

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray},
    datatypes::{Int64Type, Schema, SchemaRef, TimestampMicrosecondType},
};
use syncline_functions::{ExprError, Predicate, Projection, fingerprints};
use syncline_record::{Batch, Epoch, Fate, Generation, Micros, RowFailure, StepId, batch::MARK, time::NO_WATERMARK};

use self::{
    pairs::{Pair, Pairs},
    side::{Kept, Standing},
};
use super::{
    aggregate::{
        body::{NOTES, Noted},
        deletes, merged,
    },
    join::UNMATCHED,
};
use crate::operator::{Damaged, Delta, Halt, Operator, Output, Side, StateSize, of_rows};

const LATE: &str = "late";
const LATE_IDLE: &str = "late-idle";
const ABSORBED: &str = "absorbed";

/// Pairs that are made at a time: a key with many rows must not make one huge batch.
const PAIRS: usize = 8_192;

/// What is taken of the rows of one side.
pub struct Taken {
    /// The columns of its batches, as they are called behind the join.
    pub named: SchemaRef,
    /// The key, and behind it the row's time.
    pub key: Projection,
    /// The columns that go on, by index.
    pub columns: Vec<usize>,
    /// How long the row's time is behind the record's own (the start of a window, whose record is at its end).
    pub behind: Micros,
}

/// How far the right row's time may be from the left row's, both included; of the records' own times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub least: Micros,
    pub most: Micros,
}

/// What a join of two endless sides is made of.
pub struct Recipe {
    pub left: Taken,
    pub right: Taken,
    pub bound: Bound,
    /// Judged on each pair, over [`TimeJoin::pairs_schema`].
    pub residual: Option<Predicate>,
    /// A left row without a partner goes out with NULLs.
    pub outer: bool,
    /// The name of the column of a joined row's time, where something reads it.
    pub time: Option<String>,
    /// `_id` says which pair of its left row a row is: the step's id. Right rows are then kept with their places.
    pub ids: Option<StepId>,
}

pub struct TimeJoin {
    recipe: Recipe,
    left: Kept,
    right: Kept,
    pairs: Pairs,
    lowest: Micros,
    /// Bodies were taken back: what the lowest watermark of then had set free is gone.
    restored: bool,
    notes: Noted,
}

/// What is known of the rows of a batch.
struct Judged {
    prints: Vec<u128>,
    /// The record's own time of each row; meaningless where it has none.
    times: Vec<Micros>,
    /// Rows that can have partners, in order.
    live: Vec<u32>,
    /// Rows that can have none.
    alone: Vec<usize>,
    late: Vec<usize>,
    idle: Vec<usize>,
    failed: Vec<RowFailure>,
}

impl TimeJoin {
    pub fn new(recipe: Recipe) -> Self {
        let Bound { least, most } = recipe.bound;
        let kept = |fields: &SchemaRef, number| Kept::new(fields.clone(), number, most.saturating_sub(least));
        let left = fields(&recipe.left);
        let right = if recipe.ids.is_some() { partner::placed(&fields(&recipe.right)) } else { fields(&recipe.right) };
        Self {
            left: kept(&left, Side::Left),
            right: kept(&right, Side::Right),
            pairs: Pairs::new(&left, &right, recipe.time.as_deref(), recipe.ids.clone()),
            recipe,
            lowest: NO_WATERMARK,
            restored: false,
            notes: Noted::default(),
        }
    }

    /// As one of several tasks, of which each has keys of its own.
    pub fn of_task(mut self, task: u32) -> Self {
        self.pairs = self.pairs.of_task(task);
        self
    }

    /// The columns of a pair: those of the left that go on, then those of the right.
    pub fn pairs_schema(left: &Taken, right: &Taken) -> SchemaRef {
        let all = [fields(left), fields(right)];
        Arc::new(Schema::new(all.iter().flat_map(|side| side.fields().iter().cloned()).collect::<Vec<_>>()))
    }

    /// Columns of what comes out.
    pub fn schema(&self) -> SchemaRef {
        self.pairs.schema()
    }

    fn judge(&self, side: Side, batch: &Batch) -> Judged {
        let taken = self.taken(side);
        let key = taken.key.apply(&batch.rows);
        let failed = merged(of_rows(batch, key.failed), deletes(batch, NO_WAY_BACK));
        let schema = key.rows.schema();
        let (columns, fields) = (key.rows.columns(), schema.fields());
        let (at, by) = (columns.len() - 1, fields.iter().map(|field| field.as_ref()).collect::<Vec<_>>());
        let mut prints = Vec::with_capacity(batch.len());
        let valid = fingerprints(&columns[..at], &by[..at], &mut prints);
        let own = columns[at].as_primitive::<TimestampMicrosecondType>();
        let marks = batch.rows.column_by_name(MARK).map(|marks| marks.as_primitive::<Int64Type>());
        let times = own.values().iter().map(|time| time.saturating_add(taken.behind)).collect();
        let mut judged =
            Judged { prints, times, live: vec![], alone: vec![], late: vec![], idle: vec![], failed: vec![] };
        let mut dead = failed.iter().map(|failure| failure.row as usize).peekable();
        let operations = batch.operations();
        for row in 0..batch.len() {
            if dead.next_if_eq(&row).is_some() || operations.is_clear(row) {
                continue;
            }
            judged.sort(row, own, marks, self.lowest, valid.as_ref().is_none_or(|valid| valid.is_valid(row)));
        }
        Judged { failed, ..judged }
    }

    fn taken(&self, side: Side) -> &Taken {
        match side {
            Side::Left => &self.recipe.left,
            Side::Right => &self.recipe.right,
        }
    }

    /// Times of the other side that belong to this one.
    fn reach(&self, side: Side, time: Micros) -> (Micros, Micros) {
        let Bound { least, most } = self.recipe.bound;
        match side {
            Side::Left => (time.saturating_add(least), time.saturating_add(most)),
            Side::Right => (time.saturating_sub(most), time.saturating_sub(least)),
        }
    }

    fn take(&mut self, side: Side, batch: &Batch, out: &mut Output) -> Result<(), Halt> {
        let judged = self.judge(side, batch);
        let step = out.step().clone();
        let broken = move |error: ExprError| Halt::Broken { step: step.clone(), detail: error.to_string() };
        let mut taken: Vec<ArrayRef> =
            self.taken(side).columns.iter().map(|column| batch.rows.column(*column).clone()).collect();
        if side == Side::Right && self.recipe.ids.is_some() {
            taken.push(partner::places(batch));
        }
        let met = self.meet(side, &taken, &judged, out).map_err(&broken)?;
        let outer = self.recipe.outer && side == Side::Left;
        let (mut stays, mut goes) = (vec![], vec![]);
        for (row, met) in judged.live.iter().zip(met) {
            let (_, last) = self.reach(side, judged.times[*row as usize]);
            match (last >= self.lowest, met) {
                (true, _) => stays.push((*row, if met { Standing::Met } else { Standing::Waits })),
                (false, false) if outer => goes.push((*row, last)),
                (false, _) => {}
            }
        }
        if outer {
            let own = |row: &usize| (*row as u32, judged.times[*row].max(self.lowest).max(0));
            goes.extend(judged.alone.iter().map(own));
            goes.sort_unstable();
        }
        let kept = if side == Side::Left { &mut self.left } else { &mut self.right };
        kept.add(&taken, &judged, &stays).map_err(&broken)?;
        out.dead(batch, &judged.failed);
        match outer {
            true => out.absorb(batch, &judged.alone, ABSORBED),
            false => out.stop(batch, &judged.alone, Fate::Filtered, UNMATCHED),
        }
        let absorbed: Vec<usize> = judged.live.iter().map(|row| *row as usize).collect();
        out.absorb(batch, &absorbed, ABSORBED);
        out.stop(batch, &judged.late, Fate::Late, LATE);
        out.stop(batch, &judged.idle, Fate::Late, LATE_IDLE);
        let (rows, times): (Vec<u32>, Vec<Micros>) = goes.into_iter().unzip();
        self.pairs.put_out_alone(&taken, &rows, times, &mut self.notes.now, out).map_err(broken)
    }

    /// Makes the pairs of the live rows; says of each whether it is in one.
    fn meet(
        &mut self,
        side: Side,
        taken: &Vec<ArrayRef>,
        judged: &Judged,
        out: &mut Output,
    ) -> Result<Vec<bool>, ExprError> {
        let mut met = vec![false; judged.live.len()];
        let mut pairs: Vec<Pair> = vec![];
        for (index, row) in judged.live.iter().enumerate() {
            let (time, print) = (judged.times[*row as usize], judged.prints[*row as usize]);
            let (from, to) = self.reach(side, time);
            let other = if side == Side::Left { &self.right } else { &self.left };
            other.find(print, (from, to), &mut |place, theirs| {
                pairs.push(Pair { index, row: *row, place, time: time.max(theirs) });
            });
            if pairs.len() >= PAIRS || index + 1 == judged.live.len() {
                for part in std::mem::take(&mut pairs).chunks(PAIRS) {
                    self.put_out(side, taken, part, &mut met, out)?;
                }
            }
        }
        Ok(met)
    }

    fn put_out(
        &mut self,
        side: Side,
        taken: &[ArrayRef],
        pairs: &[Pair],
        met: &mut [bool],
        out: &mut Output,
    ) -> Result<(), ExprError> {
        let other = if side == Side::Left { &mut self.right } else { &mut self.left };
        let rows = self.pairs.rows(side, taken, other, pairs)?;
        let verdict = self.recipe.residual.as_ref().map(|residual| residual.judge(&rows));
        let failed: Vec<usize> = verdict.iter().flat_map(|all| &all.failed).map(|one| one.row as usize).collect();
        for (index, pair) in pairs.iter().enumerate() {
            // One that the condition fails on is dead, and no reason to say that there was none.
            let holds = verdict.as_ref().is_none_or(|verdict| verdict.keep.value(index));
            if holds || failed.binary_search(&index).is_ok() {
                met[pair.index] = true;
                if self.recipe.outer && side == Side::Right {
                    other.stands(pair.place, Standing::Met);
                }
            }
        }
        self.pairs.put_out(&rows, pairs, verdict, &mut self.notes.now, out)
    }

    /// `LEFT`: rows that nobody belongs to, with NULLs.
    fn put_out_waiting(&mut self, before: Micros, gone: Standing, out: &mut Output) -> Result<(), Halt> {
        if !self.recipe.outer {
            return Ok(());
        }
        let step = out.step().clone();
        let broken = |error: ExprError| Halt::Broken { step: step.clone(), detail: error.to_string() };
        let most = self.recipe.bound.most;
        for places in self.left.waiting(before) {
            for part in places.chunks(PAIRS) {
                let (rows, times) = self.left.rows(part).map_err(broken)?;
                let times = times.into_iter().map(|time| time.saturating_add(most)).collect();
                let all: Vec<u32> = (0..part.len() as u32).collect();
                self.pairs.put_out_alone(&rows, &all, times, &mut self.notes.now, out).map_err(broken)?;
                part.iter().for_each(|place| self.left.stands(*place, gone));
            }
        }
        Ok(())
    }
}

/// Why a delete cannot pass.
const NO_WAY_BACK: &str = "a delete reached a JOIN of two endless sides, which has no row of it to take back";

impl Judged {
    fn sort(
        &mut self,
        row: usize,
        own: &TimestampMicrosecondArray,
        marks: Option<&Int64Array>,
        lowest: Micros,
        whole: bool,
    ) {
        let time = self.times[row];
        if own.is_valid(row) && marks.is_some_and(|marks| time < marks.value(row)) {
            self.late.push(row);
        } else if own.is_valid(row) && time < lowest {
            self.idle.push(row);
        } else if whole && own.is_valid(row) {
            self.live.push(row as u32);
        } else {
            self.times[row] = if own.is_valid(row) { time } else { lowest };
            self.alone.push(row);
        }
    }
}

/// The columns that go on; any of them may be NULL.
fn fields(side: &Taken) -> SchemaRef {
    let field = |index: &usize| side.named.field(*index).clone().with_nullable(true);
    Arc::new(Schema::new(side.columns.iter().map(field).collect::<Vec<_>>()))
}

impl Operator for TimeJoin {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        self.take(Side::Left, &batch, out)
    }

    fn push_right(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        self.take(Side::Right, &batch, out)
    }

    fn advance(&mut self, lowest: Micros, out: &mut Output) -> Result<(), Halt> {
        let Bound { least, most } = self.recipe.bound;
        self.lowest = self.lowest.max(lowest);
        if std::mem::take(&mut self.restored) {
            // The epoch that moved it there has put out what that set free.
            self.left.settle(self.lowest.saturating_sub(most));
        }
        let lowest = self.lowest;
        self.put_out_waiting(lowest.saturating_sub(most), Standing::Gone, out)?;
        self.left.expire(lowest.saturating_sub(most));
        self.right.expire(lowest.saturating_add(least));
        Ok(())
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Halt> {
        self.put_out_waiting(Micros::MAX, Standing::Closed, out)
    }

    fn close(&mut self, _epoch: Epoch, step: &StepId) -> Result<Delta, Halt> {
        let mut delta = Delta::default();
        for side in [&mut self.left, &mut self.right] {
            let written = side.write(&mut delta);
            written.map_err(|detail| Halt::Broken { step: step.clone(), detail })?;
        }
        self.notes.settle(&mut delta);
        Ok(delta)
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        self.restored = true;
        if generation == NOTES {
            return self.notes.restore(body);
        }
        match side::side_of(generation) {
            Side::Left => self.left.restore(generation, body),
            Side::Right => self.right.restore(generation, body),
        }
    }

    fn size(&self) -> StateSize {
        let (left, right) = (self.left.size(), self.right.size());
        StateSize { keys: left.keys + right.keys, bytes: left.bytes + right.bytes }
    }
}
