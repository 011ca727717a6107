//! What every operator promises, row by row.

mod aggregate;
mod aggregate_oracle;
mod dedup;
mod dedup_last;
mod join;
mod rows;
mod sinks;
mod source;
