//! Values as SQLite keeps them, and the types that a new table declares for them.

use std::borrow::Cow;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Field, Float32Type, Float64Type},
};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use syncline_functions::{is_json, token_of};

use crate::version::{Decimal, string};

/// Digits of a decimal that a float gives back as they were. SQLite keeps what has a fraction as one, in a column that compares as
/// a number.
pub const EXACT_DIGITS: u8 = 15;

/// The declared type of a column. None for JSON: a type would bend values towards itself.
pub fn declared(field: &Field) -> String {
    match field.data_type() {
        _ if is_json(field) => String::new(),
        DataType::Boolean => "INTEGER".to_owned(),
        // Beyond a signed integer they are text, which INTEGER would make a float.
        DataType::UInt64 => String::new(),
        integer if integer.is_integer() => "INTEGER".to_owned(),
        // `DECIMAL` is NUMERIC to SQLite: rows come in the order of their numbers, and `>` means more.
        DataType::Decimal128(precision, scale) if *precision <= EXACT_DIGITS => format!("DECIMAL({precision},{scale})"),
        DataType::Decimal128(precision, scale) | DataType::Decimal256(precision, scale) => {
            format!("DECIMAL_TEXT({precision},{scale})")
        }
        float if float.is_floating() => "REAL".to_owned(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "BLOB".to_owned()
        }
        _ => "TEXT".to_owned(),
    }
}

pub fn value<'a>(column: &'a ArrayRef, field: &Field, row: usize) -> ToSqlOutput<'a> {
    if column.is_null(row) {
        return ToSqlOutput::Owned(Value::Null);
    }
    match column.data_type() {
        DataType::Utf8View if is_json(field) => of_token(column.as_string_view().value(row)),
        DataType::Utf8View => text(column.as_string_view().value(row)),
        DataType::Utf8 => text(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(column.as_string::<i64>().value(row)),
        DataType::Boolean => integer(column.as_boolean().value(row) as i64),
        DataType::Float64 => float(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => float(column.as_primitive::<Float32Type>().value(row) as f64),
        DataType::Binary => blob(column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => blob(column.as_binary::<i64>().value(row)),
        DataType::BinaryView => blob(column.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => blob(column.as_fixed_size_binary().value(row)),
        data_type => other(column, field, row, data_type.is_integer()),
    }
}

/// Instants, dates, decimals as their text, integers as such, nested values as JSON.
fn other<'a>(column: &ArrayRef, field: &Field, row: usize, is_integer: bool) -> ToSqlOutput<'a> {
    let mut token = Vec::new();
    token_of(column, field, row, &mut token);
    let token = String::from_utf8_lossy(&token).into_owned();
    if is_integer && let Ok(number) = token.parse() {
        return integer(number);
    }
    let unquoted = token.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    owned_text(unquoted.map(str::to_owned).unwrap_or(token))
}

/// A JSON token in a column without a type.
fn of_token(token: &str) -> ToSqlOutput<'_> {
    match token.as_bytes().first() {
        Some(b'"') => match string(token) {
            Cow::Borrowed(string) => text(string),
            Cow::Owned(string) => owned_text(string),
        },
        Some(b't') => integer(1),
        Some(b'f') => integer(0),
        Some(b'-' | b'0'..=b'9') => number(token),
        _ => text(token),
    }
}

/// INTEGER or REAL where that is the same number, else the digits as they came.
fn number(token: &str) -> ToSqlOutput<'_> {
    if let Ok(number) = token.parse::<i64>() {
        return integer(number);
    }
    let exact = Decimal::parse(token);
    match token.parse::<f64>() {
        Ok(number) if number.is_finite() && exact.is_some() && Decimal::parse(&format!("{number:e}")) == exact => {
            float(number)
        }
        _ => text(token),
    }
}

/// SQLite would keep NaN as NULL.
fn float<'a>(number: f64) -> ToSqlOutput<'a> {
    if number.is_nan() { owned_text("NaN".to_owned()) } else { ToSqlOutput::Owned(Value::Real(number)) }
}

fn integer<'a>(number: i64) -> ToSqlOutput<'a> {
    ToSqlOutput::Owned(Value::Integer(number))
}

fn text(text: &str) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes()))
}

fn owned_text<'a>(text: String) -> ToSqlOutput<'a> {
    ToSqlOutput::Owned(Value::Text(text))
}

fn blob(bytes: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Blob(bytes))
}

pub fn borrowed<'a>(value: &'a ToSqlOutput<'a>) -> ValueRef<'a> {
    match value {
        ToSqlOutput::Borrowed(value) => *value,
        ToSqlOutput::Owned(value) => value.into(),
        // No value above is of another kind.
        _ => ValueRef::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_tokens_become_what_sqlite_holds_without_loss() {
        let kept = |token| format!("{:?}", borrowed(&of_token(token)));
        let text = |text: &str| format!("{:?}", ValueRef::Text(text.as_bytes()));
        for (token, expected) in [
            ("1", "Integer(1)".to_owned()),
            ("-9223372036854775808", "Integer(-9223372036854775808)".to_owned()),
            ("9223372036854775808", text("9223372036854775808")),
            ("1.0", "Real(1.0)".to_owned()),
            ("9.50", "Real(9.5)".to_owned()),
            ("1e3", "Real(1000.0)".to_owned()),
            ("0.1", "Real(0.1)".to_owned()),
            ("-0.0", "Real(-0.0)".to_owned()),
            ("12345678901234567.89", text("12345678901234567.89")),
            ("1e400", text("1e400")),
            ("1e-400", text("1e-400")),
            (r#""ada""#, text("ada")),
            (r#""a\n\u00e9""#, text("a\né")),
            (r#""\ud800""#, text(r#""\ud800""#)),
            (r#""1""#, text("1")),
            ("true", "Integer(1)".to_owned()),
            ("false", "Integer(0)".to_owned()),
            (r#"{"a": [1]}"#, text(r#"{"a": [1]}"#)),
        ] {
            assert_eq!(kept(token), expected, "{token}");
        }
    }
}
