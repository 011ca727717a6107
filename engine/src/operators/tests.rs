//! What every operator promises, row by row.

mod aggregate;
mod aggregate_oracle;
mod arrays;
mod dedup;
mod dedup_last;
mod join;
mod order;
mod rows;
mod sinks;
mod source;
mod time_join;
