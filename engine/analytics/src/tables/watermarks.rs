//! `watermarks`: how far event time has come, one row for each partition that a pipeline reads and tells the time by.

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    checkpoint,
    graph::{is_parked, unqualified},
};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Watermarks;

impl Table for Watermarks {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("source", Kind::Text),
            ("watermark", Kind::Time),
            // The pipeline's own is that of its slowest partition.
            ("slowest", Kind::Flag),
            ("epoch", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let Some(checkpoint) = checkpoint::read_checkpoint(&*reading.store, pipeline)? else { return Ok(()) };
        let slowest = checkpoint.watermarks.values().copied().min();
        for (partition, watermark) in checkpoint.watermarks.iter().filter(|(partition, _)| !is_parked(partition)) {
            rows.row(&[
                Cell::Text(pipeline),
                Cell::Text(unqualified(partition)),
                Cell::Time(*watermark),
                Cell::Flag(Some(*watermark) == slowest),
                Cell::Number(checkpoint.epoch),
            ])?;
        }
        Ok(())
    }
}
