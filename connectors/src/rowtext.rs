//! A row as one line of JSON.
//!
//! Where the step has prepared the whole text of each row (the hidden column `__out`: a record that goes on as it came, or with some
//! members changed), it is that; else an object of the visible columns.

use arrow::{
    array::{Array, AsArray, RecordBatch, StringViewArray},
    datatypes::Schema,
};
use syncline_engine::operators::present::OUT;
use syncline_functions::JsonWriter;
use syncline_record::{Reason, RowFailure, batch::Operations};

pub struct RowText {
    writer: JsonWriter,
}

impl RowText {
    pub fn new(schema: &Schema) -> Self {
        Self { writer: JsonWriter::new(schema) }
    }

    /// Columns of these names are no members of the object.
    pub fn without(schema: &Schema, names: &[&str]) -> Self {
        Self { writer: JsonWriter::without(schema, names) }
    }

    /// The lines of a batch.
    pub fn of<'a>(&'a self, rows: &'a RecordBatch) -> Lines<'a> {
        let texts = rows.column_by_name(OUT).and_then(|texts| texts.as_string_view_opt());
        Lines { writer: &self.writer, rows, texts }
    }
}

/// A batch as lines, with what it takes to write one looked up once.
pub struct Lines<'a> {
    writer: &'a JsonWriter,
    rows: &'a RecordBatch,
    texts: Option<&'a StringViewArray>,
}

impl Lines<'_> {
    /// Appends the line of one row, with its line end.
    pub fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), RowFailure> {
        let start = out.len();
        match self.texts {
            None => self.writer.write_row(self.rows, row, out),
            Some(texts) if texts.is_valid(row) => out.extend_from_slice(texts.value(row).as_bytes()),
            Some(_) => {
                let reason = Reason::new("missing", "the record has no text");
                return Err(RowFailure { row: row as u32, reason });
            }
        }
        on_one_line(&mut out[start..]);
        out.push(b'\n');
        Ok(())
    }
}

/// JSON allows line ends between its tokens, and never inside a string: a space in their place is the same value.
fn on_one_line(text: &mut [u8]) {
    while let Some(at) = memchr::memchr2(b'\n', b'\r', text) {
        text[at] = b' ';
    }
}

/// Which of a batch are rows: `Clear` says something about a group.
pub fn which_are_rows(rows: &RecordBatch) -> impl Fn(usize) -> bool + '_ {
    let ops = Operations::of(rows);
    move |row| !ops.is_clear(row)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringViewArray};

    #[test]
    fn a_record_of_several_lines_becomes_one_line() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["{\r\n \"a\": \"x\\ny\"\n}"]));
        let rows = RecordBatch::try_from_iter([(OUT, texts)]).unwrap();
        let mut out = Vec::new();
        RowText::new(&rows.schema()).of(&rows).write(0, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "{   \"a\": \"x\\ny\" }\n");
    }
}
