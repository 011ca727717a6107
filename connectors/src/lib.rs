//! Everything outside: files, Parquet, SQLite, PostgreSQL, standard output, and the reading half of what comes in over HTTP.
//!
//! Connectors speak formats and protocols and keep no truth. A source says how far it has read, a sink how far it has written; the
//! engine stores both with its checkpoint, and hands them back. Nothing here retries: an error says what kind of trouble it is.

pub mod archive;
pub mod conformance;
pub mod file;
mod hops;
pub mod http;
pub mod ingest;
pub mod ipc;
pub mod kafka;
pub mod keyset;
pub mod listing;
pub mod log_source;
pub mod objects;
pub mod parquet;
pub mod postgres;
pub mod pull;
pub mod questions;
pub mod registered;
pub mod registry;
pub mod retried;
pub mod spec;
pub mod sqlite;
pub mod stdout;
pub mod stream_source;
pub mod typed;
pub mod webhook;

pub mod records;
mod rowtext;
mod sources;
mod staged;
mod version;
mod written_once;

use serde::de::DeserializeOwned;
use serde_json::Value;
use syncline_engine::source::SourceError;

pub use hops::{empty_hop, open_hop};
pub use kafka::Members;
pub use listing::list;
pub use log_source::LogSource;
pub use registry::{
    Asked, check, check_sink, columns_there, look, open_board, open_changelog, open_lookup, open_members, open_sink,
    open_source, registry,
};
pub use registry::{Connector, SinkAbility, SinkKind, SinkRequest, SourceAbility, SourceRequest, Writes};
pub use retried::Retried;
pub use spec::{Args, Argument, ArgumentKind, ConnectorError, Surroundings, Task};
pub use stream_source::StreamSource;

/// A cursor as its source wrote it.
fn cursor_of<T: DeserializeOwned>(partition: &str, value: &Value) -> Result<T, SourceError> {
    T::deserialize(value).map_err(|error| SourceError::Changed {
        what: partition.to_owned(),
        detail: format!("the cursor cannot be read ({error}); run with --fresh to read everything again"),
    })
}

/// What the system says about an error, without its number.
fn system_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
