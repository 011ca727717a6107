//! How rows are printed: a table for people, JSON, lines of JSON or CSV for programs.
//!
//! Rows are printed as they come, in bounded memory. Numbers and decimals are exact; instants are RFC 3339 in UTC, but for CSV, which is
//! that of `psql --csv` to the byte, with values as [`plain`](crate::plain) writes them. Only a table leaves anything out: it cuts long
//! texts, for people.

use std::io::{self, BufWriter, Write};

use arrow::{
    array::RecordBatch,
    datatypes::{DataType, SchemaRef},
};
use syncline_functions::token_of;

use crate::{
    command::Format,
    outcome::{Failure, Outcome},
    plain::plain,
};

/// Rows that a table looks at for the width of its columns.
const LOOKED_AT: usize = 1000;
/// Characters of the widest cell of a table.
const WIDEST: usize = 80;
/// How a table shows NULL; in a CSV it is nothing.
const NULL_SHOWN: &str = "NULL";

/// Prints rows of one schema.
pub struct Renderer<W: Write> {
    format: Format,
    schema: SchemaRef,
    out: W,
    rows: usize,
    /// A table's rows, until its widths are known.
    waiting: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

/// Standard output, for data.
pub fn stdout() -> BufWriter<io::StdoutLock<'static>> {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// Prints a piece of data. A reader that has gone away has what it wanted, and nothing more is printed.
pub fn print(text: &str) -> Outcome {
    let mut out = io::stdout().lock();
    printed(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// A path as a shell reads it, to be copied.
pub fn for_shell(path: &str) -> String {
    let plain = |letter: char| letter.is_alphanumeric() || "/._-+,:@%".contains(letter);
    if path.chars().all(plain) { path.to_owned() } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

/// What a failed print means: a reader that has gone away (`… | head`) has what it wanted.
pub fn printed(result: io::Result<()>) -> Outcome {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::environment("cannot-print", format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

impl<W: Write> Renderer<W> {
    pub fn new(format: Format, schema: SchemaRef, mut out: W) -> io::Result<Self> {
        match format {
            Format::Json => out.write_all(b"[")?,
            Format::Csv => {
                let names: Vec<String> = schema.fields().iter().map(|field| csv_field(field.name())).collect();
                out.write_all(names.join(",").as_bytes())?;
                out.write_all(b"\n")?;
            }
            Format::Table | Format::Ndjson => {}
        }
        Ok(Self { format, schema, out, rows: 0, waiting: vec![], widths: None })
    }

    pub fn write(&mut self, batch: &RecordBatch) -> io::Result<()> {
        let mut text = vec![];
        for row in 0..batch.num_rows() {
            match self.format {
                Format::Json => {
                    text.extend_from_slice(if self.rows > 0 { b",\n " } else { b"\n " });
                    self.object(batch, row, &mut text);
                }
                Format::Ndjson => {
                    self.object(batch, row, &mut text);
                    text.push(b'\n');
                }
                Format::Csv => self.csv_row(batch, row, &mut text),
                Format::Table => self.table_row(batch, row)?,
            }
            self.rows += 1;
        }
        self.out.write_all(&text)
    }

    /// Prints what is left; returns how many rows there were.
    pub fn finish(mut self) -> io::Result<usize> {
        match self.format {
            Format::Json => self.out.write_all(if self.rows > 0 { b"\n]\n" } else { b"]\n" })?,
            Format::Table => self.settle_table()?,
            Format::Ndjson | Format::Csv => {}
        }
        self.out.flush()?;
        Ok(self.rows)
    }

    fn object(&self, batch: &RecordBatch, row: usize, text: &mut Vec<u8>) {
        text.push(b'{');
        for (index, (column, field)) in batch.columns().iter().zip(self.schema.fields()).enumerate() {
            text.extend_from_slice(if index > 0 { b"," } else { b"" });
            text.extend_from_slice(serde_json::Value::from(field.name().as_str()).to_string().as_bytes());
            text.push(b':');
            token_of(column, field, row, text);
        }
        text.push(b'}');
    }

    fn csv_row(&self, batch: &RecordBatch, row: usize, text: &mut Vec<u8>) {
        for index in 0..batch.num_columns() {
            text.extend_from_slice(if index > 0 { b"," } else { b"" });
            if let Some(value) = plain(batch.column(index), self.schema.field(index), row) {
                text.extend_from_slice(csv_field(&value).as_bytes());
            }
        }
        text.push(b'\n');
    }

    fn table_row(&mut self, batch: &RecordBatch, row: usize) -> io::Result<()> {
        let cell = |index| text_of(batch, index, row).map_or_else(|| NULL_SHOWN.to_owned(), |text| one_line(&text));
        let cells: Vec<String> = (0..batch.num_columns()).map(cell).collect();
        if self.widths.is_some() {
            return self.table_line(&cells);
        }
        self.waiting.push(cells);
        if self.waiting.len() >= LOOKED_AT { self.settle_table() } else { Ok(()) }
    }

    /// The widths are those of what is there: prints the head and what waits.
    fn settle_table(&mut self) -> io::Result<()> {
        if self.widths.is_some() {
            return Ok(());
        }
        let names: Vec<String> = self.schema.fields().iter().map(|field| one_line(field.name())).collect();
        let mut widths: Vec<usize> = names.iter().map(|name| length(name)).collect();
        for row in &self.waiting {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(length(cell));
            }
        }
        let line: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        self.widths = Some(widths);
        self.table_line(&names)?;
        writeln!(self.out, "{}", line.join("┼"))?;
        for row in std::mem::take(&mut self.waiting) {
            self.table_line(&row)?;
        }
        Ok(())
    }

    fn table_line(&mut self, cells: &[String]) -> io::Result<()> {
        let widths = self.widths.as_deref().unwrap_or_default();
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let space = " ".repeat(width.saturating_sub(length(cell)));
            line.push_str(if index > 0 { "│ " } else { " " });
            match is_number(self.schema.field(index).data_type()) {
                true => line.push_str(&format!("{space}{cell} ")),
                false => line.push_str(&format!("{cell}{space} ")),
            }
        }
        writeln!(self.out, "{}", line.trim_end())
    }
}

impl Renderer<Vec<u8>> {
    /// What has been written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }
}

/// A value by its column's name, as text without quotes; `None` for NULL.
pub fn shown(batch: &RecordBatch, name: &str, row: usize) -> Option<String> {
    let (index, _) = batch.schema_ref().column_with_name(name)?;
    text_of(batch, index, row)
}

fn text_of(batch: &RecordBatch, index: usize, row: usize) -> Option<String> {
    let column = batch.column(index);
    // A column of nothing but NULL keeps no marks for them.
    if column.is_null(row) || column.data_type() == &DataType::Null {
        return None;
    }
    let mut token = vec![];
    token_of(column, batch.schema_ref().field(index), row, &mut token);
    let token = String::from_utf8_lossy(&token).into_owned();
    let text = token.starts_with('"').then(|| serde_json::from_str::<String>(&token).ok()).flatten();
    Some(text.unwrap_or(token))
}

fn is_number(kind: &DataType) -> bool {
    kind.is_numeric()
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// Control characters would break a table, or a terminal.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (count, letter) in text.chars().enumerate() {
        if count == WIDEST {
            line.push('…');
            break;
        }
        match letter.is_control() {
            true => line.extend(letter.escape_default()),
            false => line.push(letter),
        }
    }
    line
}

/// A field of a CSV (RFC 4180), as psql writes it: quoted where it has to be, or where it would read as the end of a COPY.
pub fn csv_field(text: &str) -> String {
    let plain = !text.contains(['"', ',', '\n', '\r']) && text != "\\.";
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Array, BinaryArray, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray},
        datatypes::{Field, Schema, TimeUnit},
    };

    use super::*;

    fn rows() -> RecordBatch {
        let columns: Vec<(&str, Arc<dyn Array>)> = vec![
            ("n", Arc::new(Int64Array::from(vec![Some(i64::MAX), None]))),
            ("amount", Arc::new(Decimal128Array::from(vec![Some(950), None]).with_precision_and_scale(30, 2).unwrap())),
            ("text", Arc::new(StringArray::from(vec![Some("a \"b\",\nü"), Some("")]))),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_795_168_800_000_001), None]))),
            ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\xff"[..]), None]))),
        ];
        assert_eq!(columns[3].1.data_type(), &DataType::Timestamp(TimeUnit::Microsecond, None));
        let fields: Vec<Field> =
            columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
            .unwrap()
    }

    fn rendered(format: Format, batches: &[RecordBatch]) -> String {
        let mut out = vec![];
        let mut renderer = Renderer::new(format, rows().schema(), &mut out).unwrap();
        batches.iter().for_each(|batch| renderer.write(batch).unwrap());
        renderer.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn json_is_exact_and_one_value() {
        let expected = r#"[
 {"n":9223372036854775807,"amount":9.50,"text":"a \"b\",\nü","at":"2026-11-20T10:00:00.000001Z","bytes":"/w=="},
 {"n":null,"amount":null,"text":"","at":null,"bytes":null}
]
"#;
        assert_eq!(rendered(Format::Json, &[rows()]), expected);
        assert_eq!(rendered(Format::Json, &[]), "[]\n");
    }

    #[test]
    fn ndjson_is_a_line_each() {
        let lines = rendered(Format::Ndjson, &[rows(), rows()]);
        assert_eq!(lines.lines().count(), 4);
        assert_eq!(lines.lines().nth(3), Some(r#"{"n":null,"amount":null,"text":"","at":null,"bytes":null}"#));
        assert_eq!(rendered(Format::Ndjson, &[]), "");
    }

    #[test]
    fn csv_is_that_of_psql() {
        let expected = "n,amount,text,at,bytes\n9223372036854775807,9.50,\"a \"\"b\"\",\nü\",2026-11-20 10:00:00.000001,\\xff\n,,,,\n";
        assert_eq!(rendered(Format::Csv, &[rows()]), expected);
        assert_eq!(["\\.", " a ", "a\rb", ""].map(csv_field), ["\"\\.\"", " a ", "\"a\rb\"", ""]);
    }

    #[test]
    fn a_path_with_spaces_can_be_copied_into_a_shell() {
        let paths = ["shop/orders.sync", "my shop/orders.sync", "ada's/x"].map(for_shell);
        assert_eq!(paths, ["shop/orders.sync", "'my shop/orders.sync'", r"'ada'\''s/x'"]);
    }

    #[test]
    fn a_null_of_no_type_is_one_too() {
        let nothing: Arc<dyn Array> = Arc::new(arrow::array::NullArray::new(1));
        let rows = RecordBatch::try_from_iter([("a", nothing.clone()), ("b", nothing)]).unwrap();
        let mut out = vec![];
        let mut renderer = Renderer::new(Format::Csv, rows.schema(), &mut out).unwrap();
        renderer.write(&rows).unwrap();
        renderer.finish().unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "a,b\n,\n");
    }

    #[test]
    fn a_table_is_for_people() {
        let expected = [
            "                   n │ amount │ text      │ at                          │ bytes",
            "─────────────────────┼────────┼───────────┼─────────────────────────────┼───────",
            " 9223372036854775807 │   9.50 │ a \"b\",\\nü │ 2026-11-20T10:00:00.000001Z │ /w==",
            "                NULL │   NULL │           │ NULL                        │ NULL",
        ];
        assert_eq!(rendered(Format::Table, &[rows()]).lines().collect::<Vec<_>>(), expected);
        assert_eq!(rendered(Format::Table, &[]).lines().count(), 2);
        assert_eq!(one_line(&"x".repeat(100)), "x".repeat(WIDEST) + "…");
    }

    #[test]
    fn a_long_table_prints_every_row() {
        let batches: Vec<RecordBatch> = (0..1200).map(|_| rows()).collect();
        assert_eq!(rendered(Format::Table, &batches).lines().count(), 2 + 2400);
    }

    #[test]
    fn a_reader_that_has_gone_is_no_failure() {
        let broken = |kind: io::ErrorKind| printed(Err(kind.into()));
        assert_eq!(broken(io::ErrorKind::BrokenPipe), Ok(()));
        assert_eq!(broken(io::ErrorKind::StorageFull).unwrap_err().slug, "cannot-print");
    }
}
