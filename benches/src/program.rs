//! The product, by its own command line, in this process.

use std::process::ExitCode;

use clap::Parser;
use syncline::command::{self, CommandLine};

/// Runs a command to its end, which has to be a good one.
pub fn run(arguments: &[&str]) {
    let line = CommandLine::parse_from(std::iter::once("syncline").chain(arguments.iter().copied()));
    let code = command::run(line);
    assert!(format!("{code:?}") == format!("{:?}", ExitCode::SUCCESS), "{arguments:?} failed");
}
