//! Groups as bodies of segments: self-delimiting, so that two bodies one after the other are a body.
//!
//! ```text
//! body   { length (4, little endian) columns of state as an Arrow IPC stream }
//! ```

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::DataType,
    ipc::{reader::StreamReader, writer::StreamWriter},
};
use syncline_record::{Generation, Micros};

use crate::{
    operator::{Damaged, Delta},
    segment::SEGMENT_BYTES,
};

/// The generation in which a step keeps what is not of one window. No window begins there: it would have no end.
pub const NOTES: Generation = Generation::MAX;

/// Windows in the order of time, as unsigned numbers.
pub fn generation(start: Micros) -> Generation {
    (start as u64) ^ (1 << 63)
}

pub fn start_of(generation: Generation) -> Micros {
    (generation ^ (1 << 63)) as Micros
}

/// Bodies of about a segment's size each.
pub fn bodies(states: &RecordBatch) -> Result<Vec<Vec<u8>>, String> {
    let rows = states.num_rows();
    let whole = body(states)?;
    if whole.len() <= SEGMENT_BYTES || rows < 2 {
        return Ok(vec![whole]);
    }
    let parts = whole.len().div_ceil(SEGMENT_BYTES / 2).min(rows);
    let each = rows.div_ceil(parts);
    (0..rows).step_by(each).map(|at| body(&slice(states, at, each.min(rows - at)))).collect()
}

/// Some of the rows, without the texts of the others.
fn slice(states: &RecordBatch, at: usize, rows: usize) -> RecordBatch {
    let part = states.slice(at, rows);
    let columns = part.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => std::sync::Arc::new(column.as_string_view().gc()) as ArrayRef,
        DataType::BinaryView => std::sync::Arc::new(column.as_binary_view().gc()) as ArrayRef,
        _ => column.clone(),
    });
    RecordBatch::try_new(part.schema(), columns.collect()).unwrap_or(part)
}

fn body(states: &RecordBatch) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; 4];
    let write = |bytes: &mut Vec<u8>| {
        let mut writer = StreamWriter::try_new(bytes, &states.schema())?;
        writer.write(states)?;
        writer.finish()
    };
    write(&mut bytes).map_err(|error| error.to_string())?;
    let length = u32::try_from(bytes.len() - 4).map_err(|_| "a part of the state has more than 4 GB".to_owned())?;
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    Ok(bytes)
}

/// The parts of a body, in order.
pub fn read(mut body: &[u8], take: &mut dyn FnMut(&RecordBatch) -> Result<(), Damaged>) -> Result<(), Damaged> {
    while !body.is_empty() {
        let cut = || Damaged("it ends in the middle of a part".into());
        let (length, rest) = body.split_at_checked(4).ok_or_else(cut)?;
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default()) as usize;
        let (part, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        let damaged = |error: arrow::error::ArrowError| Damaged(error.to_string());
        for batch in StreamReader::try_new(part, None).map_err(damaged)? {
            take(&batch.map_err(damaged)?)?;
        }
        body = rest;
    }
    Ok(())
}

/// What a step keeps beside its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notes {
    /// The end of all inputs has closed every window up to here.
    pub ended_to: Micros,
    /// The offset of the next row that goes out.
    pub next: u64,
    /// The latest time of a row that came in.
    pub latest: Micros,
}

/// Notes that an epoch writes when they have changed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    pub now: Notes,
    written: Notes,
}

impl Noted {
    pub fn settle(&mut self, delta: &mut Delta) {
        if self.now != self.written {
            self.written = self.now;
            delta.expired.push(NOTES);
            delta.appended.push((NOTES, self.now.body()));
        }
    }

    /// They are written with the next epoch, whatever they are.
    pub fn again(&mut self) {
        self.written = Notes::default();
    }

    pub fn restore(&mut self, body: &[u8]) -> Result<(), Damaged> {
        self.now = Notes::read(body)?;
        self.written = self.now;
        Ok(())
    }
}

impl Default for Notes {
    fn default() -> Self {
        Self { ended_to: Micros::MIN, next: 1, latest: Micros::MIN }
    }
}

impl Notes {
    fn body(&self) -> Vec<u8> {
        [self.ended_to.to_le_bytes(), self.next.to_le_bytes(), self.latest.to_le_bytes()].concat()
    }

    /// Of several, one after the other, the last counts.
    fn read(body: &[u8]) -> Result<Self, Damaged> {
        let size = Self::default().body().len();
        if body.is_empty() || !body.len().is_multiple_of(size) {
            return Err(Damaged(format!("{} bytes are no notes of an AGGREGATE", body.len())));
        }
        let last = &body[body.len() - size..];
        let word = |at: usize| last[at..at + 8].try_into().unwrap_or_default();
        Ok(Self {
            ended_to: Micros::from_le_bytes(word(0)),
            next: u64::from_le_bytes(word(8)),
            latest: Micros::from_le_bytes(word(16)),
        })
    }
}
