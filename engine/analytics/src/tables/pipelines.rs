//! `pipelines`: one row per pipeline, as its last checkpoint and its last run leave it.

use arrow::datatypes::SchemaRef;
use syncline_engine::checkpoint;

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Pipelines;

impl Table for Pipelines {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("state", Kind::Text),
            ("run", Kind::Number),
            ("attempt", Kind::Number),
            ("epoch", Kind::Number),
            ("plan", Kind::Text),
            ("last_checkpoint", Kind::Time),
            ("fence", Kind::Number),
            ("watermark", Kind::Time),
            ("waiting", Kind::Number),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let checkpoint = checkpoint::read_checkpoint(&*reading.store, pipeline)?.unwrap_or_default();
        let run = checkpoint::last_run(&*reading.store, pipeline)?;
        let delivered = checkpoint::delivered(&*reading.store, pipeline)?;
        let books = run.as_ref().map(|run| run.books(&delivered)).unwrap_or_default();
        rows.row(&[
            Cell::Text(pipeline),
            Cell::text(run.as_ref().map(|run| run.state.as_str())),
            Cell::number(run.as_ref().map(|run| run.run)),
            Cell::number(run.as_ref().map(|run| run.attempt)),
            Cell::Number(checkpoint.epoch),
            Cell::Text(&checkpoint.plan),
            Cell::time((checkpoint.epoch > 0).then_some(checkpoint.time)),
            Cell::Number(checkpoint.fence),
            Cell::time(checkpoint.watermarks.values().copied().min()),
            Cell::Number(books.steps.values().map(|page| page.waiting).sum()),
        ])
    }
}
