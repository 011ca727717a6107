//! Sessions: rows of a key that are less than a gap apart from the next one belong together, whatever order they came in.
//!
//! Time is cut into buckets as wide as the gap. Rows of a key in one bucket are always of one session, and those of two buckets only
//! when these are next to each other. So a bucket is a window of groups, of which the first and the last time are known too:
//!
//! - A row is late when its time and the gap have passed: `time + gap <= mark`.
//! - When the lowest watermark has passed the end of the bucket after the next (`start + 3 gap`), every row that could still come
//!   to this bucket or the next one is late. Each group of the bucket then either goes on in the next (the two are less than a gap
//!   apart), with all that is known of it, or is a whole session and goes out.
//!
//! So the sessions are those of a batch over the rows that are not late.

use std::sync::Arc;

use arrow::{
    array::{AsArray, RecordBatch, TimestampMicrosecondArray},
    compute::max,
    datatypes::{Field, Schema, TimestampMicrosecondType},
};
use syncline_functions::{Aggregates, ExprError};
use syncline_record::{Micros, time::NO_WATERMARK};

use super::{
    body, broken, filtered,
    release::{self, Answered, Moment, Shape},
    windows::Windows,
};
use crate::operator::{Halt, Output};

/// The calls in front of the user's: the first and the last time of a group.
const BOUNDS: usize = 2;

/// Columns of what goes out: the keys with the start of the session among them, and the answers.
pub fn shape(aggregates: &Aggregates, name: &str, at: usize) -> Shape {
    let answers = aggregates.schema();
    let keys = aggregates.keys();
    let mut fields: Vec<Arc<Field>> = answers.fields().iter().cloned().collect();
    fields.drain(keys..keys + BOUNDS);
    Shape::new(&Schema::new(fields), Some((name, at)), false)
}

fn times(states: &RecordBatch, column: usize) -> &TimestampMicrosecondArray {
    states.column(column).as_primitive::<TimestampMicrosecondType>()
}

impl Windows {
    /// Takes the buckets that are complete, from the first on.
    pub(super) fn release_sessions(&mut self, to: Micros, out: &mut Output) -> Result<(), Halt> {
        let ended = to == Micros::MAX;
        let gap = self.window.size;
        while let Some((start, _)) = self.open.first_key_value() {
            let start = *start;
            if !ended && start.saturating_add(gap.saturating_mul(3)) > to {
                break;
            }
            let complete = self.take_bucket(start).map_err(broken(out))?;
            if ended && let Some(last) = max(times(&complete, self.recipe.aggregates.keys() + 1)) {
                let limit = last.saturating_add(gap.saturating_mul(2)) - 1;
                self.notes.now.ended_to = self.notes.now.ended_to.max(limit);
            }
            self.put_out(&complete, out)?;
        }
        Ok(())
    }

    /// What is known of the sessions that end in a bucket; the others go on in the next.
    fn take_bucket(&mut self, start: Micros) -> Result<RecordBatch, ExprError> {
        let aggregates = self.recipe.aggregates.clone();
        let (first, last) = (aggregates.keys(), aggregates.keys() + 1);
        let bucket = self.open.remove(&start).unwrap_or_default();
        self.expired.push(body::generation(start));
        let known = bucket.whole(&aggregates)?.states()?;
        let Some(next) = self.open.get_mut(&self.window.end(start)) else { return Ok(known) };
        let after = next.look(&aggregates)?;
        let counterparts = aggregates.counterparts(&known, &after)?;
        let (ends, begins) = (times(&known, last), times(&after, first));
        let goes_on: Vec<bool> = counterparts
            .into_iter()
            .enumerate()
            .map(|(row, next)| next.is_some_and(|next| begins.value(next) - ends.value(row) < self.window.size))
            .collect();
        let going = filtered(&known, goes_on.iter().copied())?;
        if going.num_rows() > 0 {
            next.fresh(&aggregates)?.merge(&going)?;
        }
        filtered(&known, goes_on.iter().map(|goes_on| !goes_on))
    }

    fn put_out(&mut self, complete: &RecordBatch, out: &mut Output) -> Result<(), Halt> {
        if complete.num_rows() == 0 {
            return Ok(());
        }
        let aggregates = &self.recipe.aggregates;
        let keys = aggregates.keys();
        let answers = aggregates.groups().and_then(|mut groups| {
            groups.merge(complete)?;
            groups.evaluate()
        });
        let answers = answers.map_err(broken(out))?;
        let step = out.step().clone();
        let at = Moment { start: 0, time: self.lowest.max(0), mark: NO_WATERMARK, watermark: NO_WATERMARK };
        let starts = answers.column(keys).clone();
        let mut columns = answers.columns().to_vec();
        columns.drain(keys..keys + BOUNDS);
        let answered = Answered { columns, starts: Some(starts), rows: answers.num_rows() };
        let made = release::batches(&self.shape, &step, answered, at, &mut self.notes.now.next);
        made.map_err(|detail| Halt::Broken { step, detail })?.into_iter().for_each(|batch| out.release(batch));
        Ok(())
    }
}
