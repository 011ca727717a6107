//! `lag`: how far each partition was read as of the last checkpoint, and where its end is known here, what waits behind.
//!
//! The end of what came in over HTTP and of streams between pipelines lies in this folder. Where Kafka's topics end only Kafka knows: a
//! running pipeline asks it, and `/metrics` says it; here their end and lag are NULL, as they are for files.

use arrow::datatypes::SchemaRef;
use serde_json::Value;
use syncline_engine::{
    checkpoint,
    graph::{is_parked, unqualified},
};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

/// How names of topics begin that hold what came in over HTTP.
const TAKEN: &str = "in/";

pub struct Lag;

impl Table for Lag {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("pipeline", Kind::Text),
            ("source", Kind::Text),
            // Of the next record; the connector's own word for its place where it is no number.
            ("position", Kind::Text),
            ("end", Kind::Number),
            ("lag", Kind::Number),
            ("as_of", Kind::Time),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let Some(checkpoint) = checkpoint::read_checkpoint(&*reading.store, pipeline)? else { return Ok(()) };
        for (partition, cursor) in checkpoint.cursors.iter().filter(|(partition, _)| !is_parked(partition)) {
            let source = unqualified(partition);
            let here = topic(source, cursor);
            let end = here.map(|(topic, _)| reading.log.end(topic)).transpose()?;
            let next = here.map(|(_, next)| next);
            rows.row(&[
                Cell::Text(pipeline),
                Cell::Text(source),
                Cell::Text(&next.map_or_else(|| cursor.to_string(), |next| next.to_string())),
                Cell::number(end),
                Cell::number(end.zip(next).map(|(end, next)| end.saturating_sub(next))),
                Cell::Time(checkpoint.time),
            ])?;
        }
        Ok(())
    }
}

/// The topic of this folder that a cursor is a place in, and the place.
fn topic<'a>(source: &'a str, cursor: &'a Value) -> Option<(&'a str, u64)> {
    // A position in a stream says itself which topic it is one of.
    let of_stream = cursor.get("topic").and_then(Value::as_str).zip(cursor.get("next").and_then(Value::as_u64));
    let of_path = Some(source).filter(|name| name.starts_with(TAKEN)).zip(cursor.as_u64());
    of_path.or(of_stream)
}
