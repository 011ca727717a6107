//! Rows of the engine out of what a reader gives.

use std::io::{self, ErrorKind};

use arrow::buffer::Buffer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_engine::source::{Rejected, Rows, SourceError};
use syncline_record::{Headers, Micros, Origin, Partition, Place, Reason};

use super::{
    blocks::{Block, Mark, Next, Part},
    reader::Reader,
};

/// How far a text was read, as a cursor keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    /// Byte at which reading goes on; of a packed text, of what is in it.
    pub offset: u64,
    /// Lines before it.
    pub line: u64,
    /// The last record was taken at the end, without a line end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unended: bool,
    /// And it may have been only a part of its record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

const GROWN: &str = "had no line end when it was taken at the end of an earlier run, and has grown since: the row that was made then stands";

/// What a look at a text that does not grow brought.
pub enum Taken {
    /// Rows without a cursor, and whether they are the last.
    Rows(Box<Rows>, bool),
    Nothing,
    Underway,
}

/// The next rows of a text that does not grow.
pub fn take(reader: &mut Reader, at: &mut At, partition: &str, time: Micros) -> io::Result<Taken> {
    let mark = Mark { offset: at.offset, line: at.line, unended: at.unended, part: at.part };
    match reader.next(mark, false)? {
        Next::Nothing => Ok(Taken::Nothing),
        Next::Underway => Ok(Taken::Underway),
        Next::Block(block) => {
            let Mark { offset, line, unended, part } = block.next;
            *at = At { offset, line, unended, part };
            let last = block.last;
            Ok(Taken::Rows(Box::new(of_block(reader, *block, Partition::new(partition, 0), time)), last))
        }
    }
}

/// The rows of a block, without a cursor.
pub fn of_block(reader: &Reader, block: Block, partition: Partition, time: Micros) -> Rows {
    let noun = reader.framing().map_or("record", |framing| framing.noun());
    let rejected = block.unusable.map(|record| Rejected {
        place: Place { partition: partition.clone(), offset: record.number, byte: Some(record.start) },
        time,
        reason: match record.grown {
            true => Reason::new("grown", format!("the {noun} {GROWN}")),
            false => Reason::new("too-large", format!("the {noun} has {} bytes", record.length)),
        },
        bytes: record.bytes,
        length: record.length,
        hash: record.hash,
        headers: None,
    });
    let origin = Origin {
        names: reader.header().cloned(),
        texts: None,
        partition,
        payload: Buffer::from_vec(block.payload),
        times: vec![time; block.spans.len()],
        spans: block.spans,
        offsets: block.numbers,
        bytes: Some(block.starts),
        ingested_at: time.into(),
        headers: Headers::Absent,
        keys: None,
    };
    Rows { origin, columns: None, rejected: rejected.into_iter().collect(), cursor: Value::Null }
}

/// What an error of reading means.
pub fn trouble(what: &str, error: &io::Error) -> SourceError {
    let (what, detail) = (what.to_owned(), crate::system_words(error));
    match error.kind() {
        ErrorKind::NotFound => SourceError::Changed { what, detail },
        ErrorKind::InvalidData | ErrorKind::PermissionDenied => SourceError::Unreadable { what, detail },
        _ => SourceError::Again { what, detail },
    }
}
