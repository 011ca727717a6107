//! `dead_letters`: records that could not be processed, with their place, the reason, their bytes as they came, and what was decided about them.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    ledger::dead_topic,
    letters::{self, Mark},
};
use syncline_record::{DeadLetter, keys};

use super::{frames::each_frame, sinks::each_settled};
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
            // `open`, `discarded`, `retrying`, `retried`
            ("state", Kind::Text),
        ])
    }

    fn read(&self, reading: &Reading, pipeline: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let topic = dead_topic(pipeline);
        let marks = letters::marks(&*reading.store, pipeline)?;
        let mut twins = Twins::default();
        each_frame(reading, &topic, &mut |body| {
            let letter: DeadLetter = serde_json::from_slice(body)
                .map_err(|error| Stop::Damaged { what: topic.clone(), detail: error.to_string() })?;
            let id = twins.told_apart(letter.epoch, letter_id(pipeline, &letter, None));
            row(pipeline, &id, &letter, &marks, rows)
        })?;
        each_settled(reading, pipeline, &mut |_, frame| {
            frame.dead.iter().try_for_each(|(offset, letter)| {
                row(pipeline, &letter_id(pipeline, letter, Some(*offset)), letter, &marks, rows)
            })
        })
    }
}

/// Rows that one record became can stop at one step, all of them: they differ by their order, which a replay repeats. A place that is read
/// again (another backfill of it) gives its letters again: nobody has decided about those, so they have ids of their own, by their epoch.
#[derive(Default)]
struct Twins {
    epoch: u64,
    seen: HashMap<String, u32>,
    /// The epoch of the first letter of an id, which is a number.
    first: HashMap<u64, u64>,
}

impl Twins {
    fn told_apart(&mut self, epoch: u64, id: String) -> String {
        if self.epoch != epoch {
            self.seen.clear();
            self.epoch = epoch;
        }
        let first = u64::from_str_radix(&id, 16).map_or(epoch, |id| *self.first.entry(id).or_insert(epoch));
        let id = if first == epoch { id } else { format!("{id}.{epoch}") };
        let before = self.seen.entry(id.clone()).or_default();
        *before += 1;
        if *before == 1 { id } else { format!("{id}-{before}") }
    }
}

fn row(
    pipeline: &str,
    id: &str,
    letter: &DeadLetter,
    marks: &BTreeMap<String, Mark>,
    rows: &mut Gather<'_>,
) -> Result<(), Stop> {
    rows.row(&[
        Cell::Text(id),
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
        Cell::Text(marks.get(id).map_or("open", |mark| mark.standing.as_str())),
    ])
}

/// The id of a dead letter: 16 hexadecimal digits, with `-2`, `-3` … behind those of the further rows of one record, and the epoch where its
/// place was read again; a function of where the record came from and where it stopped, so the same after a replay. `outbox`: the row's offset in the sink's outbox, where it was a sink that refused it.
pub fn letter_id(pipeline: &str, letter: &DeadLetter, outbox: Option<u64>) -> String {
    let text = format!("{pipeline}\0{}\0{}\0{outbox:?}\0{}", letter.step, letter.place, letter.hash);
    keys::hex128(keys::content_hash(text.as_bytes()))[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::Twins;

    #[test]
    fn the_rows_of_one_record_have_ids_of_their_own_and_the_same_after_a_replay() {
        let ids = || {
            let mut twins = Twins::default();
            [(7, "a"), (7, "b"), (7, "a"), (7, "a"), (8, "c"), (9, "a"), (9, "a")]
                .map(|(epoch, id)| twins.told_apart(epoch, id.to_owned()))
        };
        // The last two are of a place that was read again.
        assert_eq!(ids(), ["a", "b", "a-2", "a-3", "c", "a.9", "a.9-2"]);
        assert_eq!(ids(), ids());
    }
}
