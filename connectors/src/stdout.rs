//! Prints every row as a line of JSON.
//!
//! A terminal cannot say how far it is, so after a crash the rows of the last commit may come again: at least once, in order. A line
//! that was cut off by a full pipe is ended before it is written again, so a reader sees whole lines.

use std::io::{self, ErrorKind, Write};

use arrow::datatypes::Schema;
use syncline_engine::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream};

use crate::{
    rowtext::{RowText, is_row},
    system_words,
};

pub struct StdoutSink {
    text: RowText,
    out: Box<dyn Write + Send>,
    lines: Vec<u8>,
    /// The last byte that was written is in the middle of a line.
    torn: bool,
}

impl StdoutSink {
    pub fn new(schema: &Schema) -> Self {
        Self::to(schema, Box::new(io::stdout()))
    }

    /// Writes to something else than standard output.
    pub fn to(schema: &Schema, out: Box<dyn Write + Send>) -> Self {
        Self { text: RowText::new(schema), out, lines: Vec::new(), torn: false }
    }

    fn write_out(&mut self) -> io::Result<()> {
        if self.torn {
            write_some(&mut self.out, b"\n", &mut self.torn)?;
        }
        write_some(&mut self.out, &self.lines, &mut self.torn)?;
        self.out.flush()
    }
}

/// Writes all, and keeps note of whether what was written ends in the middle of a line.
fn write_some(out: &mut dyn Write, mut bytes: &[u8], torn: &mut bool) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => {
                *torn = bytes[written - 1] != b'\n';
                bytes = &bytes[written..];
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl OutboxSink for StdoutSink {
    fn open(&mut self, _stream: &Stream) -> Result<Option<Delivered>, SinkError> {
        self.lines.clear();
        Ok(None)
    }

    fn apply(&mut self, rows: &[OutboxRows]) -> Result<Applied, SinkError> {
        let mut applied = Applied::default();
        for OutboxRows { base, rows } in rows {
            for row in (0..rows.num_rows()).filter(|row| is_row(rows, *row)) {
                if let Err(failure) = self.text.write(rows, row, &mut self.lines) {
                    applied.dead.push((base + row as u64, failure.reason));
                }
            }
        }
        Ok(applied)
    }

    fn commit(&mut self, _delivered: &Delivered) -> Result<(), SinkError> {
        let written = self.write_out();
        self.lines.clear();
        written.map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => SinkError::Never("the reader of the output has gone".to_owned()),
            ErrorKind::WouldBlock | ErrorKind::StorageFull => {
                SinkError::Again(format!("cannot write to the output: {}", system_words(&error)))
            }
            _ => SinkError::Never(format!("cannot write to the output: {}", system_words(&error))),
        })
    }

    fn clear(&mut self, _stream: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}
