//! Text and a catalog in, a plan and diagnostics out: a pure function.

pub mod catalog;
pub mod plan;
