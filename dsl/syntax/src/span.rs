//! A place in a file: the bytes from `start` up to, not including, `end`.
//!
//! Spans made by the parser lie on character boundaries of the file they were made from.

use serde::{Deserialize, Serialize};

/// A range of bytes of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span {
    pub start: usize,
    pub end: usize,
}

impl Span {
    pub fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// The empty span at a place, where text can be inserted.
    pub fn at(place: usize) -> Self {
        Self { start: place, end: place }
    }

    /// The smallest span that covers both.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    pub fn is_empty(self) -> bool {
        self.start >= self.end
    }

    pub fn contains(self, place: usize) -> bool {
        self.start <= place && place < self.end
    }

    /// The text here; empty when the span is not of this source.
    pub fn of(self, source: &str) -> &str {
        source.get(self.start..self.end).unwrap_or("")
    }
}
