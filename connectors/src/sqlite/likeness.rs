//! Which keys a table takes as one.
//!
//! A column of a table that was there before has a type and a collation of its own: `'1'` is kept as 1 where numbers are kept, 1 as `'1'` where
//! texts are, and `NOCASE` finds `A` for `a`. Versions are kept beside the table, by key: what is one row there has to be one key here,
//! or an older change would get past the version of a newer one. A type's affinity is told by the rules of "Determination Of Column
//! Affinity" in SQLite's own documentation.

use std::ffi::CStr;

use rusqlite::{
    Connection, OptionalExtension, params,
    types::{ToSqlOutput, ValueRef},
};

use super::value::borrowed;
use crate::version::{Decimal, bytes_part, number_part, text_part};

/// What a column does to a value that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Affinity {
    /// Nothing: no type, or `BLOB`.
    None,
    /// A number becomes text.
    Text,
    /// Text that is a number becomes one.
    Numeric,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Collation {
    Binary,
    NoCase,
    /// Blanks at the end do not count.
    Rtrim,
}

/// The columns of a key.
#[derive(Debug, Default)]
pub struct Likeness(Vec<(Affinity, Collation)>);

impl Likeness {
    /// Of keys that a unique index holds, which compares by collations of its own.
    pub fn of_rows(connection: &Connection, table: &str, key: &[String]) -> rusqlite::Result<Self> {
        let declared = "SELECT type FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE";
        let collated = "SELECT ix.coll FROM pragma_index_list(?1) il, pragma_index_xinfo(il.name) ix \
                        WHERE il.\"unique\" = 1 AND ix.key = 1 AND ix.name = ?2 COLLATE NOCASE AND ix.coll <> 'BINARY' LIMIT 1";
        let text = |sql: &str, column: &String| -> rusqlite::Result<String> {
            let found = connection.query_row(sql, params![table, column], |row| row.get(0)).optional()?;
            Ok(found.unwrap_or_default())
        };
        let of = |column| Ok((affinity(&text(declared, column)?), collation(&text(collated, column)?)));
        key.iter().map(of).collect::<rusqlite::Result<_>>().map(Self)
    }

    /// Of groups of rows: no index holds them, and columns compare as they are declared.
    pub fn of_groups(connection: &Connection, table: &str, key: &[String]) -> rusqlite::Result<Self> {
        let text = |text: Option<&CStr>| text.map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let of = |column: &String| {
            let (declared, collated, ..) = connection.column_metadata(None, table, column.as_str())?;
            Ok((affinity(&text(declared)), collation(&text(collated))))
        };
        match key.iter().map(of).collect::<rusqlite::Result<_>>() {
            Ok(columns) => Ok(Self(columns)),
            // Of a view nothing more is known than its columns' types.
            Err(_) => Self::of_rows(connection, table, key),
        }
    }

    /// The bytes of a key: equal exactly where the table takes the keys as one.
    pub fn key(&self, connection: &Connection, values: &[ToSqlOutput<'_>]) -> rusqlite::Result<Vec<u8>> {
        let mut key = Vec::new();
        for (index, value) in values.iter().enumerate() {
            let (affinity, collation) = self.0.get(index).copied().unwrap_or((Affinity::None, Collation::Binary));
            match (affinity, borrowed(value)) {
                (Affinity::Numeric, ValueRef::Text(text)) => match std::str::from_utf8(text).ok() {
                    Some(number) if Decimal::parse(number).is_some() => number_part(number, &mut key),
                    _ => texts(text, collation, &mut key),
                },
                (Affinity::Text, ValueRef::Integer(_) | ValueRef::Real(_)) => {
                    // Only SQLite knows how it writes a number.
                    let mut written = connection.prepare_cached("SELECT CAST(? AS TEXT)")?;
                    let text: String = written.query_row([value], |row| row.get(0))?;
                    texts(text.as_bytes(), collation, &mut key);
                }
                (_, ValueRef::Text(text)) => texts(text, collation, &mut key),
                (_, other) => key_part(other, &mut key),
            }
        }
        Ok(key)
    }
}

fn texts(text: &[u8], collation: Collation, key: &mut Vec<u8>) {
    match collation {
        Collation::Binary => key_part(ValueRef::Text(text), key),
        Collation::NoCase => key_part(ValueRef::Text(&text.to_ascii_lowercase()), key),
        Collation::Rtrim => {
            let end = text.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
            key_part(ValueRef::Text(&text[..end]), key);
        }
    }
}

fn affinity(declared: &str) -> Affinity {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    match () {
        _ if has(&["INT"]) => Affinity::Numeric,
        _ if has(&["CHAR", "CLOB", "TEXT"]) => Affinity::Text,
        _ if declared.is_empty() || has(&["BLOB"]) => Affinity::None,
        _ => Affinity::Numeric,
    }
}

fn collation(name: &str) -> Collation {
    match name.to_ascii_uppercase().as_str() {
        "NOCASE" => Collation::NoCase,
        "RTRIM" => Collation::Rtrim,
        _ => Collation::Binary,
    }
}

/// A part of a key as the bytes of its value: equal exactly where a column without a type takes them as equal.
fn key_part(value: ValueRef, out: &mut Vec<u8>) {
    let start = out.len();
    match value {
        ValueRef::Null => out.push(0),
        ValueRef::Integer(number) => number_part(&number.to_string(), out),
        ValueRef::Real(number) => number_part(&format!("{number:e}"), out),
        ValueRef::Text(text) => text_part(text, out),
        ValueRef::Blob(bytes) => bytes_part(bytes, out),
    }
    debug_assert!(out.len() > start);
}
