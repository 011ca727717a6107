//! `run_events`: starts, failures, pauses and ends of each pipeline's task, with their reasons, the newest thousand.

use arrow::datatypes::SchemaRef;
use syncline_engine::{checkpoint, events};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct RunEvents;

impl Table for RunEvents {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("number", Kind::Number),
            ("time", Kind::Time),
            ("event", Kind::Text),
            ("run", Kind::Number),
            ("attempt", Kind::Number),
            ("reason", Kind::Text),
        ])
    }

    /// One that never came to a run has events too.
    fn pipelines(&self, reading: &Reading) -> Result<Vec<String>, Stop> {
        Ok(checkpoint::pipelines(&*reading.store, &[b"e/"])?)
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        for event in events::read_events(&*reading.store, pipeline)? {
            rows.row(&[
                Cell::Text(pipeline),
                Cell::Number(event.number),
                Cell::Time(event.time),
                Cell::Text(event.kind.as_str()),
                Cell::number(event.run),
                Cell::number(event.attempt),
                Cell::text(event.reason.as_deref()),
            ])?;
        }
        Ok(())
    }
}
