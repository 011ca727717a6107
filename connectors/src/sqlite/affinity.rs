//! Columns that compare as numbers. SQLite would keep any text in them, and round numbers of many digits: such a row is dead.
//!
//! The rules of a column's declared type are those of "Determination Of Column Affinity" in SQLite's own documentation. Types that only
//! sound like numbers to it (`DATE`, `TIMESTAMP`, `BOOLEAN`) are left as they are: tables keep texts in them by custom.

use arrow::{
    array::ArrayRef,
    datatypes::{DataType, Field, FieldRef},
};
use rusqlite::{
    Connection,
    types::{ToSqlOutput, ValueRef},
};
use syncline_functions::is_json;
use syncline_record::Reason;

use super::value::{EXACT_DIGITS, borrowed, value};
use crate::version::Decimal;

/// Those columns that compare as numbers and get values that may be none, by their place, with their declared types.
#[derive(Debug, Default)]
pub struct Numeric(Vec<(usize, String)>);

impl Numeric {
    pub fn of(connection: &Connection, table: &str, columns: &[FieldRef]) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT type FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE")?;
        let mut numeric = Vec::new();
        for (index, field) in columns.iter().enumerate().filter(|(_, field)| may_be_text(field)) {
            let declared: String = statement.query_row([table, field.name()], |row| row.get(0))?;
            if compares_as_number(&declared) {
                numeric.push((index, declared));
            }
        }
        Ok(Self(numeric))
    }

    /// Why the table cannot keep the row as it is.
    pub fn refuses(&self, columns: &[(&ArrayRef, &Field)], row: usize) -> Option<Reason> {
        for (index, declared) in &self.0 {
            let (column, field) = columns[*index];
            let bound = value(column, field, row);
            if let Some(wrong) = misfit(&bound) {
                let text = String::from_utf8_lossy(text_of(&bound)).into_owned();
                return Some(Reason::new("constraint", format!("{}: `{text}` {wrong} ({declared})", field.name())));
            }
        }
        None
    }
}

fn text_of<'a>(bound: &'a ToSqlOutput<'a>) -> &'a [u8] {
    match borrowed(bound) {
        ValueRef::Text(text) => text,
        _ => b"",
    }
}

fn misfit(bound: &ToSqlOutput<'_>) -> Option<&'static str> {
    let ValueRef::Text(text) = borrowed(bound) else { return None };
    let text = std::str::from_utf8(text).ok()?;
    match Decimal::parse(text) {
        None => Some("is no number, and the column compares as one"),
        Some(number) if number.digits() > usize::from(EXACT_DIGITS) && text.parse::<i64>().is_err() => {
            Some("has more digits than a column that compares as a number keeps")
        }
        Some(_) => None,
    }
}

fn may_be_text(field: &Field) -> bool {
    let kind = field.data_type();
    let exact = match kind {
        DataType::Decimal128(precision, _) => *precision <= EXACT_DIGITS,
        DataType::Boolean => true,
        kind => kind.is_floating() || (kind.is_integer() && *kind != DataType::UInt64),
    };
    is_json(field) || !exact
}

fn compares_as_number(declared: &str) -> bool {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    has(&["INT"]) || (!has(&["CHAR", "CLOB", "TEXT", "BLOB"]) && has(&["REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"]))
}
