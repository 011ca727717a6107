//! Starts, stops and deliveries, one case at a time; the simulation mixes them.

mod delivery;
mod history;
mod hops;
mod start;
mod streams;
mod supervisor;
