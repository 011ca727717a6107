//! What every operator promises, row by row.

mod dedup;
mod dedup_last;
mod rows;
mod sinks;
mod source;
