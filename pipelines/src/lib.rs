//! The product: files, processes, people.

pub mod outcome;
pub mod world;
