//! Topics of Apache Kafka, by librdkafka.
//!
//! A source reads what is committed, from the offsets that are in the engine's own commit. A sink writes in transactions that hold its place
//! in the outbox: so both are exactly once, whatever dies.

mod beside;
mod calls;
mod changelog;
#[cfg(test)]
mod changelog_tests;
mod client;
#[cfg(test)]
mod client_tests;
mod cursor;
mod flush;
mod headers;
mod hop;
mod list;
mod look;
mod members;
mod partitioned;
mod questions;
mod queue;
mod records;
mod sink;
mod size;
mod source;
mod start;
mod strays;
mod topic;
mod trouble;
mod waiting;

pub(crate) use beside::COLUMNS as BESIDE;
pub(crate) use changelog::KafkaChangelog;
pub use hop::Around;
pub(crate) use hop::{HopSource, empty};
pub(crate) use list::list;
pub(crate) use look::{look, named};
pub use members::Members;
pub(crate) use questions::questions;
pub(crate) use records::one_line;
pub(crate) use sink::KafkaSink;
pub(crate) use source::KafkaSource;
pub(crate) use waiting::Patient;

use client::ARGUMENTS as CLIENT;

use crate::{
    questions::SQL,
    registered::{
        self,
        client::{ARGUMENTS as REGISTRY, Client},
    },
    registry::ShapeError,
    spec::{Argument, ArgumentKind, Arguments, ConnectorError, Surroundings},
    typed::Column,
};

/// Whether a source or a sink of these arguments could be made. Asks nobody.
pub(crate) fn check(arguments: &Arguments, around: &Surroundings) -> Result<(), ConnectorError> {
    client::Settings::new(arguments, around)?;
    start::Start::new(arguments)?;
    start::Until::new(arguments).map(drop)
}

/// The columns of a topic whose records name their schemas.
pub(crate) fn shape(arguments: &Arguments, around: &Surroundings) -> Result<Vec<Column>, ShapeError> {
    Ok(registered::shape(&Client::new(arguments, around)?, arguments.text("topic"))?)
}

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "topic",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "The topic. A sink makes it when it is not there.",
        example: "'orders'",
    },
    CLIENT[0],
    CLIENT[1],
    CLIENT[2],
    CLIENT[3],
    CLIENT[4],
    CLIENT[5],
    CLIENT[6],
    REGISTRY[0],
    REGISTRY[1],
    REGISTRY[2],
    Argument {
        name: "start",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "Where a source begins when it has read nothing yet: 'earliest', if not said; 'latest', a timestamp, or offsets of partitions ('0:1200, 1:900').",
        example: "'2026-11-20T00:00:00Z'",
    },
    Argument {
        name: "until",
        kind: ArgumentKind::Text,
        required: false,
        positional: false,
        help: "Where a source ends, which else never does: 'latest' for what is there when it begins, a timestamp, or offsets of partitions ('0:1200, 1:900'); what lies there is not read any more.",
        example: "'2026-11-20T00:00:00Z'",
    },
    Argument {
        name: "partitions",
        kind: ArgumentKind::Number,
        required: false,
        positional: false,
        help: "How many partitions a sink makes its topic with, when it is not there; else as many as the cluster's default.",
        example: "12",
    },
    Argument {
        name: "replication",
        kind: ArgumentKind::Number,
        required: false,
        positional: false,
        help: "How many copies of each partition a sink makes its topic with; else as many as the cluster's default.",
        example: "3",
    },
    SQL,
];
