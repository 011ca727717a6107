//! The product: files, processes, people.

pub mod api;
pub mod ask;
pub mod bind;
pub mod command;
pub mod control;
pub mod groups;
pub mod host;
pub mod inlets;
pub mod kept;
pub mod log_lines;
pub mod origin;
pub mod outcome;
mod pages;
pub mod progress;
pub mod project;
pub mod render;
pub mod run_failure;
pub mod sample;
pub mod secrets;
pub mod shapes;
pub mod source_file;
pub mod streams;
pub mod supervision;
pub mod task;
pub mod testing;
pub mod witness;
pub mod world;
