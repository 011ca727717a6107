//! The input of a test: records from the file, a checkpoint's worth at a time.

use std::{path::Path, sync::Arc};

use arrow::buffer::Buffer;
use syncline_connectors::Args;
use syncline_dsl::plan::{CsvPlan, TestInput};
use syncline_engine::source::{Cursors, Polled, Rows, Source, SourceError};
use syncline_record::{Headers, Micros, Origin, Partition};

use crate::{
    bind::formats,
    sample::{self, Records},
};

/// The partition that rows of a test come from.
pub const INPUT: &str = "input";

pub struct RowsSource {
    records: Arc<Records>,
    every: usize,
    time: Micros,
    next: usize,
}

impl RowsSource {
    pub fn new(records: Arc<Records>, every: usize, time: Micros) -> Self {
        Self { records, every, time, next: 0 }
    }
}

/// The records of a test. Rows in the file are JSON, whatever the pipeline reads: one sees what belongs to what. A file is what its
/// name says.
pub fn given(input: &TestInput, said: Option<&CsvPlan>, folder: &Path) -> Result<(Records, Option<CsvPlan>), String> {
    let path = match input {
        TestInput::Rows(rows) => {
            let bytes = rows.iter().map(|row| row.clone().into_bytes()).collect();
            return Ok((Records { bytes, names: None }, None));
        }
        TestInput::File(path) => path,
    };
    let format = sample::format_of(path, said.map(formats::dialect));
    let records =
        sample::read(&Args::texts(&[path]), folder, &format, usize::MAX).map_err(|error| error.to_string())?;
    Ok((records, formats::plan(&format)))
}

impl Source for RowsSource {
    fn open(&mut self, cursors: &Cursors, _: Micros) -> Result<(), SourceError> {
        self.next = cursors.get(INPUT).and_then(|cursor| cursor.as_u64()).unwrap_or(0) as usize;
        Ok(())
    }

    fn poll(&mut self, _: Micros) -> Result<Polled, SourceError> {
        if self.next >= self.records.bytes.len() {
            return Ok(Polled::Ended);
        }
        let end = (self.next + self.every).min(self.records.bytes.len());
        let origin = origin(&self.records, self.next, end, self.time);
        self.next = end;
        Ok(Polled::Rows(Rows { origin, columns: None, rejected: vec![], cursor: end.into() }))
    }

    fn bounded(&self) -> bool {
        true
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::new(INPUT, 0)]
    }
}

/// Rows `from..to`, numbered from 1 like the lines of a file.
pub fn origin(records: &Records, from: usize, to: usize, time: Micros) -> Origin {
    let mut payload = vec![];
    let mut spans = vec![];
    for row in &records.bytes[from..to] {
        let start = payload.len() as u32;
        payload.extend_from_slice(row);
        spans.push((start, payload.len() as u32));
    }
    let count = spans.len();
    Origin {
        texts: None,
        names: records.names.clone(),
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
