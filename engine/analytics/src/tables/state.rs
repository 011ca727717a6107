//! `<pipeline>.<step>`: the keys that a step remembers, as of its last checkpoint.
//!
//! Only a key's fingerprint is state, so only that can be shown, with the time of the record that was kept. Segments that are
//! small enough to be merged soon are copied in one look at the store; large ones stay until their whole generation expires, so
//! they are read one by one, and one that is gone by then has expired.

use std::collections::{BTreeMap, HashMap};

use arrow::datatypes::SchemaRef;
use syncline_engine::{
    operators::{dedup, dedup_last},
    segment::{self, SEGMENT_BYTES},
};
use syncline_record::{Micros, StepId, keys};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    provider::Table,
};

/// Keys of a `KEEP LAST` step that are told apart in memory; about 64 bytes each.
const MOST_LAST: usize = 4_000_000;

pub struct State {
    pub pipeline: String,
    pub step: StepId,
}

/// A live segment: its bytes, or where they are.
enum Piece {
    Copied(Vec<u8>),
    Left(Vec<u8>),
}

impl Table for State {
    fn schema(&self) -> SchemaRef {
        schema(&[("key_fingerprint", Kind::Text), ("kept_at", Kind::Time)])
    }

    fn of(&self) -> Option<&str> {
        Some(&self.pipeline)
    }

    fn read(&self, reading: &Reading, _: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let mut last: HashMap<u128, Micros> = HashMap::new();
        for piece in self.pieces(reading)? {
            let value = match piece {
                Piece::Copied(value) => value,
                Piece::Left(key) => match reading.store.get(&key)? {
                    Some(value) => value,
                    None => continue,
                },
            };
            let body = segment::decode(&value).map_err(|damaged| self.damaged(damaged.0))?.body;
            // The two formats cannot be mistaken: a KEEP LAST body spells out the length of every entry, to its last byte.
            match dedup_last::read_body(body) {
                Ok(entries) if !body.is_empty() => self.remember(&mut last, entries)?,
                _ => {
                    for (key, time) in dedup::read_body(body).map_err(|damaged| self.damaged(damaged.0))? {
                        rows.row(&[Cell::Text(&keys::hex128(key)), Cell::Time(time)])?;
                    }
                }
            }
        }
        for (key, time) in last.into_iter().collect::<BTreeMap<_, _>>() {
            rows.row(&[Cell::Text(&keys::hex128(key)), Cell::Time(time)])?;
        }
        Ok(())
    }
}

impl State {
    fn pieces(&self, reading: &Reading) -> Result<Vec<Piece>, Stop> {
        let mut pieces = vec![];
        reading.store.scan(&segment::prefix(&self.pipeline, &self.step), &mut |key, value| {
            pieces.push(match value.len() < SEGMENT_BYTES / 2 {
                true => Piece::Copied(value.to_vec()),
                false => Piece::Left(key.to_vec()),
            });
            true
        })?;
        Ok(pieces)
    }

    /// The step keeps the last record of a key; its segments, all it ever kept.
    fn remember(&self, last: &mut HashMap<u128, Micros>, entries: Vec<(u128, Micros)>) -> Result<(), Stop> {
        last.extend(entries);
        if last.len() <= MOST_LAST {
            return Ok(());
        }
        let detail = format!("{} has more than {MOST_LAST} keys, which is more than a query may hold", self.step);
        Err(Stop::Refused(datafusion::error::DataFusionError::ResourcesExhausted(detail)))
    }

    fn damaged(&self, detail: String) -> Stop {
        Stop::Damaged { what: format!("{}.{}", self.pipeline, self.step), detail }
    }
}
