//! DEDUP BY k WITHIN w KEEP LAST BY v: passes each record whose v is not smaller than that of the last one kept.
//!
//! A smaller v is `stale`; the same content again is a `duplicate`; what passes restarts the window of its key. Once the window
//! of a key is over, any v passes. A NULL v is dead: it has no place in the order. `KEEP FIRST BY v` is the mirror image.
//!
//! On disk a key has an entry for each time that it was kept, and the last one holds. So that segments are read in that order, and
//! that none outlives a later one, a key never goes back to an older generation than it was in.

use std::{cmp::Ordering, collections::BTreeSet};

use arrow::{
    array::Array,
    row::{RowConverter, SortField},
};
use hashbrown::HashMap;
use syncline_functions::{Projection, keys::fingerprints};
use syncline_record::{Batch, Epoch, Fate, Generation, Micros, Reason, RowFailure, StepId, keys::content_hash};

use super::dedup::{Horizon, Verdicts, another_window, generation_of};
use crate::fingerprints::Layout;
use crate::operator::{Damaged, Delta, Halt, Operator, Output, RowKeys, StateSize, of_rows};
use crate::segment::Bodies;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Last {
    /// Where its entry lies: that of the latest time at which the key was ever kept.
    generation: Generation,
    time: Micros,
    content: u128,
    /// v in Arrow's row format: its bytes compare as the values do.
    version: Box<[u8]>,
}

/// Keeps the newest of each key.
pub struct DedupLast {
    key: Projection,
    version: Projection,
    converter: RowConverter,
    within: Option<Micros>,
    newest_wins: bool,
    /// The key is the content of the row: NULL is a value of it.
    content: bool,
    last: HashMap<u128, Last>,
    fresh: Vec<(u128, Last)>,
    generations: BTreeSet<Generation>,
    horizon: Horizon,
    /// What comes back was kept with another window.
    adopting: bool,
}

impl DedupLast {
    /// `version` has one column, of a type that has an order (never JSON: the compiler asks for a `CAST`).
    pub fn new(
        key: Projection,
        version: Projection,
        within: Option<Micros>,
        newest_wins: bool,
    ) -> Result<Self, String> {
        let kind = version.schema().field(0).data_type().clone();
        let converter = RowConverter::new(vec![SortField::new(kind)]).map_err(|error| error.to_string())?;
        Ok(Self {
            key,
            version,
            converter,
            within,
            newest_wins,
            content: false,
            last: HashMap::new(),
            fresh: vec![],
            generations: BTreeSet::new(),
            horizon: Horizon::default(),
            adopting: false,
        })
    }

    /// The key is the content of the row, so that a NULL in it is no reason to pass.
    pub fn of_content(mut self) -> Self {
        self.content = true;
        self
    }

    fn generation(&self, time: Micros) -> Generation {
        self.within.map_or(0, |within| generation_of(time, within))
    }

    fn judge(&self, key: u128, new: &Last) -> Fate {
        let Some(old) = self.last.get(&key) else { return Fate::Passed };
        if self.within.is_some_and(|within| old.time.abs_diff(new.time) >= within.unsigned_abs()) {
            return Fate::Passed;
        }
        let order = new.version.cmp(&old.version);
        let order = if self.newest_wins { order } else { order.reverse() };
        match order {
            Ordering::Less => Fate::Stale,
            Ordering::Equal if new.content == old.content => Fate::Duplicate,
            _ => Fate::Passed,
        }
    }
}

impl Operator for DedupLast {
    fn push(&mut self, batch: Batch, out: &mut Output) -> Result<(), Halt> {
        let key = self.key.apply(&batch.rows);
        let version = self.version.apply(&batch.rows);
        let mut failed = of_rows(&batch, key.failed);
        for failure in of_rows(&batch, version.failed) {
            if !failed.iter().any(|known| known.row == failure.row) {
                failed.push(failure);
            }
        }
        let versions = version.rows.column(0).clone();
        let ops = batch.operations();
        for row in 0..batch.len() {
            let known = failed.iter().any(|known| known.row as usize == row);
            if versions.is_null(row) && !ops.is_clear(row) && !known {
                let reason = Reason::new("null-version", format!("{} is NULL", self.version.schema().field(0).name()));
                failed.push(RowFailure { row: row as u32, reason });
            }
        }
        failed.sort_by_key(|failure| failure.row);
        let broken =
            |error: arrow::error::ArrowError| Halt::Broken { step: out.step().clone(), detail: error.to_string() };
        let encoded = self.converter.convert_columns(&[versions]).map_err(broken)?;
        let schema = key.rows.schema();
        let fields: Vec<_> = schema.fields().iter().map(|field| field.as_ref()).collect();
        let mut prints = vec![];
        let valid = fingerprints(key.rows.columns(), &fields, &mut prints).filter(|_| !self.content);
        let lateness = self.horizon.over(&batch, self.within);
        let mut verdicts = Verdicts::of(batch.len());
        for (row, &print) in prints.iter().enumerate() {
            if failed.binary_search_by_key(&(row as u32), |failure| failure.row).is_ok() {
                continue;
            }
            if ops.is_clear(row) || valid.as_ref().is_some_and(|valid| valid.is_null(row)) {
                verdicts.nulls += u64::from(!ops.is_clear(row));
                verdicts.pass(row);
                continue;
            }
            let id = batch.row_ids().value(row) as usize;
            let time = batch.origin.times[id];
            if let Some(reason) = lateness.of(time, row) {
                verdicts.late(row, reason);
                continue;
            }
            let before = self.last.get(&print).map_or(0, |last| last.generation);
            let new = Last {
                generation: self.generation(time).max(before),
                time,
                content: content_hash(&batch.origin.bytes_of(id)),
                version: encoded.row(row).data().into(),
            };
            match self.judge(print, &new) {
                Fate::Stale => verdicts.stale.push(row),
                Fate::Duplicate => verdicts.duplicates.push(row),
                _ => {
                    self.generations.insert(new.generation);
                    self.fresh.push((print, new.clone()));
                    self.last.insert(print, new);
                    verdicts.pass(row);
                }
            }
        }
        let keys = RowKeys { columns: key.rows.columns(), fields: &fields, content: self.content };
        verdicts.settle(&batch, &keys, &failed, out);
        Ok(())
    }

    fn advance(&mut self, lowest: Micros, _out: &mut Output) -> Result<(), Halt> {
        self.horizon.advance(lowest);
        Ok(())
    }

    fn close(&mut self, _epoch: Epoch, _step: &StepId) -> Result<Delta, Halt> {
        let mut bodies = Bodies::default();
        for (key, last) in std::mem::take(&mut self.fresh) {
            let mut entry = Vec::with_capacity(44 + last.version.len());
            entry.extend_from_slice(&key.to_le_bytes());
            entry.extend_from_slice(&last.time.to_le_bytes());
            entry.extend_from_slice(&last.content.to_le_bytes());
            entry.extend_from_slice(&(last.version.len() as u32).to_le_bytes());
            entry.extend_from_slice(&last.version);
            bodies.add(last.generation, &entry);
        }
        let mut expired = vec![];
        if let Some(first) = self.horizon.first_live(self.within) {
            expired = self.generations.range(..first).copied().collect();
            if !expired.is_empty() {
                self.generations = self.generations.split_off(&first);
                self.last.retain(|_, last| last.generation >= first);
            }
        }
        Ok(Delta { appended: bodies.without(&expired), expired })
    }

    fn adopts(&mut self, then: &Layout, now: &Layout) -> Option<String> {
        let said = another_window(then, now)?;
        self.adopting = true;
        Some(said)
    }

    /// Of a key that was kept with another window only the last entry is written anew, so its generation is that of its time.
    fn restored(&mut self) {
        if !self.adopting {
            return;
        }
        let mut last = std::mem::take(&mut self.last);
        self.generations.clear();
        for (key, last) in &mut last {
            last.generation = self.generation(last.time);
            self.generations.insert(last.generation);
            self.fresh.push((*key, last.clone()));
        }
        self.last = last;
    }

    fn restore(&mut self, generation: Generation, body: &[u8]) -> Result<(), Damaged> {
        let mut rest = body;
        let mut take = |length: usize| -> Result<Vec<u8>, Damaged> {
            let (head, tail) = rest.split_at_checked(length).ok_or_else(|| Damaged("a key is cut off".into()))?;
            rest = tail;
            Ok(head.to_vec())
        };
        let mut left = body.len();
        while left > 0 {
            let head = take(44)?;
            let key = u128::from_le_bytes(head[..16].try_into().unwrap_or_default());
            let time = i64::from_le_bytes(head[16..24].try_into().unwrap_or_default());
            let content = u128::from_le_bytes(head[24..40].try_into().unwrap_or_default());
            let length = u32::from_le_bytes(head[40..44].try_into().unwrap_or_default()) as usize;
            let version = take(length)?.into_boxed_slice();
            left -= 44 + length;
            self.generations.insert(generation);
            self.last.insert(key, Last { generation, time, content, version });
        }
        Ok(())
    }

    fn size(&self) -> StateSize {
        let keys = self.last.len() as u64;
        let slots = (self.last.capacity() as u64 * 8 / 7).next_power_of_two();
        let versions: u64 = self.last.values().map(|last| last.version.len() as u64).sum();
        StateSize { keys, bytes: slots * (size_of::<(u128, Last)>() as u64 + 1) + versions }
    }
}

/// The kept keys of a segment body, for SQL over live state: fingerprint and time, in the order in which they were kept. Of a key
/// that is there more than once, the last one holds.
pub fn read_body(body: &[u8]) -> Result<Vec<(u128, Micros)>, Damaged> {
    let cut = || Damaged("a key is cut off".into());
    let mut kept = vec![];
    let mut rest = body;
    while !rest.is_empty() {
        let (head, after) = rest.split_at_checked(44).ok_or_else(cut)?;
        let key = u128::from_le_bytes(head[..16].try_into().unwrap_or_default());
        let time = i64::from_le_bytes(head[16..24].try_into().unwrap_or_default());
        let length = u32::from_le_bytes(head[40..44].try_into().unwrap_or_default()) as usize;
        rest = after.split_at_checked(length).ok_or_else(cut)?.1;
        kept.push((key, time));
    }
    Ok(kept)
}
