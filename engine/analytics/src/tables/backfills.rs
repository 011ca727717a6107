//! `backfills`: how far each pipeline's history is, as of its last checkpoint, and what people asked it to take in. One row for the newest
//! one of a pipeline, and one for what was asked since.

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    backfill::{self, Backfill},
    checkpoint::{self, HistoryNote},
    clock::{Clock, SystemClock},
};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Backfills;

impl Table for Backfills {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            // 0: the history of its file.
            ("number", Kind::Number),
            // `reading`, `paused`, `cancelled`, `done`
            ("state", Kind::Text),
            // `waiting` for its first commit, `reading`, `catching up`: the source reads what came meanwhile. None: nothing is on its way.
            ("phase", Kind::Text),
            // What people asked for, and its share of the time in hundredths.
            ("source", Kind::Text),
            ("share", Kind::Number),
            ("asked", Kind::Time),
            ("began", Kind::Time),
            ("ended", Kind::Time),
            ("rows", Kind::Number),
            // Of them, at whichever step; what a sink refused of them is in `dead_letters` alone.
            ("dead", Kind::Number),
            // Of the pipeline, since it was asked for: more than one where it failed, was killed, or was held.
            ("starts", Kind::Number),
            ("bytes_done", Kind::Number),
            ("bytes_total", Kind::Number),
            // With those that were read, more or less; where its source counts records and no bytes.
            ("rows_total", Kind::Number),
            // Of records as they came, or of the columns that were taken.
            ("bytes_read", Kind::Number),
            // In which the pipeline's thread worked on its rows.
            ("busy_ms", Kind::Number),
            // In which it was read.
            ("seconds", Kind::Number),
            ("rows_per_second", Kind::Number),
            // To the end of the phase, from now on.
            ("seconds_left", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let checkpoint = checkpoint::read_checkpoint(&*reading.store, pipeline)?.unwrap_or_default();
        let (note, asked) = (checkpoint.history, backfill::read(&*reading.store, pipeline)?);
        if let Some(note) = &note {
            row(pipeline, asked.as_ref().filter(|asked| asked.number == note.number), Some(note), rows)?;
        }
        match asked.filter(|asked| note.as_ref().is_none_or(|note| note.number != asked.number)) {
            Some(asked) => row(pipeline, Some(&asked), None, rows),
            None => Ok(()),
        }
    }
}

/// `asked`: of the same number as `note`, where there are both.
fn row(
    pipeline: &str,
    asked: Option<&Backfill>,
    note: Option<&HistoryNote>,
    rows: &mut Gather<'_>,
) -> Result<(), Stop> {
    let state = match (asked, note.and_then(|note| note.ended)) {
        (Some(asked), _) => asked.state(note).as_str(),
        (None, Some(_)) => "done",
        // The number of another one says that nobody goes on with it.
        (None, None) if note.is_some_and(|note| note.number > 0) => "cancelled",
        (None, None) => "reading",
    };
    let number = asked.map(|asked| asked.number).or(note.map(|note| note.number));
    let phase = match note {
        None if state == "reading" => Some("waiting"),
        _ if state == "reading" => Some("reading"),
        note => note.filter(|note| note.is_catching_up()).map(|_| "catching up"),
    };
    rows.row(&[
        Cell::Text(pipeline),
        Cell::number(number),
        Cell::Text(state),
        Cell::text(phase),
        Cell::text(asked.map(|asked| asked.from.as_str())),
        Cell::number(asked.map(|asked| u64::from(asked.share))),
        Cell::time(asked.map(|asked| asked.asked)),
        Cell::time(note.map(|note| note.began)),
        Cell::time(note.and_then(|note| note.ended)),
        Cell::number(note.map(|note| note.rows)),
        Cell::number(note.map(|note| note.dead)),
        Cell::number(note.map(|note| note.starts)),
        Cell::number(note.map(|note| note.done)),
        Cell::number(note.and_then(|note| note.total)),
        Cell::number(note.and_then(|note| note.records)),
        Cell::number(note.map(|note| note.bytes)),
        Cell::number(note.map(|note| note.busy / 1_000)),
        Cell::number(note.map(|note| note.spent / 1_000_000)),
        Cell::number(note.and_then(HistoryNote::rows_per_second)),
        Cell::number(note.and_then(|note| note.seconds_left(SystemClock::default().now())).filter(|_| phase.is_some())),
    ])
}
