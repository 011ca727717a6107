//! The lanes of a sink into files: each has its open part and keeps its order, and what several have to do is done at once.

use std::{collections::BTreeMap, num::NonZero, panic, thread};

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::UInt32Type,
};
use syncline_engine::sink::SinkError;
use syncline_record::{Micros, RowFailure, batch::LANE};

use super::{Format, parts::Appended};
use crate::rowtext::which_are_rows;

#[derive(Debug)]
pub(super) struct Lane {
    /// Number of the part that is open, or of the next one.
    pub number: u64,
    pub open: Option<Open>,
    pub buffer: Vec<u8>,
    pub buffered_rows: u64,
}

#[derive(Debug)]
pub(super) struct Open {
    pub file: Appended,
    pub rows: u64,
    pub since: Option<Micros>,
    /// Length of the visible file that this one begins with a copy of.
    pub copied: Option<u64>,
}

pub(super) type Lanes = BTreeMap<Option<u32>, Lane>;

impl Lane {
    pub fn at(number: u64) -> Self {
        Self { number, open: None, buffer: Vec::new(), buffered_rows: 0 }
    }
}

/// Rows of one batch below which another thread costs more than it saves.
const WORTH_A_THREAD: usize = 512;

/// Appends the rows to the buffers of their lanes: all of them, or none.
pub(super) fn encode<F: Format>(
    lanes: &mut Lanes,
    format: &F,
    rows: &RecordBatch,
    mut of: BTreeMap<Option<u32>, Vec<u32>>,
) -> Result<Vec<RowFailure>, SinkError> {
    for lane in of.keys() {
        lanes.entry(*lane).or_insert_with(|| Lane::at(1));
    }
    let work =
        lanes.iter_mut().filter_map(|(lane, state)| of.remove(lane).map(|which| (state.buffer.len(), which, state)));
    let few = rows.num_rows() < WORTH_A_THREAD;
    let done = at_once(work.collect(), few, |(before, which, lane)| {
        let mut failed = Vec::new();
        let told = format.encode(rows, &which, &mut lane.buffer, &mut failed);
        (told.map(|()| failed), before, which.len(), lane)
    });
    let refused = done.iter().any(|(told, ..)| told.is_err());
    let mut told = Vec::new();
    for (answer, before, rows, lane) in done {
        match &answer {
            Ok(failed) if !refused => lane.buffered_rows += (rows - failed.len()) as u64,
            _ => lane.buffer.truncate(before),
        }
        told.push(answer);
    }
    let mut failed: Vec<RowFailure> = told.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    failed.sort_by_key(|failure| failure.row);
    Ok(failed)
}

/// The rows by lane, each in their order. A single file has no lanes.
pub(super) fn by_lane(rows: &RecordBatch, lanes: bool) -> BTreeMap<Option<u32>, Vec<u32>> {
    let column = rows.column_by_name(LANE).filter(|_| lanes).and_then(|lanes| lanes.as_primitive_opt::<UInt32Type>());
    let is_row = which_are_rows(rows);
    let which = (0..rows.num_rows()).filter(|row| is_row(*row)).map(|row| row as u32);
    let mut by_lane: BTreeMap<Option<u32>, Vec<u32>> = BTreeMap::new();
    match column {
        Some(lanes) => which.for_each(|row| by_lane.entry(Some(lanes.value(row as usize))).or_default().push(row)),
        None => {
            let all: Vec<u32> = which.collect();
            by_lane.extend((!all.is_empty()).then_some((None, all)));
        }
    }
    by_lane
}

/// Threads for work of lanes. More than the cores of a small machine: to wait for a disk is most of it.
const AT_ONCE: NonZero<usize> = NonZero::new(8).unwrap();

/// Does `work` for every one of `items`, at once where there are several and they are not `few`; answers in their order.
pub(super) fn at_once<T: Send, R: Send>(items: Vec<T>, few: bool, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 || few {
        return items.into_iter().map(work).collect();
    }
    let each = items.len().div_ceil(AT_ONCE.get());
    let mut items = items.into_iter().peekable();
    thread::scope(|scope| {
        let mut threads = Vec::new();
        while items.peek().is_some() {
            let some: Vec<T> = items.by_ref().take(each).collect();
            let work = &work;
            threads.push(scope.spawn(move || some.into_iter().map(work).collect::<Vec<R>>()));
        }
        let joined =
            threads.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| panic::resume_unwind(panic)));
        joined.collect::<Vec<_>>().into_iter().flatten().collect()
    })
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use arrow::array::{ArrayRef, UInt32Array};

    use super::*;

    /// Writes the number of a row as a byte, and refuses the one that it is told.
    struct Numbers {
        refused: Option<u32>,
    }

    impl Format for Numbers {
        fn rewrites(&self) -> bool {
            false
        }

        fn start(&self, _: &mut Vec<u8>) -> Result<(), SinkError> {
            Ok(())
        }

        fn encode(
            &self,
            _: &RecordBatch,
            which: &[u32],
            into: &mut Vec<u8>,
            _: &mut Vec<RowFailure>,
        ) -> Result<(), SinkError> {
            for row in which {
                into.extend(row.to_le_bytes());
                if self.refused == Some(*row) {
                    return Err(SinkError::Never(format!("row {row}")));
                }
            }
            Ok(())
        }

        fn finish(&self, _: &Path, _: &Path) -> Result<(), SinkError> {
            Ok(())
        }
    }

    const LANES: u32 = 20;

    fn rows() -> RecordBatch {
        let lanes: ArrayRef = Arc::new(UInt32Array::from_iter_values((0..5_000).map(|row| row % LANES)));
        RecordBatch::try_from_iter([(LANE, lanes)]).unwrap()
    }

    fn encoded(lanes: &mut Lanes, refused: Option<u32>) -> Result<Vec<RowFailure>, SinkError> {
        let rows = rows();
        let of = by_lane(&rows, true);
        encode(lanes, &Numbers { refused }, &rows, of)
    }

    #[test]
    fn lanes_that_are_written_at_once_keep_their_order() {
        let mut lanes = Lanes::new();
        encoded(&mut lanes, None).unwrap();
        for (lane, state) in &lanes {
            let lane = lane.unwrap();
            let expected: Vec<u8> = (0..250).flat_map(|at| (at * LANES + lane).to_le_bytes()).collect();
            assert_eq!((state.buffered_rows, &state.buffer), (250, &expected), "lane {lane}");
        }
        assert_eq!(lanes.len(), LANES as usize);
    }

    #[test]
    fn a_batch_that_is_refused_in_one_lane_is_in_none() {
        let mut lanes = Lanes::new();
        encoded(&mut lanes, None).unwrap();
        assert_eq!(encoded(&mut lanes, Some(4_321)).unwrap_err().to_string(), "row 4321");
        assert!(lanes.values().all(|lane| (lane.buffer.len(), lane.buffered_rows) == (1_000, 250)));
    }

    #[test]
    fn answers_come_in_the_order_of_the_items() {
        let squares = |many: u64| at_once((0..many).collect(), false, |n| n * n);
        for many in [0, 1, 2, 7, 8, 9, 65] {
            assert_eq!(squares(many), (0..many).map(|n| n * n).collect::<Vec<_>>());
        }
    }
}
