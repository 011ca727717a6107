//! How rows travel to a command: Arrow batches one after the other, and an end that says whether they are all.
//!
//! An HTTP answer that breaks off looks like any other end to whoever only reads bytes, and a failure after the first row has no
//! status any more. So each piece has a kind and a length:
//!
//! | bytes | |
//! |---|---|
//! | 1 | `A` a piece of an Arrow IPC stream, `E` problem details in JSON, `Z` the end |
//! | 4 | length of the rest, little endian |
//! | … | |

use arrow::{
    array::RecordBatch,
    buffer::Buffer,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{reader::StreamDecoder, writer::StreamWriter},
};
use serde_json::Value;

/// Asked for with `accept`.
pub const CONTENT_TYPE: &str = "application/vnd.syncline.rows";

const ARROW: u8 = b'A';
const PROBLEM: u8 = b'E';
const END: u8 = b'Z';
const HEAD: usize = 5;

/// How a stream of Arrow ends, by its format.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Writes an answer.
pub struct Framer {
    writer: StreamWriter<Vec<u8>>,
}

impl Framer {
    pub fn new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self { writer: StreamWriter::try_new(vec![], schema)? })
    }

    /// A batch; the first one carries the schema too, so an answer without rows has an empty one.
    pub fn batch(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        self.writer.write(batch)?;
        Ok(framed(ARROW, &std::mem::take(self.writer.get_mut())))
    }

    pub fn problem(problem: &Value) -> Vec<u8> {
        framed(PROBLEM, problem.to_string().as_bytes())
    }

    pub fn end() -> Vec<u8> {
        framed(END, &[])
    }
}

fn framed(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEAD + bytes.len());
    framed.push(kind);
    // A batch of an answer is some megabytes.
    framed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    framed.extend_from_slice(bytes);
    framed
}

/// What an answer holds.
#[derive(Debug)]
pub enum Piece {
    Batch(RecordBatch),
    Problem(Value),
    End,
}

/// Reads an answer, however it is cut.
#[derive(Default)]
pub struct Deframer {
    bytes: Vec<u8>,
    decoder: StreamDecoder,
}

impl Deframer {
    /// Takes the next bytes; returns the pieces that are whole now.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Piece>, ArrowError> {
        self.bytes.extend_from_slice(bytes);
        let mut pieces = vec![];
        let mut at = 0;
        while let Some(head) = self.bytes.get(at..at + HEAD) {
            let (kind, length) = (head[0], u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize);
            let Some(rest) = self.bytes.get(at + HEAD..at + HEAD + length) else { break };
            match kind {
                ARROW => {
                    let mut buffer = Buffer::from(rest);
                    while let Some(batch) = self.decoder.decode(&mut buffer)? {
                        pieces.push(Piece::Batch(batch));
                    }
                }
                PROBLEM => pieces.push(Piece::Problem(serde_json::from_slice(rest).unwrap_or_default())),
                END => {
                    // A batch without a byte (no row, and no column that has offsets) waits in the decoder for what comes behind it.
                    let mut buffer = Buffer::from(&END_OF_STREAM);
                    while let Some(batch) = self.decoder.decode(&mut buffer)? {
                        pieces.push(Piece::Batch(batch));
                    }
                    pieces.push(Piece::End);
                }
                kind => return Err(ArrowError::ParseError(format!("a piece of kind {kind}"))),
            }
            at += HEAD + length;
        }
        self.bytes.drain(..at);
        Ok(pieces)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::{DataType, Field, Schema},
    };

    use super::*;

    /// One of numbers alone once printed nothing at all, in place of an empty list.
    #[test]
    fn an_answer_without_rows_has_its_columns() {
        for kind in [DataType::Int64, DataType::Boolean, DataType::Utf8] {
            let schema = Arc::new(Schema::new(vec![Field::new("n", kind, true)]));
            let mut framer = Framer::new(&schema).unwrap();
            let mut bytes = framer.batch(&RecordBatch::new_empty(schema.clone())).unwrap();
            bytes.extend(Framer::end());
            let pieces = Deframer::default().push(&bytes).unwrap();
            assert!(matches!(&pieces[..], [Piece::Batch(batch), Piece::End] if batch.schema() == schema), "{pieces:?}");
        }
    }

    #[test]
    fn an_answer_comes_through_whole_however_it_is_cut() {
        let fields = vec![Field::new("n", DataType::Int64, true), Field::new("s", DataType::Utf8, true)];
        let schema = Arc::new(Schema::new(fields));
        let rows = |n: i64, s: &str| {
            let columns: Vec<Arc<dyn arrow::array::Array>> =
                vec![Arc::new(Int64Array::from(vec![n])), Arc::new(StringArray::from(vec![s]))];
            RecordBatch::try_new(schema.clone(), columns).unwrap()
        };
        let sent = [RecordBatch::new_empty(schema.clone()), rows(i64::MAX, "ü"), rows(2, &"x".repeat(5000))];
        let mut framer = Framer::new(&schema).unwrap();
        let mut bytes: Vec<u8> = sent.iter().flat_map(|batch| framer.batch(batch).unwrap()).collect();
        bytes.extend(Framer::problem(&serde_json::json!({"title": "no"})));
        bytes.extend(Framer::end());
        for cut in [1, 7, 1000, bytes.len()] {
            let mut deframer = Deframer::default();
            let mut batches = vec![];
            let mut rest = vec![];
            for piece in bytes.chunks(cut) {
                for piece in deframer.push(piece).unwrap() {
                    match piece {
                        Piece::Batch(batch) => batches.push(batch),
                        Piece::Problem(problem) => rest.push(problem.to_string()),
                        Piece::End => rest.push("end".to_owned()),
                    }
                }
            }
            assert_eq!((batches.as_slice(), rest), (&sent[..], vec!["{\"title\":\"no\"}".into(), "end".into()]));
        }
    }
}
