//! Streams: rows that one pipeline writes (`AS STREAM name`) and others read (`FROM name`).
//!
//! A stream is a topic of the log, written inside the epochs of its writer: what a reader sees of it is committed. A frame holds rows of one
//! batch, with everything that the steps behind would have known of them in the writer itself: columns with their types, what each row does,
//! its time, its place and the bytes of its record, and the watermark of its own partition before it. Between frames of rows stand marks: how
//! far time had come over all sources of the writer when it committed. So a window closes in a reader as it would have closed in the writer.
//!
//! | first byte | then |
//! |---|---|
//! | 0 | rows: an Arrow IPC stream of one batch; the columns that begin with `__` are told in `rows` |
//! | 1 | a mark: microseconds, 8 bytes, little endian; then the id of the stream as text |
//! | 2 | a mark of a writer that is quiet (`hop`): nobody has to wait for it; the same |
//! | 3 | rows, of which some show what others show: that is written once (`once`) |
//!
//! Every frame names the stream by the id that its writer got with its first start: a writer that starts over begins another stream, and a
//! position in the old one means nothing there.

mod once;
mod rows;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use syncline_record::Micros;

use crate::checkpoint::ReadError;

pub use once::frames;
pub(crate) use rows::op_field;
pub use rows::{Carried, encode, encode_whole, without_clears};

const ROWS: u8 = 0;
const MARK: u8 = 1;
const QUIET: u8 = 2;
const SHARED: u8 = 3;

/// What a frame holds.
#[derive(Debug)]
pub enum Content {
    Rows(Box<Carried>),
    /// How far time has come.
    Mark(Micros),
    /// The same of a writer all of whose partitions are idle.
    Quiet(Micros),
}

/// A frame as it is read: the id of its stream, and what it holds.
pub fn decode(body: &[u8]) -> Result<(String, Content), String> {
    match body.split_first() {
        Some((kind @ &(ROWS | SHARED), rest)) => {
            rows::decode(rest, *kind == SHARED).map(|(id, rows)| (id, Content::Rows(Box::new(rows))))
        }
        Some((kind @ &(MARK | QUIET), rest)) => {
            let (mark, id) = rest.split_first_chunk::<8>().ok_or("a mark is cut off")?;
            let id = std::str::from_utf8(id).map_err(|_| "the id of a stream is not UTF-8")?;
            let mark = Micros::from_le_bytes(*mark);
            Ok((id.to_owned(), if *kind == MARK { Content::Mark(mark) } else { Content::Quiet(mark) }))
        }
        Some((other, _)) => Err(format!("a frame of kind {other}, which this version does not know")),
        None => Err("an empty frame".into()),
    }
}

/// Whether a frame holds rows, without a look at them.
pub fn holds_rows(body: &[u8]) -> bool {
    matches!(body.first(), Some(&(ROWS | SHARED)))
}

/// The body of a mark.
pub fn encode_mark(mark: Micros, id: &str) -> Vec<u8> {
    marked(MARK, mark, id)
}

/// The same of a writer that is quiet.
pub fn encode_quiet(mark: Micros, id: &str) -> Vec<u8> {
    marked(QUIET, mark, id)
}

fn marked(kind: u8, mark: Micros, id: &str) -> Vec<u8> {
    [&[kind], &mark.to_le_bytes()[..], id.as_bytes()].concat()
}

/// The name under which a reader keeps its position and watermark.
pub fn partition(name: &str) -> String {
    format!("stream/{name}")
}

/// How far a reader is: its cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The id of the stream.
    pub id: String,
    /// Where it lies, for who asks how much waits.
    pub topic: String,
    /// Offset of the next frame.
    pub next: u64,
}

impl Position {
    /// The position that a cursor holds.
    pub fn of(cursor: &Value) -> Option<Self> {
        Self::deserialize(cursor).ok()
    }

    /// How far a cursor is in the stream of this id; nowhere, when it is one in another stream.
    pub fn within(cursor: &Value, id: &str) -> u64 {
        Self::of(cursor).filter(|position| position.id == id).map_or(0, |position| position.next)
    }
}

/// The reader of a stream that is furthest behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slowest {
    pub pipeline: String,
    /// Offset in the topic of what it needs next.
    pub next: u64,
    /// It runs, or is about to.
    pub runs: bool,
}

/// Asked with the id of a stream: who of its readers is furthest behind, as far as it has committed. `None`: nobody reads it.
pub type Readers = dyn Fn(&str) -> Result<Option<Slowest>, ReadError> + Send;
