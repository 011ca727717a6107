//! Runs graphs: rows in, rows out, exactly once.
//!
//! Knows no language, no vendor and no Kafka, only [`log::Log`]. Takes time and randomness from [`clock`] alone; touches files
//! only in [`store`] and [`log::embedded`].

pub mod archive;
pub mod backfill;
pub mod board;
pub mod changelog;
pub mod checkpoint;
pub mod clock;
pub mod events;
pub mod fingerprints;
pub mod firing;
pub mod folder;
pub mod graph;
pub mod hop;
pub mod intake;
pub mod ledger;
pub mod letters;
pub mod log;
pub mod lookup;
pub mod metrics;
pub mod operator;
pub mod operators;
pub mod outbox;
pub mod ownership;
pub mod pace;
pub mod partitioned;
pub mod paused;
pub mod replica;
pub mod requests;
pub mod revision;
pub mod runtime;
pub mod segment;
#[doc(hidden)]
pub mod simulation;
pub mod sink;
pub mod source;
pub mod store;
pub mod stream;
pub mod table;
pub mod tables;
pub mod witness;
