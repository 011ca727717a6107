//! Arrow files and streams as a source.

use std::{
    io::{self, BufReader, Seek, SeekFrom},
    sync::Arc,
};

use arrow::{
    array::RecordBatch,
    datatypes::{Schema, SchemaRef},
    error::ArrowError,
    ipc::reader::{FileReader, StreamReader},
};

use crate::typed::{
    Contents, FileKind, Piece, Trouble, Wanted,
    ranges::{Onward, Ranges},
};

pub struct ArrowFiles;

/// What a file of the file format begins with; a stream begins with a length.
const MAGIC: &[u8] = b"ARROW1";
/// Bytes that are read ahead: the head of a message, and small bodies.
const AHEAD: usize = 64 << 10;

/// Reads one file, whichever format it has.
enum Batches {
    File(FileReader<BufReader<Onward>>),
    Stream(StreamReader<BufReader<Onward>>),
}

impl Batches {
    fn open(bytes: &Arc<dyn Ranges>, columns: Option<Vec<usize>>) -> Result<Self, Trouble> {
        let reading = || BufReader::with_capacity(AHEAD, Onward::new(bytes.clone(), 0));
        let is_file = bytes.size() > MAGIC.len() as u64 && *bytes.get(0, MAGIC.len())? == *MAGIC;
        Ok(match is_file {
            true => Self::File(FileReader::try_new(reading(), columns).map_err(trouble)?),
            false => Self::Stream(StreamReader::try_new(reading(), columns).map_err(trouble)?),
        })
    }

    fn schema(&self) -> SchemaRef {
        match self {
            Self::File(reader) => reader.schema(),
            Self::Stream(reader) => reader.schema(),
        }
    }
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::File(reader) => reader.next(),
            Self::Stream(reader) => reader.next(),
        }
    }
}

impl FileKind for ArrowFiles {
    fn extension(&self) -> &'static str {
        "arrow"
    }

    fn schema(&self, bytes: &Arc<dyn Ranges>) -> Result<SchemaRef, Trouble> {
        Ok(Batches::open(bytes, None)?.schema())
    }

    /// What comes before is read through: a stream has no index.
    fn read(&self, bytes: &Arc<dyn Ranges>, wanted: &Wanted, from: u64) -> Result<Contents, Trouble> {
        let columns = match &wanted.columns {
            Some(columns) => {
                let schema = self.schema(bytes)?;
                Some(places(&schema, columns))
            }
            None => None,
        };
        let mut left = from;
        let mut behind = move |batch: RecordBatch| {
            let skip = left.min(batch.num_rows() as u64) as usize;
            left -= skip as u64;
            batch.slice(skip, batch.num_rows() - skip)
        };
        let batches = Batches::open(bytes, columns)?;
        let pieces = batches.map(move |batch| batch.map(|batch| Piece::Rows(behind(batch))).map_err(trouble));
        Ok(Contents { pieces: Box::new(pieces), rows: None })
    }
}

/// Where the wanted columns lie in a file.
fn places(schema: &Schema, columns: &[String]) -> Vec<usize> {
    let fields = schema.fields().iter().enumerate();
    fields.filter(|(_, field)| columns.contains(field.name())).map(|(place, _)| place).collect()
}

fn trouble(error: ArrowError) -> Trouble {
    match error {
        ArrowError::IoError(_, error) => Trouble::from(error),
        other => Trouble::Broken(other.to_string()),
    }
}

impl Seek for Onward {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (from, by) = match to {
            SeekFrom::Start(at) => (at, 0),
            SeekFrom::End(by) => (self.ranges.size(), by),
            SeekFrom::Current(by) => (self.at, by),
        };
        let outside = || io::Error::new(io::ErrorKind::InvalidData, "its index points to a place outside of it");
        self.at = from.checked_add_signed(by).ok_or_else(outside)?;
        Ok(self.at)
    }
}
