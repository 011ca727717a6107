//! What the pipeline must do, computed the plain way: one record after the other, everything remembered, nothing ever restarted.
//!
//! It follows the sentences of the language, not the operators: `DEDUP` looks at all that was kept.

use std::collections::BTreeMap;

use syncline_record::{Fate, Micros, Op, time::NO_WATERMARK};

use super::{
    database::{self, Change, Manner, Table},
    disk::UNWRITABLE,
    further::{BAD_NAME, Drawn},
    further_model::Further,
    input::{Body, MIDNIGHT, Order, Record, SECOND},
    pipeline::{DELAY, DELETED, LARGE, NEWEST_WITHIN, WITHIN},
};

/// Partition and offset of a record, as the ledger names it.
pub type At = (u32, u64);

/// The right answer.
#[derive(Debug, Default)]
pub struct Model {
    /// Step → fate → records. `Passed` too.
    pub fates: BTreeMap<(&'static str, Fate), Vec<At>>,
    pub file: Vec<String>,
    pub orders: Table,
    pub groups: Table,
    /// Lines of the plain sink, in order.
    pub people: Vec<String>,
    /// Kept by `dedup`: id and time.
    pub kept: Vec<(u64, Micros)>,
    /// The steps of the seed.
    pub further: Further,
    watermarks: BTreeMap<u32, Micros>,
    newest: BTreeMap<String, (Micros, i64, String)>,
}

impl Model {
    /// `ends`: how many records had been read when the input was at its end.
    pub fn of(records: &[Record], drawn: Drawn, ends: &[usize]) -> Self {
        let mut model = Self { further: Further::of(drawn), ..Self::default() };
        for (index, record) in records.iter().enumerate() {
            if ends.contains(&index) {
                model.further.end();
            }
            model.take(record);
        }
        model.further.end();
        model.further.close();
        if drawn.matched.is_some() {
            model.fates.insert(("match/table", Fate::Dead), vec![(0, BAD_NAME)]);
        }
        for step in drawn.outboxes() {
            let rows = model.further.lines(step).len();
            model.fates.insert((step, Fate::Passed), vec![(0, 0); rows]);
        }
        model
    }

    /// How many records have this fate at this step.
    pub fn count(&self, step: &'static str, fate: Fate) -> u64 {
        self.fates.get(&(step, fate)).map_or(0, |records| records.len() as u64)
    }

    fn fate(&mut self, step: &'static str, fate: Fate, record: &Record) {
        self.fates.entry((step, fate)).or_default().push((record.partition, record.offset));
    }

    fn take(&mut self, record: &Record) {
        let order = match &record.body {
            // A day and more ahead: the clock of a simulation never comes near.
            Body::Order(order) if order.time < MIDNIGHT + 24 * 3600 * SECOND => order,
            _ => return self.fate("source", Fate::Dead, record),
        };
        self.fate("source", Fate::Passed, record);
        let mark = self.watermarks.entry(record.partition).or_insert(NO_WATERMARK);
        let before = *mark;
        *mark = before.max(order.time - DELAY);
        match order.amount {
            None => return self.fate("where", Fate::Dead, record),
            Some(amount) if amount < 0 => return self.fate("where", Fate::Filtered, record),
            Some(_) => self.fate("where", Fate::Passed, record),
        }
        let fate = self.dedup(order, before);
        self.fate("dedup", fate, record);
        if fate == Fate::Passed {
            self.fate("tee", Fate::Passed, record);
            self.write(order, record);
            self.shard(order, record);
            self.replace(order, record, before);
            for (step, fate) in self.further.take(order, before) {
                self.fate(step, fate, record);
            }
        }
    }

    fn dedup(&mut self, order: &Order, mark: Micros) -> Fate {
        if order.time <= mark.saturating_sub(WITHIN) {
            return Fate::Late;
        }
        if self.kept.iter().any(|(id, time)| *id == order.id && (time - order.time).abs() < WITHIN) {
            return Fate::Duplicate;
        }
        self.kept.push((order.id, order.time));
        Fate::Passed
    }

    fn write(&mut self, order: &Order, record: &Record) {
        let (line, amount) = line(order);
        if amount == UNWRITABLE {
            return self.fate("file", Fate::Dead, record);
        }
        self.fate("file", Fate::Passed, record);
        self.file.push(line);
    }

    fn shard(&mut self, order: &Order, record: &Record) {
        self.fate("shard", Fate::Passed, record);
        self.fate("people/id", Fate::Passed, record);
        let deleted = order.amount == Some(DELETED);
        let change = change(order, if deleted { Op::Delete } else { Op::Insert });
        let fate = match database::take(&mut self.orders, Manner::Upsert, change) {
            Ok(true) => Fate::Passed,
            Ok(false) => Fate::Stale,
            Err(_) => Fate::Dead,
        };
        self.fate("orders", fate, record);
        if deleted {
            return self.fate("people", Fate::Absorbed, record);
        }
        self.fate("people", Fate::Passed, record);
        self.people.push(line(order).0);
    }

    fn replace(&mut self, order: &Order, record: &Record, mark: Micros) {
        if order.key.is_some() {
            let fate = self.keep_last(order, mark);
            self.fate("newest", fate, record);
            if fate != Fate::Passed {
                return;
            }
        } else {
            self.fate("newest", Fate::Passed, record);
            return self.fate("group", Fate::Dead, record);
        }
        self.fate("group", Fate::Passed, record);
        let large = order.amount.is_some_and(|amount| amount >= LARGE);
        self.fate("large", if large { Fate::Passed } else { Fate::Filtered }, record);
        let change = change(order, if large { Op::Insert } else { Op::Clear });
        let taken = database::take(&mut self.groups, Manner::Replace, change);
        if large {
            self.fate("groups", if taken.is_ok() { Fate::Passed } else { Fate::Dead }, record);
        }
    }

    fn keep_last(&mut self, order: &Order, mark: Micros) -> Fate {
        if order.time <= mark.saturating_sub(NEWEST_WITHIN) {
            return Fate::Late;
        }
        let key = order.key.clone().unwrap_or_default();
        if let Some((time, version, text)) = self.newest.get(&key)
            && (time - order.time).abs() < NEWEST_WITHIN
        {
            if order.version < *version {
                return Fate::Stale;
            }
            if order.version == *version && *text == order.text() {
                return Fate::Duplicate;
            }
        }
        self.newest.insert(key, (order.time, order.version, order.text()));
        Fate::Passed
    }
}

fn change(order: &Order, op: Op) -> Change {
    let (line, amount) = line(order);
    Change { op, key: order.key.clone(), version: order.version, forbidden: amount == database::FORBIDDEN, line }
}

fn line(order: &Order) -> (String, String) {
    let key = order.key.as_ref().map_or("null".to_owned(), |key| format!("\"{key}\""));
    let amount = order.amount.map_or("null".to_owned(), |amount| amount.to_string());
    (format!("{} {key} {amount}", order.id), amount)
}
