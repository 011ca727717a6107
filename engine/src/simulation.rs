//! A seeded simulation of the engine: one pipeline over a simulated store, log, disk, databases and clock, on one thread.
//!
//! A seed decides everything: the records, which task gets the next turn, when time moves, and what goes wrong. The process dies
//! at calls of the store, the log and every sink, before, in and after them; disks fill up; commits have no known outcome; partitions
//! are taken away; the pipeline is stopped, edited and started over. Some seeds add groups and joins. At the end the world heals, everything drains, and an oracle
//! compares what is there with a plain computation over the same records. The same seed is the same run, to the last byte.
//!
//! A failure prints its seed and the last steps; `cargo run -p syncline-engine --example simulate -- --seed S --trace` shows all.

mod breakage;
mod database;
mod dice;
mod disk;
pub(crate) mod further;
mod further_model;
pub(crate) mod input;
pub(crate) mod lines;
mod model;
pub(crate) mod oracle;
mod outlet;
pub(crate) mod pipeline;
mod schedule;
mod trap;
pub(crate) mod world;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

pub use breakage::Breakage;
pub use schedule::simulate;

use crate::witness::Window;

/// A seed that held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Hash of every step and what came of it.
    pub trace: u128,
    pub records: u64,
    pub epochs: u64,
    /// Deaths by the window of the commit in which they fell.
    pub windows: BTreeMap<Window, u64>,
    /// Deaths by the task that had its turn, and the part in which it died.
    pub places: BTreeMap<String, u64>,
}

impl Outcome {
    pub fn add(&mut self, other: &Self) {
        self.records += other.records;
        self.epochs += other.epochs;
        for (window, deaths) in &other.windows {
            *self.windows.entry(*window).or_default() += deaths;
        }
        for (place, deaths) in &other.places {
            *self.places.entry(place.clone()).or_default() += deaths;
        }
    }
}

/// A seed that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("seed {seed}: {what}\nthe last steps:\n{}", tail.join("\n"))]
pub struct Failure {
    pub seed: u64,
    pub what: String,
    pub tail: Vec<String>,
}

pub(crate) fn lock<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}
