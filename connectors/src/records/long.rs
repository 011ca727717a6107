//! A record that is not used, as it is longer than one may be or has grown after it was taken: never held, only measured, with its
//! first bytes kept for the dead letter.

use syncline_record::DeadLetter;
use xxhash_rust::xxh3::Xxh3;

use super::{
    blocks::Part,
    framing::{Framing, Seeker},
};

/// What is no record.
#[derive(Debug, PartialEq)]
pub struct Unusable {
    /// An earlier part of it was taken for all of it; else it is too long.
    pub grown: bool,
    pub number: u64,
    pub start: u64,
    pub length: u64,
    pub hash: u128,
    pub bytes: Vec<u8>,
}

/// A record on its way through.
pub struct LongRecord {
    pub start: Part,
    /// Bytes of it that were seen, a held back carriage return included.
    pub read: u64,
    /// Line ends among them.
    pub line_ends: u64,
    seeker: Seeker,
    hash: Xxh3,
    length: u64,
    bytes: Vec<u8>,
    /// The last byte was a carriage return: part of the line end, if the record ends now.
    held: bool,
    grown: bool,
}

impl LongRecord {
    pub fn at(start: Part, framing: &Framing) -> Self {
        let (seeker, hash) = (framing.seeker(), Xxh3::new());
        Self { start, read: 0, line_ends: 0, seeker, hash, length: 0, bytes: Vec::new(), held: false, grown: false }
    }

    /// Of ordinary length, but an earlier part of it was taken for all of it.
    pub fn grown(self) -> Self {
        Self { grown: true, ..self }
    }

    /// Takes the bytes that come next, up to the end of the record. True when that is among them.
    pub fn take(&mut self, bytes: &[u8], framing: &Framing) -> bool {
        let end = self.seeker.find(bytes, framing);
        self.take_all(&bytes[..end.unwrap_or(bytes.len())], framing);
        end.is_some()
    }

    /// Takes bytes that are known to belong to the record.
    pub fn take_all(&mut self, bytes: &[u8], framing: &Framing) {
        self.read += bytes.len() as u64;
        self.line_ends += framing.line_ends(bytes);
        if self.held && !bytes.is_empty() {
            self.add(b"\r");
            self.held = false;
        }
        match bytes.split_last() {
            Some((b'\r', before)) => {
                self.add(before);
                self.held = true;
            }
            _ => self.add(bytes),
        }
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.length += bytes.len() as u64;
        let room = DeadLetter::KEPT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    pub fn finish(self) -> Unusable {
        let Self { start: Part { offset: start, line }, length, bytes, grown, .. } = self;
        Unusable { grown, number: line + 1, start, length, hash: self.hash.digest128(), bytes }
    }
}
