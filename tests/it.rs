//! What a user can touch: the binary, its files, its HTTP, its two commands and its README.
//!
//! `./test` builds the binary before these run. Sizes are small here; `./test --soak` runs the tests named `soak` large.

mod answers;
mod bad_lines;
mod cells;
mod chance;
mod changelog;
mod compared;
mod desk;
mod edits;
mod exact;
mod github;
mod headers;
mod hops;
mod joins;
mod kafka;
mod kills;
mod look;
mod lookups;
mod newcomer;
mod objects;
mod operations;
mod operations_metrics;
mod oracle;
mod owner;
mod parquet;
mod part;
mod partitions;
mod plans;
mod postgres;
mod postgres_sink;
mod promises;
mod pull;
mod readme;
mod rooms;
mod rows;
mod streams;
mod surface;
mod taxi;
mod time;
mod topic_formats;
mod topics;
mod trouble;
mod web;
mod webhooks;
mod windows;
