//! Tasks: what runs on a thread of its own, or, in the simulation, on the one thread that there is.

mod ailing;
mod back;
mod begin;
pub mod commit;
pub mod delivery;
pub mod foresee;
pub mod frontier;
mod history;
pub mod job;
mod left_out;
mod migrate;
mod moves;
mod poll;
pub mod restart;
mod seen;
mod sinks;
pub mod start;
mod streams;
pub mod supervisor;
mod tables;

pub(crate) use job::letter;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use crate::{
    clock::{Clock, Rng},
    log::Log,
    store::StateStore,
};

/// What all tasks of a process share.
#[derive(Clone)]
pub struct Ground {
    pub store: Arc<dyn StateStore>,
    pub log: Arc<dyn Log>,
    pub clock: Arc<dyn Clock>,
    pub rng: Arc<dyn Rng>,
}

/// What a task did when it was given a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Worked,
    /// Nothing to do now.
    Idle,
    /// Nothing to do any more.
    Ended,
}
