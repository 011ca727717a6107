//! What every connector must keep, whatever it speaks to: suites over factories.
//!
//! A factory makes the connector anew over the same outside, as a restart does. A suite panics with what was broken; it is for tests.

pub mod rows;
pub mod sink;
pub mod source;

#[cfg(test)]
mod suites;
