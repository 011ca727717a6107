//! `backfills`: how far each pipeline's history is, as of its last checkpoint. One row for a pipeline that has, or had, one.

use arrow::datatypes::SchemaRef;
use syncline_engine::checkpoint;

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
            // `reading`, `done`
            ("state", Kind::Text),
            ("began", Kind::Time),
            ("ended", Kind::Time),
            ("rows", Kind::Number),
            ("dead", Kind::Number),
            ("bytes_done", Kind::Number),
            ("bytes_total", Kind::Number),
            // In which it was read.
            ("seconds", Kind::Number),
            ("rows_per_second", Kind::Number),
            ("seconds_left", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let checkpoint = checkpoint::read_checkpoint(&*reading.store, pipeline)?.unwrap_or_default();
        let Some(note) = checkpoint.history else { return Ok(()) };
        rows.row(&[
            Cell::Text(pipeline),
            Cell::Text(if note.ended.is_some() { "done" } else { "reading" }),
            Cell::Time(note.began),
            Cell::time(note.ended),
            Cell::Number(note.rows),
            Cell::Number(note.dead),
            Cell::Number(note.done),
            Cell::number(note.total),
            Cell::Number(note.spent / 1_000_000),
            Cell::number(note.rows_per_second()),
            Cell::number(note.seconds_left()),
        ])
    }
}
