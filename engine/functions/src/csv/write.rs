//! Rows as CSV: what is written here is read back as the same values by a schema with the same types.
//!
//! NULL is nothing at all, an empty text is `""`. A text is put into quotes where it has to be, and nothing else is. Values look as
//! they do in JSON, without the quotes: numbers exact, instants in RFC 3339, bytes in base64, lists and structs as JSON documents.

use arrow::{
    array::RecordBatch,
    datatypes::{Field, Schema},
};

use super::Dialect;
use crate::{token, write::token_of};

/// Columns that start with this are the engine's own.
const HIDDEN: &str = "__";

/// Writes rows of one schema. Hidden columns are left out.
#[derive(Clone, Debug)]
pub struct CsvWriter {
    columns: Vec<(usize, Field)>,
    dialect: Dialect,
}

impl CsvWriter {
    pub fn new(schema: &Schema, dialect: Dialect) -> Self {
        let shown = schema.fields().iter().enumerate().filter(|(_, field)| !field.name().starts_with(HIDDEN));
        Self { columns: shown.map(|(index, field)| (index, field.as_ref().clone())).collect(), dialect }
    }

    /// The first line of a file, where its dialect has one.
    pub fn write_header(&self, out: &mut Vec<u8>) {
        if !self.dialect.header {
            return;
        }
        for (place, (_, field)) in self.columns.iter().enumerate() {
            self.delimit(place, out);
            self.text(field.name().as_bytes(), place == 0, out);
        }
        out.push(b'\n');
    }

    /// Appends one row with its line end. `rows` has the schema of this writer.
    pub fn write_row(&self, rows: &RecordBatch, row: usize, out: &mut Vec<u8>) {
        for (place, (index, field)) in self.columns.iter().enumerate() {
            self.delimit(place, out);
            let column = rows.column(*index);
            if column.is_null(row) {
                out.extend_from_slice(self.dialect.nulls.first().map_or(b"", |null| null.as_bytes()));
                continue;
            }
            let start = out.len();
            token_of(column, field, row, out);
            self.settle(start, place == 0, out);
        }
        out.push(b'\n');
    }

    fn delimit(&self, place: usize, out: &mut Vec<u8>) {
        if place > 0 {
            out.push(self.dialect.delimiter);
        }
    }

    /// The token from `start` on becomes a field.
    fn settle(&self, start: usize, first: bool, out: &mut Vec<u8>) {
        let token = &out[start..];
        let plain = token::body(token).filter(|body| memchr::memchr(b'\\', body).is_none());
        match (plain, token::body(token)) {
            (Some(body), _) if !self.needs_quotes(body, first) => {
                let length = body.len();
                out.copy_within(start + 1..start + 1 + length, start);
                out.truncate(start + length);
            }
            // A JSON string without escapes has no quote in it: it is a field already.
            (Some(_), _) if self.dialect.quote == Some(b'"') && self.dialect.escape.is_none() => {}
            (_, Some(body)) => {
                let text = token::unescape(body);
                out.truncate(start);
                self.text(text.as_bytes(), first, out);
            }
            (_, None) if self.needs_quotes(token, first) => {
                let text = out.split_off(start);
                self.text(&text, first, out);
            }
            (_, None) => {}
        }
    }

    fn needs_quotes(&self, text: &[u8], first: bool) -> bool {
        let Dialect { delimiter, quote, comment, nulls, .. } = &self.dialect;
        let special = |byte: &u8| byte == delimiter || Some(*byte) == *quote || matches!(byte, b'\n' | b'\r');
        let begins = text.first().is_some_and(|byte| first && Some(*byte) == *comment);
        // An escape stands for itself outside of quotes, so it alone needs none.
        begins || text.iter().any(special) || nulls.iter().any(|null| null.as_bytes() == text)
    }

    fn text(&self, text: &[u8], first: bool, out: &mut Vec<u8>) {
        let Some(quote) = self.dialect.quote.filter(|_| self.needs_quotes(text, first)) else {
            return out.extend_from_slice(text);
        };
        let escape = self.dialect.escape.unwrap_or(quote);
        out.push(quote);
        for byte in text {
            if *byte == quote || *byte == escape {
                out.push(escape);
            }
            out.push(*byte);
        }
        out.push(quote);
    }
}
