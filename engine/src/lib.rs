//! Runs graphs: rows in, rows out, exactly once.
//!
//! Knows no language, no vendor and no Kafka, only [`log::Log`]. Takes time and randomness from [`clock`] alone; touches files
//! only in [`store`] and [`log::embedded`].

pub mod clock;
pub mod folder;
pub mod log;
pub mod sink;
pub mod source;
pub mod store;
