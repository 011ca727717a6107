//! `dead_letters`: records that could not be processed, with their place, the reason, and their bytes as they came.

use arrow::datatypes::SchemaRef;
use syncline_engine::ledger::dead_topic;
use syncline_record::{DeadLetter, keys};

use super::{ledger::each_frame, sinks::each_settled};
use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

pub struct DeadLetters;

impl Table for DeadLetters {
    fn schema(&self) -> SchemaRef {
        schema(&[
            ("id", Kind::Text),
            ("pipeline", Kind::Text),
            ("step", Kind::Text),
            ("reason", Kind::Text),
            ("detail", Kind::Text),
            ("source", Kind::Text),
            ("record_offset", Kind::Number),
            ("record_byte", Kind::Number),
            ("time", Kind::Time),
            ("epoch", Kind::Number),
            ("length", Kind::Number),
            ("hash", Kind::Text),
            ("headers", Kind::Text),
            ("bytes", Kind::Bytes),
            ("text", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let topic = dead_topic(pipeline);
        each_frame(reading, &topic, &mut |body| {
            let letter = serde_json::from_slice(body)
                .map_err(|error| Stop::Damaged { what: topic.clone(), detail: error.to_string() })?;
            row(pipeline, &letter, None, rows)
        })?;
        each_settled(reading, pipeline, &mut |_, frame| {
            frame.dead.iter().try_for_each(|(offset, letter)| row(pipeline, letter, Some(*offset), rows))
        })
    }
}

fn row(pipeline: &str, letter: &DeadLetter, outbox: Option<u64>, rows: &mut Gather<'_>) -> Result<(), Stop> {
    rows.row(&[
        Cell::Text(&letter_id(pipeline, letter, outbox)),
        Cell::Text(pipeline),
        Cell::Text(letter.step.as_str()),
        Cell::Text(&letter.reason.slug),
        Cell::Text(&letter.reason.detail),
        Cell::Text(&letter.place.partition.to_string()),
        Cell::Number(letter.place.offset),
        Cell::number(letter.place.byte),
        Cell::Time(letter.time),
        // A letter of a sink belongs to no epoch.
        Cell::number(Some(letter.epoch).filter(|epoch| *epoch > 0)),
        Cell::Number(letter.length),
        Cell::Text(&letter.hash),
        Cell::text(letter.headers.as_deref()),
        Cell::Bytes(&letter.bytes),
        Cell::Text(&String::from_utf8_lossy(&letter.bytes)),
    ])
}

/// The id of a dead letter: 16 hexadecimal digits, a function of where the record came from and where it stopped, so the same
/// after a replay. `outbox`: the row's offset in the sink's outbox, where it was a sink that refused it.
pub fn letter_id(pipeline: &str, letter: &DeadLetter, outbox: Option<u64>) -> String {
    let text = format!("{pipeline}\0{}\0{}\0{outbox:?}\0{}", letter.step, letter.place, letter.hash);
    keys::hex128(keys::content_hash(text.as_bytes()))[..16].to_owned()
}
