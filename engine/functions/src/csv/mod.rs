//! CSV (RFC 4180, and the dialects that are met in the wild): where records end, where their fields are, what they mean.
//!
//! A record is a span of the bytes as they came, so a dead letter shows what stood in the file. Fields are slices of it; only one
//! with a doubled quote in it is copied. A quote means something at the start of a field, and is a character elsewhere: `5" nail`
//! is a text of seven characters, as pandas and DuckDB read it.
//!
//! **NULL** is an unquoted empty field, as in `COPY … CSV` of PostgreSQL: `a,,b` has a NULL in the middle, `a,"",b` an empty text.

mod cell;
mod decode;
mod seek;
#[cfg(test)]
mod tests;
mod write;

pub use cell::{Cell, Flaw, cells, text};
pub use decode::{CsvDecoder, Decoded, object};
pub use seek::Seeker;
pub use write::CsvWriter;

/// How a file is written. Signs are single ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    pub delimiter: u8,
    /// None: a quote is a character like others.
    pub quote: Option<u8>,
    /// What takes the meaning from the sign after it, between quotes. None: a quote between quotes is written twice.
    pub escape: Option<u8>,
    /// Lines that begin with it are no records.
    pub comment: Option<u8>,
    /// The first record of a file names its columns.
    pub header: bool,
    /// Unquoted fields that are NULL.
    pub nulls: Vec<String>,
}

impl Default for Dialect {
    fn default() -> Self {
        let nulls = vec![String::new()];
        Self { delimiter: b',', quote: Some(b'"'), escape: None, comment: None, header: true, nulls }
    }
}

/// Names of the columns of a file, in their order.
pub type Header = std::sync::Arc<[Box<str>]>;

impl Dialect {
    /// The names that a header record gives; None when it is not UTF-8 or not a record.
    pub fn names(&self, record: &[u8]) -> Option<Header> {
        let mut found = Vec::new();
        cells(record, self, &mut found).ok()?;
        let name = |cell: &Cell| String::from_utf8(text(record, *cell, self).into_owned()).ok().map(Box::from);
        found.iter().map(name).collect()
    }

    /// Names for a file without a header: `column_1`, `column_2`, … as many as its first record has fields.
    pub fn numbered(&self, record: &[u8]) -> Header {
        let mut found = Vec::new();
        let count = cells(record, self, &mut found).map_or(1, |()| found.len());
        (1..=count).map(|number| format!("column_{number}").into_boxed_str()).collect()
    }

    /// Whether a field of a record is NULL.
    pub fn is_null(&self, record: &[u8], cell: Cell) -> bool {
        !cell.quoted && self.nulls.iter().any(|null| null.as_bytes() == cell.of(record))
    }
}
