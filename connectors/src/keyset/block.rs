//! Records that go out together, each a row of a table as a JSON object.

use std::mem::take;

use arrow::buffer::Buffer;
use serde_json::Value;
use syncline_engine::source::{MAX_RECORD, Rejected, Rows};
use syncline_record::{DeadLetter, Headers, Micros, Origin, Partition, Place, Reason, keys::content_hash};

/// Rows and bytes of one poll, as the engine likes them.
pub const ROWS: usize = 1024;
pub const BYTES: usize = 256 << 10;

pub struct Block {
    partition: Partition,
    time: Micros,
    /// Number of the next row, from 1.
    next: u64,
    payload: Vec<u8>,
    spans: Vec<(u32, u32)>,
    offsets: Vec<u64>,
    rejected: Vec<Rejected>,
}

impl Block {
    /// `next`: the number of its first row.
    pub fn of(partition: Partition, time: Micros, next: u64) -> Self {
        let (payload, spans, offsets, rejected) = (vec![], vec![], vec![], vec![]);
        Self { partition, time, next, payload, spans, offsets, rejected }
    }

    /// One more row, which `put` writes.
    pub fn add<E>(&mut self, put: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.payload.len();
        put(&mut self.payload)?;
        match self.payload.len() - start > MAX_RECORD {
            true => self.refuse(start),
            false => {
                self.spans.push((start as u32, self.payload.len() as u32));
                self.offsets.push(self.next);
            }
        }
        self.next += 1;
        Ok(())
    }

    fn refuse(&mut self, start: usize) {
        let record = &self.payload[start..];
        self.rejected.push(Rejected {
            place: Place { partition: self.partition.clone(), offset: self.next, byte: None },
            time: self.time,
            bytes: record[..DeadLetter::KEPT].to_vec(),
            length: record.len() as u64,
            hash: content_hash(record),
            headers: None,
            reason: Reason::new("too-large", format!("the row has {} bytes", record.len())),
        });
        self.payload.truncate(start);
    }

    /// Number of the row that comes next.
    pub fn next(&self) -> u64 {
        self.next
    }

    pub fn len(&self) -> usize {
        self.spans.len() + self.rejected.len()
    }

    pub fn is_full(&self) -> bool {
        self.len() >= ROWS || self.payload.len() >= BYTES
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it holds; the next rows go on behind it.
    pub fn rows(&mut self, cursor: Value) -> Rows {
        let spans = take(&mut self.spans);
        let origin = Origin {
            partition: self.partition.clone(),
            payload: Buffer::from_vec(take(&mut self.payload)),
            times: vec![self.time; spans.len()],
            spans,
            texts: None,
            names: None,
            offsets: take(&mut self.offsets),
            bytes: None,
            ingested_at: self.time.into(),
            headers: Headers::Absent,
            keys: None,
        };
        Rows { origin, columns: None, rejected: take(&mut self.rejected), cursor }
    }
}
