//! A table of a SQLite database: exactly once, because the rows and how far we are commit together.
//!
//! The database keeps our position in `syncline_progress`, and with `SEQUENCE BY` or `REPLACE` the newest version of each key in
//! `syncline_versions`. A writer of another outbox, or one that was replaced, is refused.
//!
//! What a database file looks like to others: integers are INTEGER, decimals of up to 15 digits are
//! numbers (`DECIMAL`; exact when shown with their scale), wider ones exact TEXT (`DECIMAL_TEXT`), timestamps RFC 3339 TEXT,
//! booleans 1 and 0, JSON columns hold strings as TEXT, numbers as numbers where SQLite can hold them exactly, and the rest as JSON text.

mod affinity;
mod chunks;
#[cfg(test)]
mod chunks_tests;
mod key;
mod likeness;
mod look;
mod place;
mod progress;
mod questions;
mod reader;
#[cfg(test)]
mod reader_tests;
mod sink;
#[cfg(test)]
mod sink_tests;
mod table;
mod token;
mod trouble;
mod value;
mod whole;
#[cfg(test)]
mod whole_tests;

pub(crate) use chunks::SqliteChunks;
pub use look::columns;
pub(crate) use questions::questions;
pub(crate) use reader::SqliteReader;
pub use sink::SqliteSink;
pub(crate) use whole::SqliteTable;

use crate::{
    keyset::KEY,
    questions::SQL,
    spec::{Argument, ArgumentKind},
};

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "path",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The database file, taken from the pipeline file's folder. It is made when it is not there.",
        example: "'shop.db'",
    },
    Argument {
        name: "table",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The table. It is made when it is not there, and written to.",
        example: "'orders'",
    },
    KEY,
    SQL,
];

/// A name as SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn listed(names: &[String], each: impl Fn(&String) -> String, between: &str) -> String {
    names.iter().map(each).collect::<Vec<_>>().join(between)
}
