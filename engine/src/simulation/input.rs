//! What goes into a simulated pipeline: one sequence of records over a few partitions, and the source that reads it.
//!
//! The sequence is fixed by the seed, whatever happens on the way: a crash changes where polls begin and end, never which record
//! comes before which. So there is one right answer.

use std::sync::{Arc, Mutex};

use arrow::buffer::Buffer;
use serde_json::Value;
use syncline_record::{Headers, Micros, Origin, Partition, Place, Reason, keys::content_hash};

use super::{dice::Dice, lock};
use crate::source::{Cursors, Polled, Rejected, Rows, Source, SourceError};

/// Midnight before every record: 2026-11-20T00:00:00Z.
pub const MIDNIGHT: Micros = 1_795_132_800_000_000;
pub const SECOND: Micros = 1_000_000;
const PARTITIONS: u64 = 3;

/// One record, as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub partition: u32,
    /// From 1, per partition.
    pub offset: u64,
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    Order(Order),
    /// Not one JSON text.
    Garbage,
    /// Too large to be a row.
    Oversize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub id: u64,
    pub key: Option<String>,
    /// `None`: text that is no number.
    pub amount: Option<i64>,
    pub version: i64,
    pub time: Micros,
}

impl Order {
    pub fn text(&self) -> String {
        let key = self.key.as_ref().map_or("null".to_owned(), |key| format!("\"{key}\""));
        let amount = self.amount.map_or("\"ten\"".to_owned(), |amount| amount.to_string());
        let Order { id, version, time, .. } = self;
        format!(r#"{{"id":{id},"key":{key},"amount":{amount},"v":{version},"at":"{}"}}"#, clock_text(*time))
    }
}

/// A time of the simulated days as RFC 3339.
pub fn clock_text(time: Micros) -> String {
    let millis = (time - MIDNIGHT) / 1000;
    let (day, millis) = (20 + millis / 86_400_000, millis % 86_400_000);
    let (hours, minutes, seconds) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60);
    format!("2026-11-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", millis % 1000)
}

impl Record {
    fn text(&self) -> String {
        match &self.body {
            Body::Order(order) => order.text(),
            Body::Garbage => r#"{"id": 1,"#.to_owned(),
            Body::Oversize => "x".repeat(50),
        }
    }

    pub fn partition(&self) -> Partition {
        Partition::new("in/orders", self.partition)
    }
}

/// Records whose times move on by some seconds each, with repeats near and far, records out of order, and bad ones. In some seeds
/// time hardly moves, so that one generation of state sees many epochs.
pub fn records(dice: &Dice, count: usize, window: Micros) -> Vec<Record> {
    let mut offsets = [0u64; PARTITIONS as usize];
    let mut orders: Vec<Order> = vec![];
    let mut partition = 0;
    let pace = if dice.chance(25) { SECOND / 20 } else { 4 * SECOND };
    (0..count)
        .map(|index| {
            if dice.chance(35) {
                partition = dice.below(PARTITIONS) as u32;
            }
            let base = MIDNIGHT + 3600 * SECOND + index as Micros * pace;
            let body = match dice.below(100) {
                0..3 => Body::Garbage,
                3..5 => Body::Oversize,
                5..35 if !orders.is_empty() => Body::Order(repeat(dice, &orders, window)),
                _ => Body::Order(fresh(dice, index as u64 + 1, base)),
            };
            if let Body::Order(order) = &body {
                orders.push(order.clone());
            }
            offsets[partition as usize] += 1;
            Record { partition, offset: offsets[partition as usize], body }
        })
        .collect()
}

fn fresh(dice: &Dice, id: u64, base: Micros) -> Order {
    let time = match dice.below(50) {
        // Far ahead of any clock: a mistake.
        0 => base + 30 * 3600 * SECOND,
        1..10 => base - dice.between(0, 150) * SECOND,
        _ => base - dice.between(0, 3) * SECOND,
    };
    Order {
        id,
        key: (!dice.chance(3)).then(|| format!("k{}", dice.below(6))),
        amount: (!dice.chance(3)).then(|| dice.between(-20, 100)),
        version: dice.between(0, 40),
        time,
    }
}

/// An order that came before, again: the same bytes, or with a time at and around the edges of the window.
fn repeat(dice: &Dice, orders: &[Order], window: Micros) -> Order {
    let back = dice.below(orders.len().min(25) as u64) as usize;
    let mut order = orders[orders.len() - 1 - back].clone();
    let edge = [0, 0, 1000, window - 1000, window, window + 1000, 2 * window][dice.below(7) as usize];
    order.time += if dice.chance(70) { edge } else { -edge };
    order.version += dice.between(-2, 2);
    order
}

/// The sequence, and how much of it has arrived.
pub struct Input {
    pub records: Vec<Record>,
    pub arrived: usize,
    /// What has arrived is all there is, for now: the source is at its end.
    pub closed: bool,
}

/// Reads the sequence in polls of any length.
pub struct Reader {
    input: Arc<Mutex<Input>>,
    dice: Dice,
    next: usize,
}

impl Reader {
    pub fn new(input: Arc<Mutex<Input>>, dice: Dice) -> Self {
        Self { input, dice, next: 0 }
    }
}

impl Source for Reader {
    fn open(&mut self, cursors: &Cursors, _now: Micros) -> Result<(), SourceError> {
        let input = lock(&self.input);
        self.next = cursors.values().filter_map(Value::as_u64).sum::<u64>() as usize;
        // Cursors of one checkpoint belong together: per partition they are the counts of one prefix of the sequence.
        for number in 0..PARTITIONS as u32 {
            let name = Partition::new("in/orders", number).to_string();
            let read = input.records[..self.next].iter().filter(|record| record.partition == number).count() as u64;
            if cursors.get(&name).and_then(Value::as_u64).unwrap_or(0) != read {
                let detail = format!("the cursors {cursors:?} are not of one moment");
                return Err(SourceError::Changed { what: name, detail });
            }
        }
        Ok(())
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        let input = lock(&self.input);
        let arrived = input.arrived.min(input.records.len());
        let Some(first) = input.records[..arrived].get(self.next) else {
            return Ok(if input.closed { Polled::Ended } else { Polled::Idle });
        };
        let most = 1 + self.dice.below(12) as usize;
        let polled: Vec<&Record> = input.records[self.next..arrived]
            .iter()
            .take(most)
            .take_while(|record| record.partition == first.partition)
            .collect();
        self.next += polled.len();
        Ok(Polled::Rows(rows(&polled, now)))
    }

    fn bounded(&self) -> bool {
        false
    }

    fn partitions(&self) -> Vec<Partition> {
        (0..PARTITIONS as u32).map(|number| Partition::new("in/orders", number)).collect()
    }
}

fn rows(polled: &[&Record], now: Micros) -> Rows {
    let (mut payload, mut spans, mut offsets, mut rejected) = (vec![], vec![], vec![], vec![]);
    let partition = polled[0].partition();
    for record in polled {
        let text = record.text();
        if record.body == Body::Oversize {
            rejected.push(Rejected {
                place: Place { partition: partition.clone(), offset: record.offset, byte: None },
                time: MIDNIGHT,
                length: text.len() as u64,
                hash: content_hash(text.as_bytes()),
                bytes: text.into_bytes(),
                headers: None,
                reason: Reason::new("too-large", "a simulated record that is too large"),
            });
            continue;
        }
        let start = payload.len() as u32;
        payload.extend_from_slice(text.as_bytes());
        spans.push((start, payload.len() as u32));
        payload.push(b'\n');
        offsets.push(record.offset);
    }
    let last = polled.last().map_or(0, |record| record.offset);
    let origin = Origin {
        texts: None,
        names: None,
        partition,
        payload: Buffer::from_vec(payload),
        times: vec![MIDNIGHT; spans.len()],
        spans,
        offsets,
        bytes: None,
        ingested_at: now.into(),
        headers: Headers::Absent,
        keys: None,
    };
    Rows { origin, columns: None, rejected, cursor: Value::from(last) }
}
