//! A table of lines that are in memory: one poll gives all of them, as they are then, and the next is its end.

use arrow::buffer::Buffer;
use syncline_record::{Headers, Micros, Origin, Partition};

use crate::source::{Cursors, Polled, Rows, Source, SourceError};

/// What a table is made of, asked at each reading.
pub struct Lines<F> {
    name: &'static str,
    lines: F,
    given: bool,
}

impl<F: FnMut() -> Result<Vec<String>, SourceError> + Send> Lines<F> {
    pub fn new(name: &'static str, lines: F) -> Self {
        Self { name, lines, given: false }
    }
}

impl<F: FnMut() -> Result<Vec<String>, SourceError> + Send> Source for Lines<F> {
    fn open(&mut self, _: &Cursors, _: Micros) -> Result<(), SourceError> {
        self.given = false;
        Ok(())
    }

    fn poll(&mut self, now: Micros) -> Result<Polled, SourceError> {
        if std::mem::replace(&mut self.given, true) {
            return Ok(Polled::Ended);
        }
        let origin = origin(self.name, 1, &(self.lines)()?, now, now);
        Ok(Polled::Rows(Rows { origin, columns: None, rejected: vec![], cursor: serde_json::Value::Null }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![]
    }
}

/// The lines of one poll, all of the same time; `first` is the offset of the first.
pub fn origin(partition: &str, first: u64, lines: &[String], time: Micros, ingested_at: Micros) -> Origin {
    let (mut payload, mut spans) = (vec![], vec![]);
    for line in lines {
        let start = payload.len() as u32;
        payload.extend_from_slice(line.as_bytes());
        spans.push((start, payload.len() as u32));
        payload.push(b'\n');
    }
    Origin {
        texts: None,
        names: None,
        partition: Partition::new(partition, 0),
        payload: Buffer::from_vec(payload),
        offsets: (first..).take(spans.len()).collect(),
        times: vec![time; spans.len()],
        spans,
        bytes: None,
        ingested_at: ingested_at.into(),
        headers: Headers::Absent,
        keys: None,
    }
}
