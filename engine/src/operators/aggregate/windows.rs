//! Groups in windows of time: of a fixed size, and the buckets of sessions.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, Int64Array, TimestampMicrosecondArray, UInt32Array},
    compute::{max, min, take_arrays},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use syncline_functions::ExprError;
use syncline_record::{
    Batch, Epoch, Fate, Generation, Micros, Reason, RowFailure, StepId, batch::MARK, time::NO_WATERMARK,
};

use super::{
    ABSORBED, Ledgered, Picked, Recipe, Window,
    body::{self, NOTES, Noted},
    broken, changes, merged,
    release::{self, Moment, Shape},
    sessions,
};
use crate::fingerprints::Layout;
use crate::operator::{Damaged, Delta, Halt, Operator, Output, RowKeys, StateSize, of_rows};

const LATE: &str = "late";
const LATE_IDLE: &str = "late-idle";
const LATE_ENDED: &str = "late-ended";
/// Windows that the rows of one batch are sorted into by counting: a batch that spans more of them has wild times.
const MANY: i64 = 1024;

/// `GROUP BY tumble(…)`, `hop(…)` and `session(…)`.
pub struct Windows {
    pub(super) recipe: Recipe,
    /// Of a session: its buckets, which are as wide as its gap.
    pub(super) window: Window,
    pub(super) sessions: bool,
    pub(super) shape: Shape,
    /// The time is the record's own: watermarks close windows. Else only the end does.
    by_record_time: bool,
    pub(super) open: BTreeMap<Micros, Ledgered>,
    pub(super) lowest: Micros,
    pub(super) notes: Noted,
    pub(super) expired: Vec<Generation>,
    /// What comes back has other columns.
    picked: Option<Picked>,
}

impl Windows {
    /// `name` and `at`: the column of the window's start, and its place among the keys.
    pub fn new(recipe: Recipe, window: Window, (name, at): (&str, usize), by_record_time: bool) -> Self {
        let shape = Shape::new(&recipe.aggregates.schema(), Some((name, at)), by_record_time);
        Self::of(recipe, window, false, shape, by_record_time)
    }

    /// `GROUP BY session(time, gap)`. The first two calls of the recipe are the first and the last time of a group.
    pub fn sessions(recipe: Recipe, gap: Micros, (name, at): (&str, usize), by_record_time: bool) -> Self {
        let shape = sessions::shape(&recipe.aggregates, name, at);
        Self::of(recipe, Window::tumble(gap), true, shape, by_record_time)
    }

    /// As one of several tasks, of which each has groups of its own.
    pub fn of_task(mut self, task: u32) -> Self {
        self.shape = self.shape.of_task(task);
        self
    }

    fn of(recipe: Recipe, window: Window, sessions: bool, shape: Shape, by_record_time: bool) -> Self {
        Self {
            recipe,
            window,
            sessions,
            shape,
            by_record_time,
            open: BTreeMap::new(),
            lowest: NO_WATERMARK,
            notes: Noted::default(),
            expired: vec![],
            picked: None,
        }
    }

    /// Columns of what comes out.
    pub fn schema(&self) -> arrow::datatypes::SchemaRef {
        self.shape.schema()
    }

    /// The watermark at which a row is late: the end of its window; for a session the time at which the row itself is over, since
    /// nobody knows yet what it belongs to.
    fn limit(&self, start: Micros, time: Micros) -> Micros {
        self.window.end(if self.sessions { time } else { start })
    }

    /// Why a row with this limit comes too late for everybody, if it does.
    fn closed(&self, limit: Micros) -> Option<&'static str> {
        if limit <= self.notes.now.ended_to {
            return Some(LATE_ENDED);
        }
        (self.by_record_time && limit <= self.lowest).then_some(LATE_IDLE)
    }

    /// The first and the last time of a batch of which every row counts, and in one window: none is late.
    fn timely(&self, times: &TimestampMicrosecondArray, marks: Option<&Int64Array>) -> Option<(Micros, Micros)> {
        if self.window.slide != self.window.size || times.null_count() > 0 {
            return None;
        }
        let (first, last) = (min(times)?, max(times)?);
        self.window.last_start(last)?.checked_add(self.window.size)?;
        // The first row of all is late before any other.
        let limit = self.limit(self.window.last_start(first)?, first);
        // Watermarks never go back, so the last is the highest.
        let passed = marks.is_some_and(|marks| marks.value(marks.len() - 1) >= limit);
        (!passed && self.closed(limit).is_none()).then_some((first, last))
    }

    /// Takes in a batch of timely rows. False, and nothing is taken: its times lie too far apart.
    fn take_in(
        &mut self,
        times: &TimestampMicrosecondArray,
        (first, last): (Micros, Micros),
        columns: &[ArrayRef],
    ) -> Result<bool, ExprError> {
        let size = self.window.size;
        let (Some(start), Some(end)) = (self.window.last_start(first), self.window.last_start(last)) else {
            return Ok(false);
        };
        if start == end {
            return self.add(start, columns, times.len()).map(|()| true);
        }
        let Some(windows) = end.checked_sub(start).map(|apart| apart / size + 1).filter(|windows| *windows <= MANY)
        else {
            return Ok(false);
        };
        let mut parts = vec![vec![]; windows as usize];
        for (row, time) in times.values().iter().enumerate() {
            // `start` is the window of the first time, so this is not negative, whatever an i64 holds.
            parts[(time.wrapping_sub(start) as u64 / size as u64) as usize].push(row as u32);
        }
        for (window, rows) in parts.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            self.add_rows(start + window as i64 * size, columns, rows)?;
        }
        Ok(true)
    }

    /// Adds those of the rows that are named.
    fn add_rows(&mut self, start: Micros, columns: &[ArrayRef], rows: Vec<u32>) -> Result<(), ExprError> {
        let count = rows.len();
        let columns = take_arrays(columns, &UInt32Array::from(rows), None)
            .map_err(|error| ExprError::other(error.to_string()))?;
        self.add(start, &columns, count)
    }

    fn add(&mut self, start: Micros, columns: &[ArrayRef], rows: usize) -> Result<(), ExprError> {
        let aggregates = &self.recipe.aggregates;
        self.open.entry(start).or_default().fresh(aggregates)?.update(columns, rows)
    }

    /// Sets the windows free that end at or before this.
    fn release(&mut self, to: Micros, mark: Micros, watermark: Micros, out: &mut Output) -> Result<(), Halt> {
        if self.sessions {
            return self.release_sessions(to, out);
        }
        let broken = broken(out);
        while let Some(first) = self.open.first_entry() {
            let start = *first.key();
            let end = self.window.end(start);
            if end > to {
                break;
            }
            let groups = first.remove();
            self.expired.push(body::generation(start));
            let answers = groups.whole(&self.recipe.aggregates).and_then(|mut all| all.evaluate()).map_err(&broken)?;
            let at = Moment { start, time: end - 1, mark, watermark };
            let step = out.step().clone();
            let batches = release::batches(&self.shape, &step, (&answers).into(), at, &mut self.notes.now.next)
                .map_err(|detail| Halt::Broken { step, detail })?;
            batches.into_iter().for_each(|batch| out.release(batch));
        }
        Ok(())
    }
}

/// Where the rows of a batch go.
#[derive(Default)]
struct Sorted {
    into: BTreeMap<Micros, Vec<u32>>,
    absorbed: Vec<usize>,
    late: Vec<usize>,
    idle: Vec<usize>,
    ended: Vec<usize>,
    /// Windows that were over for rows which count in others.
    late_windows: u64,
}

impl Windows {
    fn sorted(
        &self,
        times: &TimestampMicrosecondArray,
        marks: Option<&Int64Array>,
        takes: impl Fn(usize) -> bool,
        failed: &mut Vec<RowFailure>,
    ) -> Sorted {
        let mut sorted = Sorted::default();
        for row in (0..times.len()).filter(|row| takes(*row)) {
            let starts = times.is_valid(row).then(|| self.window.starts(times.value(row))).flatten();
            let Some(starts) = starts else {
                failed.push(RowFailure { row: row as u32, reason: no_time(times, row) });
                continue;
            };
            let mark = marks.map_or(NO_WATERMARK, |marks| marks.value(row));
            let (mut counts, mut missed, mut why) = (false, 0, LATE);
            for start in starts {
                let limit = self.limit(start, times.value(row));
                if mark >= limit && marks.is_some() {
                    missed += 1;
                    continue;
                }
                match self.closed(limit) {
                    Some(closed) => (missed, why) = (missed + 1, closed),
                    None => {
                        counts = true;
                        sorted.into.entry(start).or_default().push(row as u32);
                    }
                }
            }
            match (counts, why) {
                (true, _) => {
                    sorted.absorbed.push(row);
                    sorted.late_windows += missed;
                }
                (false, LATE_IDLE) => sorted.idle.push(row),
                (false, LATE_ENDED) => sorted.ended.push(row),
                (false, _) => sorted.late.push(row),
            }
        }
        sorted
    }
}

fn no_time(times: &TimestampMicrosecondArray, row: usize) -> Reason {
    match times.is_null(row) {
        true => Reason::new("null-time", "the time of its window is NULL"),
        false => Reason::new("time-range", format!("no window holds the time {} µs", times.value(row))),
    }
}

impl Operator for Windows {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let broken = broken(out);
        let taken = self.recipe.taken.apply(&batch.rows);
        let mut failed = merged(of_rows(&batch, taken.failed), changes(&batch));
        let times = taken.rows.column(0).as_primitive::<TimestampMicrosecondType>();
        let columns = &taken.rows.columns()[1..];
        let marks = batch.rows.column_by_name(MARK).map(|marks| marks.as_primitive::<Int64Type>());
        let marks = marks.filter(|_| self.by_record_time);
        let plain = failed.is_empty() && batch.ops().is_none();
        if let Some(span) = self.timely(times, marks).filter(|_| plain)
            && self.take_in(times, span, columns).map_err(&broken)?
        {
            out.absorb_all(&batch, ABSORBED);
            return Ok(());
        }
        let ops = batch.operations();
        let dead: Vec<usize> = failed.iter().map(|failure| failure.row as usize).collect();
        let takes = |row: usize| dead.binary_search(&row).is_err() && !ops.is_clear(row);
        let sorted = self.sorted(times, marks, takes, &mut failed);
        for (start, rows) in sorted.into {
            self.add_rows(start, columns, rows).map_err(&broken)?;
        }
        failed.sort_by_key(|failure| failure.row);
        out.dead(&batch, &failed);
        out.absorb(&batch, &sorted.absorbed, ABSORBED);
        out.late_windows(sorted.late_windows);
        let schema = taken.rows.schema();
        let group = 1..=self.recipe.aggregates.keys();
        let fields: Vec<_> = schema.fields()[group.clone()].iter().map(|field| field.as_ref()).collect();
        let keys = RowKeys { columns: &taken.rows.columns()[group], fields: &fields, content: false };
        out.stop_by(&batch, &sorted.late, (Fate::Late, LATE), &keys);
        out.stop_by(&batch, &sorted.idle, (Fate::Late, LATE_IDLE), &keys);
        out.stop_by(&batch, &sorted.ended, (Fate::Late, LATE_ENDED), &keys);
        Ok(())
    }

    fn advance(&mut self, lowest: Micros, out: &mut Output) -> Result<(), Halt> {
        let before = self.lowest;
        self.lowest = before.max(lowest);
        if !self.by_record_time {
            return Ok(());
        }
        self.release(self.lowest, before, self.lowest, out)
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Halt> {
        if let Some((last, _)) = self.open.last_key_value().filter(|_| !self.sessions) {
            self.notes.now.ended_to = self.notes.now.ended_to.max(self.window.end(*last));
        }
        self.release(Micros::MAX, self.lowest, self.lowest, out)
    }

    fn close(&mut self, _epoch: Epoch, step: &StepId) -> Result<Delta, Halt> {
        let mut delta = Delta { appended: vec![], expired: std::mem::take(&mut self.expired) };
        for (start, groups) in &mut self.open {
            let bodies = groups.bodies(&self.recipe.aggregates, step)?;
            delta.appended.extend(bodies.into_iter().map(|body| (body::generation(*start), body)));
        }
        self.notes.settle(&mut delta);
        Ok(delta)
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        if generation == NOTES {
            return self.notes.restore(body);
        }
        let groups = self.open.entry(body::start_of(generation)).or_default();
        groups.restore(&self.recipe.aggregates, self.picked.as_ref(), body)
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

    fn size(&self) -> StateSize {
        self.open.values().map(Ledgered::size).fold(StateSize::default(), |sum, one| StateSize {
            keys: sum.keys + one.keys,
            bytes: sum.bytes + one.bytes,
        })
    }
}
