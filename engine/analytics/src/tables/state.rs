//! `<pipeline>.<step>`: the keys that a step remembers, as of the last commit.
//!
//! Only a key's fingerprint is state, so only that can be shown, with the time of the record that was kept, and the epoch that the step
//! is shown as of: the same for all steps of the pipeline that a question names ([`Moment`]).
//!
//! Other steps keep no keys: rows that wait, counts, sums that only their own plan can put together. Those are refused by name.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use syncline_engine::{
    operators::{dedup, dedup_last},
    segment,
};
use syncline_record::{Micros, StepId, keys};

use crate::{
    Reading,
    gather::{Cell, Gather, Kind, Stop, schema},
    moment::Moment,
    provider::Table,
};

/// Keys of a `KEEP LAST` step that are told apart in memory; about 64 bytes each.
const MOST_LAST: usize = 4_000_000;

/// Steps whose state is keys.
const OF_KEYS: [&str; 2] = ["DEDUP", "DISTINCT"];

/// What kind of step this is, in capitals: a step with state is called by its kind, behind the path of its branch and before its
/// number (`people/order_by_2`).
fn kind(step: &StepId) -> String {
    let last = step.as_str().rsplit('/').next().unwrap_or_default();
    let name = match last.rsplit_once('_') {
        Some((name, number)) if !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => last,
    };
    name.to_ascii_uppercase().replace('_', " ")
}

pub struct State {
    pub pipeline: String,
    pub step: StepId,
    /// Of the question that names it.
    pub moment: Arc<Moment>,
}

impl Table for State {
    fn schema(&self) -> SchemaRef {
        schema(&[("key_fingerprint", Kind::Text), ("kept_at", Kind::Time), ("epoch", Kind::Number)])
    }

    fn of(&self) -> Option<&str> {
        Some(&self.pipeline)
    }

    fn asked(&self) {
        if OF_KEYS.contains(&kind(&self.step).as_str()) {
            self.moment.ask(&self.pipeline, &self.step);
        }
    }

    fn read(&self, reading: &Reading, _: &str, rows: &mut Gather<'_>) -> Result<(), Stop> {
        let kind = kind(&self.step);
        if !OF_KEYS.contains(&kind.as_str()) {
            let detail = format!(
                "the state of {}.{} ({kind}) cannot be shown as rows: only the keys of a DEDUP or DISTINCT can",
                self.pipeline, self.step
            );
            return Err(Stop::Refused(DataFusionError::NotImplemented(detail)));
        }
        let mut last: HashMap<u128, Micros> = HashMap::new();
        let seen = self.moment.seen(&*reading.store)?;
        let epoch = seen.epoch(&self.pipeline).map_or(Cell::Null, Cell::Number);
        for piece in seen.pieces(&self.pipeline, &self.step) {
            let value = piece.bytes(&*reading.store)?;
            let body = segment::decode(&value).map_err(|damaged| self.damaged(damaged.0))?.body;
            // The two formats cannot be mistaken: a KEEP LAST body spells out the length of every entry, to its last byte.
            match dedup_last::read_body(body) {
                Ok(entries) if !body.is_empty() => self.remember(&mut last, entries)?,
                _ => {
                    for (key, time) in dedup::read_body(body).map_err(|damaged| self.damaged(damaged.0))? {
                        rows.row(&[Cell::Text(&keys::hex128(key)), Cell::Time(time), epoch])?;
                    }
                }
            }
        }
        for (key, time) in last.into_iter().collect::<BTreeMap<_, _>>() {
            rows.row(&[Cell::Text(&keys::hex128(key)), Cell::Time(time), epoch])?;
        }
        Ok(())
    }
}

impl State {
    /// The step keeps the last record of a key; its segments, all it ever kept.
    fn remember(&self, last: &mut HashMap<u128, Micros>, entries: Vec<(u128, Micros)>) -> Result<(), Stop> {
        last.extend(entries);
        if last.len() <= MOST_LAST {
            return Ok(());
        }
        let detail = format!("{} has more than {MOST_LAST} keys, which is more than a query may hold", self.step);
        Err(Stop::Refused(DataFusionError::ResourcesExhausted(detail)))
    }

    fn damaged(&self, detail: String) -> Stop {
        Stop::Damaged { what: format!("{}.{}", self.pipeline, self.step), detail }
    }
}
