//! What a connection leads to, as tables that questions read: rows as they are there now, and nothing written.
//!
//! Columns have the types that the place says, as far as Arrow has them; the rest are texts, as the place writes them, or JSON where a
//! value may be anything. What a column's type cannot hold is an error that names the row.

pub(crate) mod column;

use std::sync::Arc;

use syncline_engine::tables::Tables;

use crate::{
    kafka, postgres,
    registry::connector,
    spec::{Args, Argument, ArgumentKind, Arguments, ConnectorError, Surroundings},
    sqlite,
};

/// Who may ask a connection in SQL.
pub const SQL: Argument = Argument {
    name: "sql",
    kind: ArgumentKind::Boolean,
    required: false,
    positional: false,
    help: "Of a connection: whoever may ask questions here may read it in SQL, viewers and users of PostgreSQL's protocol too; else operators only.",
    example: "true",
};

/// Kinds of connections that lead to such tables.
pub const KINDS: [&str; 3] = ["kafka", "postgres", "sqlite"];

/// The tables of a connection; nobody goes there yet. `None`: it leads to none that a question could read.
pub fn tables(name: &str, args: &Args, around: &Surroundings) -> Option<Result<Arc<dyn Tables>, ConnectorError>> {
    // A connection leaves the table to those who use it.
    let whole = |missing: &str| {
        let mut args = args.clone();
        args.named.entry(missing.to_owned()).or_insert_with(|| "".into());
        args
    };
    match name {
        "postgres" => Some(checked(name, &whole("table"), |arguments| postgres::questions(arguments, around))),
        "sqlite" => Some(checked(name, &whole("table"), |arguments| Ok(sqlite::questions(arguments, around)))),
        "kafka" => Some(checked(name, &kafka::named(args), |arguments| kafka::questions(arguments, around))),
        _ => None,
    }
}

fn checked(
    name: &str,
    args: &Args,
    make: impl FnOnce(&Arguments) -> Result<Arc<dyn Tables>, ConnectorError>,
) -> Result<Arc<dyn Tables>, ConnectorError> {
    make(&Arguments::checked(connector(name)?, args)?)
}
