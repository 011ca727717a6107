//! Parquet files.
//!
//! As a source they are typed columns: see [`crate::typed`]. As a sink:
//!
//! Parquet cannot be appended to and has its index at the end, so rows wait in a hidden file of Arrow's stream format, which can be
//! cut back to any message. When a part is full it is rewritten as Parquet, in one go, and shown when that checkpoint is committed.
//!
//! JSON columns are text (strings without quotes, everything else as its token), instants are adjusted to UTC, decimals are exact.

mod rows;
mod sink;
#[cfg(test)]
mod sink_tests;
mod source;

pub(crate) use sink::{Parts, sink};
pub use source::ParquetFiles;

use crate::{
    objects::STORE,
    spec::{Argument, ArgumentKind},
    staged::parts::{PART_ROWS, PART_SIZE, PART_TIME},
};

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "path",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "As a source a file, a pattern or a folder, as a sink a folder; taken from the pipeline file's folder, or an address.",
        example: "'out/orders/'",
    },
    STORE,
    PART_ROWS,
    PART_SIZE,
    PART_TIME,
];
