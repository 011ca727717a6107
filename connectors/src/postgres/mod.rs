//! A table of a PostgreSQL database: exactly once, because the rows and how far we are commit together.
//!
//! The database keeps our position in `syncline_progress`, beside the table, and with `SEQUENCE BY` or `REPLACE` the newest version of
//! each key in `syncline_versions`. A writer of another outbox, or one that was replaced, is refused. A commit whose answer is lost is
//! asked for: the position says what became of it.
//!
//! Values go as texts that the server reads by the types of the columns: whatever type a table has, enums, domains, arrays and those of
//! extensions too. What a column would round, cut or guess at is refused here first, row by row. New rows go by `COPY`, the others
//! many in one statement; when it fails by a row, halves are tried until the row stands alone, and it is dead and the rest goes in.

mod address;
mod key;
mod kind;
mod progress;
mod questions;
mod read;
#[cfg(test)]
mod read_tests;
mod replace;
mod session;
mod sink;
mod table;
#[cfg(test)]
pub(crate) mod tests;
mod tls;
mod trouble;
mod upsert;
mod value;
mod versions;
mod write;

pub(crate) use questions::questions;
pub(crate) use read::PostgresRows;
pub use session::look;
pub use sink::PostgresSink;

use crate::{
    keyset::KEY,
    questions::SQL,
    spec::{Argument, ArgumentKind, SECRET},
};

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "url",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The database: postgres://user@host:5432/database. One with a password in it comes from a secret.",
        example: "secret('shop/url')",
    },
    Argument {
        name: "table",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The table, with its schema in front where it is not the first of the search path. It is made when it is not there.",
        example: "'sales.orders'",
    },
    KEY,
    Argument {
        name: "password",
        help: "The password, where the address has none.",
        required: false,
        positional: false,
        ..SECRET
    },
    Argument {
        name: "sslmode",
        kind: ArgumentKind::Choice(tls::MODES),
        required: false,
        positional: false,
        help: "What TLS has to prove, in libpq's words: verify-full, if not said, and disable on this machine.",
        example: "'verify-ca'",
    },
    Argument {
        name: "sslrootcert",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "A file of certificates (PEM) that the server's is signed by, from the pipeline file's folder: those of the system, if not said.",
        example: "'certificates/ca.pem'",
    },
    Argument {
        name: "plain_password",
        kind: ArgumentKind::Boolean,
        required: false,
        positional: false,
        help: "With sslmode => 'disable': the password may cross a network that others can read.",
        example: "true",
    },
    SQL,
];

/// A name as SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn listed<T>(things: impl IntoIterator<Item = T>, each: impl Fn(T) -> String, between: &str) -> String {
    things.into_iter().map(each).collect::<Vec<_>>().join(between)
}
