//! What SQLite holds, as JSON: NULL is `null`, INTEGER and REAL are numbers, TEXT is a string, and a BLOB is base64, as bytes are in any
//! text that has to hold them.
//!
//! SQLite has no booleans and no lists: in a column that the reader's `SCHEMA` declares so, 1 and 0 are `true` and `false`, and the text
//! of a list is that list, with its digits. A text that is not UTF-8 goes on as its bytes: whoever reads the record refuses it.

use rusqlite::types::ValueRef;
use serde::de::IgnoredAny;
use serde_json::Value;
use syncline_functions::base64;

use crate::registry::Asked;

/// Columns whose values are more than SQLite says.
#[derive(Clone, Debug)]
pub struct Tokens {
    booleans: Vec<String>,
    lists: Vec<String>,
}

impl Tokens {
    pub fn of(asked: Asked) -> Self {
        Self { booleans: asked.booleans.to_vec(), lists: asked.lists.to_vec() }
    }

    /// The value of a column of this name.
    pub fn put(&self, name: &str, value: ValueRef, out: &mut Vec<u8>) {
        let is_one_of = |names: &[String]| names.iter().any(|known| known == name);
        match value {
            ValueRef::Integer(number @ (0 | 1)) if is_one_of(&self.booleans) => {
                out.extend_from_slice(if number == 1 { b"true" } else { b"false" });
            }
            ValueRef::Text(text) if is_one_of(&self.lists) && is_list(text) => out.extend_from_slice(text),
            ValueRef::Text(text) if std::str::from_utf8(text).is_err() => put_bytes(text, out),
            other => out.extend_from_slice(json(other).to_string().as_bytes()),
        }
    }
}

fn is_list(text: &[u8]) -> bool {
    serde_json::from_slice::<Vec<IgnoredAny>>(text).is_ok()
}

fn put_bytes(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            byte => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn json(value: ValueRef) -> Value {
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => number.into(),
        // Infinity is no JSON number, and NaN is not kept as one: they are written as everywhere else.
        ValueRef::Real(number) => match serde_json::Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None if number < 0.0 => "-Infinity".into(),
            None => "Infinity".into(),
        },
        ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
        ValueRef::Blob(bytes) => {
            let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
            base64::encode(bytes, &mut text);
            String::from_utf8_lossy(&text).into()
        }
    }
}
