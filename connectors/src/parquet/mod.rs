//! A folder of Parquet files.
//!
//! Parquet cannot be appended to and has its index at the end, so rows wait in a hidden file of Arrow's stream format, which can be
//! cut back to any message. When a part is full it is rewritten as Parquet, in one go, and shown when that checkpoint is committed.
//!
//! JSON columns are text (strings without quotes, everything else as its token), instants are adjusted to UTC, decimals are exact.

mod rows;
mod sink;
#[cfg(test)]
mod sink_tests;

pub(crate) use sink::sink;

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
        help: "The folder to write to, taken from the pipeline file's folder.",
        example: "'out/orders/'",
    },
    STORE,
    PART_ROWS,
    PART_SIZE,
    PART_TIME,
];
