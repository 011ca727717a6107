//! Rows as JSON text.
//!
//! | column | written as |
//! |---|---|
//! | JSON | its token, untouched |
//! | integers, booleans | as they are |
//! | decimals | number tokens with every digit of their scale; with 10 or more after the point, as arithmetic on JSON makes them, without trailing zeros |
//! | floats | the shortest number that reads back as the same; `"NaN"`, `"Infinity"` and `"-Infinity"` as strings, since JSON has no such numbers and NULL would lie |
//! | timestamps | RFC 3339 in UTC, with a fraction only where there is one |
//! | dates, times | `"2026-11-20"`, `"10:00:00"` |
//! | bytes | base64 text |
//! | durations | seconds, as a number |
//! | lists, structs | arrays, objects |
//! | anything else | text, as Arrow prints it |

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    datatypes::{
        DataType, Date32Type, Date64Type, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
        DurationNanosecondType, DurationSecondType, Field, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
        Int32Type, Int64Type, Schema, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
        Time64NanosecondType, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
    },
    util::display::array_value_to_string,
};

use crate::{base64, instant, is_json, number, token};

/// Columns that start with this are the engine's own.
const HIDDEN: &str = "__";

/// Arithmetic on JSON is done with 10 digits after the point, and more after a division: no one asked for all of those zeros.
const COMPUTED_SCALE: i8 = 10;

/// Writes rows of one schema. Hidden columns (`__row`, …) are left out.
#[derive(Clone, Debug)]
pub struct JsonWriter {
    columns: Vec<Column>,
}

#[derive(Clone, Debug)]
struct Column {
    index: usize,
    field: Field,
    /// `"name":`
    key: Vec<u8>,
}

impl JsonWriter {
    pub fn new(schema: &Schema) -> Self {
        Self::without(schema, &[])
    }

    /// Writes no column of these names.
    pub fn without(schema: &Schema, names: &[&str]) -> Self {
        let is_shown = |name: &str| !name.starts_with(HIDDEN) && !names.contains(&name);
        let shown = schema.fields().iter().enumerate().filter(|(_, field)| is_shown(field.name()));
        let columns = shown.map(|(index, field)| {
            let mut key = Vec::new();
            token::write_string(field.name(), &mut key);
            key.push(b':');
            Column { index, field: field.as_ref().clone(), key }
        });
        Self { columns: columns.collect() }
    }

    /// Appends one row as one JSON object, without a line end. `rows` has the schema of this writer.
    pub fn write_row(&self, rows: &RecordBatch, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (position, column) in self.columns.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&column.key);
            token_of(rows.column(column.index), &column.field, row, out);
        }
        out.push(b'}');
    }

    /// Appends every row as a line of its own.
    pub fn write_lines(&self, rows: &RecordBatch, out: &mut Vec<u8>) {
        for row in 0..rows.num_rows() {
            self.write_row(rows, row, out);
            out.push(b'\n');
        }
    }
}

/// Appends one value as a JSON token; NULL is `null`.
pub fn token_of(column: &ArrayRef, field: &Field, row: usize, out: &mut Vec<u8>) {
    use DataType::*;
    if column.is_null(row) {
        return out.extend_from_slice(b"null");
    }
    macro_rules! value {
        ($type:ty) => {
            column.as_primitive::<$type>().value(row)
        };
    }
    match column.data_type() {
        Utf8View => write_text(column.as_string_view().value(row), field, out),
        Utf8 => write_text(column.as_string::<i32>().value(row), field, out),
        LargeUtf8 => write_text(column.as_string::<i64>().value(row), field, out),
        Boolean => out.extend_from_slice(if column.as_boolean().value(row) { b"true" } else { b"false" }),
        Int8 => write_integer(value!(Int8Type) as i128, out),
        Int16 => write_integer(value!(Int16Type) as i128, out),
        Int32 => write_integer(value!(Int32Type) as i128, out),
        Int64 => write_integer(value!(Int64Type) as i128, out),
        UInt8 => write_integer(value!(UInt8Type) as i128, out),
        UInt16 => write_integer(value!(UInt16Type) as i128, out),
        UInt32 => write_integer(value!(UInt32Type) as i128, out),
        UInt64 => write_integer(value!(UInt64Type) as i128, out),
        Float16 => write_float(value!(Float16Type).to_f64(), |value| (value as f32).to_string(), out),
        Float32 => write_float(value!(Float32Type) as f64, |value| plain_float(&(value as f32)), out),
        Float64 => write_float(value!(Float64Type), |value| plain_float(&value), out),
        Decimal128(_, scale @ COMPUTED_SCALE..) => {
            number::write_trimmed(value!(Decimal128Type), *scale, out);
        }
        Decimal128(_, scale) => number::write_decimal(value!(Decimal128Type), *scale, out),
        Timestamp(unit, _) => {
            let (seconds, nanos) = match unit {
                TimeUnit::Second => (value!(TimestampSecondType), 0),
                TimeUnit::Millisecond => split(value!(TimestampMillisecondType), 1_000),
                TimeUnit::Microsecond => split(value!(TimestampMicrosecondType), 1_000_000),
                TimeUnit::Nanosecond => split(value!(TimestampNanosecondType), 1_000_000_000),
            };
            quoted(out, |out| instant::write_instant(seconds, nanos, out));
        }
        Date32 => quoted(out, |out| instant::write_date(value!(Date32Type) as i64, out)),
        Date64 => {
            let day = value!(Date64Type).div_euclid(instant::SECONDS_PER_DAY * 1000);
            quoted(out, |out| instant::write_date(day, out));
        }
        Time32(unit) => {
            let (seconds, nanos) = match unit {
                TimeUnit::Second => (value!(Time32SecondType) as i64, 0),
                _ => split(value!(Time32MillisecondType) as i64, 1_000),
            };
            quoted(out, |out| instant::write_time(seconds, nanos, out));
        }
        Time64(unit) => {
            let (seconds, nanos) = match unit {
                TimeUnit::Microsecond => split(value!(Time64MicrosecondType), 1_000_000),
                _ => split(value!(Time64NanosecondType), 1_000_000_000),
            };
            quoted(out, |out| instant::write_time(seconds, nanos, out));
        }
        Duration(unit) => {
            let (amount, scale) = match unit {
                TimeUnit::Second => (value!(DurationSecondType), 0),
                TimeUnit::Millisecond => (value!(DurationMillisecondType), 3),
                TimeUnit::Microsecond => (value!(DurationMicrosecondType), 6),
                TimeUnit::Nanosecond => (value!(DurationNanosecondType), 9),
            };
            number::write_trimmed(amount as i128, scale, out);
        }
        Binary => quoted(out, |out| base64::encode(column.as_binary::<i32>().value(row), out)),
        LargeBinary => quoted(out, |out| base64::encode(column.as_binary::<i64>().value(row), out)),
        BinaryView => quoted(out, |out| base64::encode(column.as_binary_view().value(row), out)),
        FixedSizeBinary(_) => quoted(out, |out| base64::encode(column.as_fixed_size_binary().value(row), out)),
        List(item) => write_elements(&column.as_list::<i32>().value(row), item, out),
        LargeList(item) => write_elements(&column.as_list::<i64>().value(row), item, out),
        FixedSizeList(item, _) => write_elements(&column.as_fixed_size_list().value(row), item, out),
        Struct(fields) => {
            out.push(b'{');
            for (position, (field, values)) in fields.iter().zip(column.as_struct().columns()).enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                token::write_string(field.name(), out);
                out.push(b':');
                token_of(values, field, row, out);
            }
            out.push(b'}');
        }
        Null => out.extend_from_slice(b"null"),
        Decimal32(..) | Decimal64(..) | Decimal256(..) => match array_value_to_string(column, row) {
            Ok(digits) => out.extend_from_slice(digits.as_bytes()),
            Err(_) => out.extend_from_slice(b"null"),
        },
        _ => match array_value_to_string(column, row) {
            Ok(text) => token::write_string(&text, out),
            Err(_) => out.extend_from_slice(b"null"),
        },
    }
}

fn write_text(text: &str, field: &Field, out: &mut Vec<u8>) {
    if is_json(field) { out.extend_from_slice(text.as_bytes()) } else { token::write_string(text, out) }
}

fn write_integer(value: i128, out: &mut Vec<u8>) {
    number::write_decimal(value, 0, out);
}

fn write_float(value: f64, finite: impl FnOnce(f64) -> String, out: &mut Vec<u8>) {
    if value.is_finite() {
        out.extend_from_slice(finite(value).as_bytes());
    } else {
        let name = if value.is_nan() {
            "NaN"
        } else if value > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        };
        token::write_string(name, out);
    }
}

/// The shortest digits; an exponent only where the plain form would be long. `{:?}` of Rust gives just that (`1e300`, `0.1`).
fn plain_float(value: &impl std::fmt::Debug) -> String {
    let text = format!("{value:?}");
    text.strip_suffix(".0").map(str::to_owned).unwrap_or(text)
}

fn split(value: i64, per_second: i64) -> (i64, u32) {
    let nanos = value.rem_euclid(per_second) * (1_000_000_000 / per_second);
    (value.div_euclid(per_second), nanos as u32)
}

fn quoted(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    write(out);
    out.push(b'"');
}

fn write_elements(values: &ArrayRef, item: &Field, out: &mut Vec<u8>) {
    out.push(b'[');
    for row in 0..values.len() {
        if row > 0 {
            out.push(b',');
        }
        token_of(values, item, row, out);
    }
    out.push(b']');
}

/// Appends `record` (one JSON object) with some members changed: those that `dropped` names are left out, those of `set` (name and
/// token) are replaced where they stand or appended at the end in their order. Of several equal names only the last stays.
/// Everything else is the same bytes, white space included.
pub fn splice(record: &[u8], dropped: &dyn Fn(&str) -> bool, set: &[(&str, &[u8])], out: &mut Vec<u8>) {
    let record = record.trim_ascii();
    let mut pieces = pieces(record);
    for index in 0..pieces.len() {
        let name = pieces[index].name.clone();
        let again = pieces[index + 1..].iter().any(|later| later.name == name);
        let replaced = set.iter().any(|(wanted, _)| *wanted == name);
        pieces[index].kept = !again && (replaced || !dropped(&name));
    }
    out.push(b'{');
    let mut first = true;
    for piece in pieces.iter().filter(|piece| piece.kept) {
        if !first {
            out.push(b',');
        }
        first = false;
        match set.iter().find(|(name, _)| *name == piece.name) {
            Some((_, token)) => {
                out.extend_from_slice(&record[piece.start..piece.value]);
                out.extend_from_slice(token);
                out.extend_from_slice(&record[piece.value_end..piece.end]);
            }
            None => out.extend_from_slice(&record[piece.start..piece.end]),
        }
    }
    for (name, token) in set.iter().filter(|(name, _)| !pieces.iter().any(|piece| piece.name == *name)) {
        if !first {
            out.push(b',');
        }
        first = false;
        token::write_string(name, out);
        out.push(b':');
        out.extend_from_slice(token);
    }
    out.push(b'}');
}

/// A member with the white space around it: everything between two commas.
struct Piece {
    name: String,
    start: usize,
    value: usize,
    value_end: usize,
    end: usize,
    kept: bool,
}

fn pieces(record: &[u8]) -> Vec<Piece> {
    let offset = |part: &[u8]| part.as_ptr() as usize - record.as_ptr() as usize;
    let mut pieces: Vec<Piece> = Vec::new();
    let mut start = 1;
    for (name, value) in token::members(record) {
        let (value_start, value_end) = (offset(value), offset(value) + value.len());
        let space = record[value_end..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let end = value_end + space;
        pieces.push(Piece { name: token::unescape(name), start, value: value_start, value_end, end, kept: true });
        start = end + 1;
    }
    pieces
}
