//! The input of a test: records from the file, a checkpoint's worth at a time.

use std::{path::Path, sync::Arc};

use arrow::buffer::Buffer;
use syncline_engine::source::{Cursors, Polled, Progress, Rows, Source, SourceError};
use syncline_record::{Headers, Micros, Origin, Partition};

/// The partition that rows of a test come from.
pub const INPUT: &str = "input";

pub struct RowsSource {
    rows: Arc<Vec<Vec<u8>>>,
    every: usize,
    time: Micros,
    next: usize,
}

impl RowsSource {
    pub fn new(rows: Arc<Vec<Vec<u8>>>, every: usize, time: Micros) -> Self {
        Self { rows, every, time, next: 0 }
    }
}

impl Source for RowsSource {
    fn open(&mut self, cursors: &Cursors, _: Micros) -> Result<(), SourceError> {
        self.next = cursors.get(INPUT).and_then(|cursor| cursor.as_u64()).unwrap_or(0) as usize;
        Ok(())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        if self.next >= self.rows.len() {
            return Ok(Polled::Ended);
        }
        let end = (self.next + self.every).min(self.rows.len());
        let origin = origin(&self.rows, self.next, end, self.time);
        self.next = end;
        Ok(Polled::Rows(Rows { origin, columns: None, rejected: vec![], cursor: end.into() }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn progress(&self) -> Progress {
        Progress::default()
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::new(INPUT, 0)]
    }
}

/// Rows `from..to`, numbered from 1 like the lines of a file.
pub fn origin(rows: &[Vec<u8>], from: usize, to: usize, time: Micros) -> Origin {
    let mut payload = vec![];
    let mut spans = vec![];
    for row in &rows[from..to] {
        let start = payload.len() as u32;
        payload.extend_from_slice(row);
        spans.push((start, payload.len() as u32));
    }
    let count = spans.len();
    Origin {
        texts: None,
        partition: Partition::new(INPUT, 0),
        payload: Buffer::from_vec(payload),
        spans,
        offsets: (from as u64 + 1..=to as u64).collect(),
        bytes: None,
        times: vec![time; count],
        ingested_at: time.into(),
        headers: Headers::Absent,
        keys: None,
    }
}

/// The lines of a fixture.
pub fn read_lines(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("{} cannot be read: {}", path.display(), crate::source_file::words(&error)))?;
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    Ok(lines.filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect())
}
