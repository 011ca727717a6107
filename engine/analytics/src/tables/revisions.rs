//! `revisions`: one row per text that a pipeline has begun with, the newest twenty.

use arrow::datatypes::SchemaRef;
use syncline_engine::revision;

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct Revisions;

impl Table for Revisions {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("revision", Kind::Number),
            ("began", Kind::Time),
            // Who wrote it: `files`, or whoever asked for it.
            ("by", Kind::Text),
            // The revision that it goes back to.
            ("back_to", Kind::Number),
            // What is kept of its state when it was over, to go back to.
            ("kept_keys", Kind::Number),
            ("kept_bytes", Kind::Number),
            ("digest", Kind::Text),
            ("text", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        for revision in revision::all(&*reading.store, pipeline)? {
            rows.row(&[
                Cell::Text(pipeline),
                Cell::Number(revision.number),
                Cell::time(Some(revision.began)),
                Cell::Text(&revision.by),
                Cell::number(revision.back_to),
                Cell::number(revision.kept.map(|kept| kept.keys)),
                Cell::number(revision.kept.map(|kept| kept.bytes)),
                Cell::Text(&revision.digest),
                Cell::Text(&revision.text),
            ])?;
        }
        Ok(())
    }
}
