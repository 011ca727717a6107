//! A changelog: what a task keeps, written down outside its machine, so that another machine can go on with it.
//!
//! It is a sequence of records, key and value, of which the last of a key holds; one without a value removes the key. What is written
//! together is read together or not at all. One process writes it at a time: to open it is to fence whoever wrote it before.
//!
//! The engine says what keys mean (`replica`). With Kafka a changelog is a partition of a compacted topic, and a transaction is what
//! is written together.

#[cfg(test)]
pub mod asking;
pub mod memory;

use std::sync::Arc;

use crate::witness::ChangelogWitness;

/// A key, and its value; none: the key is removed.
pub type Record = (Vec<u8>, Option<Vec<u8>>);

/// A record of a topic beside it, which others read: of a partition of a hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub topic: String,
    pub partition: u32,
    pub body: Vec<u8>,
}

/// Where a changelog begins and ends. Between the two there may be nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub oldest: u64,
    pub end: u64,
}

/// Why a changelog cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangelogError {
    #[error("another process has taken over the changelog {name}")]
    Fenced { name: String },
    /// Nobody knows whether it was written: drop what is in memory and begin with what is there (window W6).
    #[error("it is not known whether the changelog {name} was written: {detail}")]
    Unknown { name: String, detail: String },
    /// It may work later.
    #[error("the changelog {name} cannot be reached: {detail}")]
    Unreachable { name: String, detail: String },
    /// Its client does not come back, and only another process has one that does.
    #[error("the changelog {name} does not answer: {detail}")]
    Hangs { name: String, detail: String },
    /// Nobody waits for it any more.
    #[error("told to stop before the changelog {name} answered")]
    Stopped { name: String },
    /// It will not work before somebody changes something.
    #[error("the changelog {name} cannot be used: {detail}")]
    Refused { name: String, detail: String },
    /// The data folder and the changelog do not belong together.
    #[error("the changelog {name} is not the one of this data folder: {detail}")]
    Foreign { name: String, detail: String },
    #[error("the changelog {name} is damaged at record {offset}: {detail}")]
    Damaged { name: String, offset: u64, detail: String },
}

/// Takes a record back: its offset, key and value.
pub type Take<'a> = dyn FnMut(u64, &[u8], Option<&[u8]>) -> Result<(), ChangelogError> + 'a;

pub trait Changelog: Send {
    /// For messages.
    fn name(&self) -> &str;

    /// Fences whoever wrote before, waits until what he left open is decided, and says what is there. Called before everything else.
    fn open(&mut self) -> Result<Span, ChangelogError>;

    /// What is there and decided, for a copy that follows: fences nobody.
    fn look(&mut self) -> Result<Span, ChangelogError>;

    /// Gives every record from `from` to `end`, in order, until `take` fails; offsets have gaps.
    fn read(&mut self, from: u64, end: u64, take: &mut Take<'_>) -> Result<(), ChangelogError>;

    /// Writes all records, with those beside it, or none; when it returns they are durable. The offset after its last one. After an error
    /// nothing more is written through this value. `records`: at least one.
    fn write(&mut self, records: &[Record], beside: &[Sent]) -> Result<u64, ChangelogError>;

    /// What was read or written last is in the copy now.
    fn copied(&mut self) {}

    /// Told when a transaction is about to be committed.
    fn witnessed(&mut self, _: Arc<dyn ChangelogWitness>) {}
}
