//! Prints every row as a line of JSON.
//!
//! A terminal cannot say how far it is, so after a crash the rows of the last commit may come again: at least once, in order. A line
//! that was cut off by a full pipe is ended before it is written again, so a reader sees whole lines.

use std::io::{self, ErrorKind, Write};

use arrow::datatypes::Schema;
use syncline_engine::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream};

use crate::{
    rowtext::{RowText, which_are_rows},
    system_words,
};

/// What becomes of rows that cannot be printed.
const WAIT: &str = "The rows that were not printed wait, and the next run begins with them";
const GONE: &str =
    "the reader of the output has gone. The rows that were not printed wait, and the next run begins with them";

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
            let (lines, is_row) = (self.text.of(rows), which_are_rows(rows));
            for row in (0..rows.num_rows()).filter(|row| is_row(*row)) {
                if let Err(failure) = lines.write(row, &mut self.lines) {
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
            // Nobody can give the reader back to this process, nor room to a full device: it stops, and the rows wait.
            ErrorKind::BrokenPipe => SinkError::Closed(GONE.to_owned()),
            ErrorKind::StorageFull => {
                SinkError::Closed(format!("cannot write to the output: {}. {WAIT}", system_words(&error)))
            }
            ErrorKind::WouldBlock => SinkError::Again(format!("cannot write to the output: {}", system_words(&error))),
            _ => SinkError::Never(format!("cannot write to the output: {}", system_words(&error))),
        })
    }

    fn clear(&mut self, _stream: &Stream) -> Result<(), SinkError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::conformance::rows::{numbered, numbered_schema};

    /// A pipe that takes `room` bytes at a time, and then says what `full` is.
    #[derive(Clone)]
    struct Pipe {
        taken: Arc<Mutex<Vec<u8>>>,
        room: Arc<Mutex<usize>>,
        full: ErrorKind,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut room = self.room.lock().unwrap();
            if *room == 0 {
                return Err(self.full.into());
            }
            let taken = bytes.len().min(*room);
            *room -= taken;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn printed(full: ErrorKind) -> (Result<(), SinkError>, StdoutSink, Pipe) {
        let pipe = Pipe { taken: Arc::default(), room: Arc::new(Mutex::new(12)), full };
        let mut sink = StdoutSink::to(&numbered_schema(), Box::new(pipe.clone()));
        sink.apply(&[OutboxRows { base: 0, rows: numbered(&[1, 2]) }]).unwrap();
        (sink.commit(&Delivered::default()), sink, pipe)
    }

    #[test]
    fn a_torn_line_is_ended_before_it_comes_again() {
        let (full, mut sink, pipe) = printed(ErrorKind::WouldBlock);
        assert_eq!(full, Err(SinkError::Again("cannot write to the output: operation would block".into())));
        *pipe.room.lock().unwrap() = 1000;
        sink.apply(&[OutboxRows { base: 0, rows: numbered(&[1, 2]) }]).unwrap();
        sink.commit(&Delivered::default()).unwrap();
        let text = String::from_utf8(pipe.taken.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "{\"id\":1}\n{\"i\n{\"id\":1}\n{\"id\":2}\n");
    }

    /// A full device was tried again for ten minutes and more.
    #[test]
    fn a_full_device_ends_it() {
        let (full, ..) = printed(ErrorKind::StorageFull);
        let text = format!("cannot write to the output: no storage space. {WAIT}");
        assert_eq!(full, Err(SinkError::Closed(text)));
    }

    #[test]
    fn when_the_reader_has_gone_nothing_more_is_tried() {
        let (gone, ..) = printed(ErrorKind::BrokenPipe);
        assert_eq!(gone, Err(SinkError::Closed(GONE.into())));
    }
}
