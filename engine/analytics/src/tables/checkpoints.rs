//! `checkpoints`: one row per committed epoch, the newest ones.

use arrow::datatypes::SchemaRef;
use syncline_engine::checkpoint::{self, EpochNote};

use super::before_number;
use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Checkpoints;

impl Table for Checkpoints {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("run", Kind::Number),
            ("epoch", Kind::Number),
            ("time", Kind::Time),
            ("rows", Kind::Number),
            ("took_us", Kind::Number),
            ("state_bytes", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let prefix = checkpoint::epoch_key(pipeline, 0);
        for note in checkpoint::read_all::<EpochNote>(&*reading.store, before_number(&prefix))? {
            rows.row(&[
                Cell::Text(&note.pipeline),
                Cell::Number(note.run),
                Cell::Number(note.epoch),
                Cell::Time(note.time),
                Cell::Number(note.rows),
                Cell::Number(note.took),
                Cell::Number(note.state_bytes),
            ])?;
        }
        Ok(())
    }
}
