//! `syncline`: see `syncline --help`.

use std::process::ExitCode;

use clap::Parser;
use syncline::command::{self, CommandLine};

fn main() -> ExitCode {
    command::run(CommandLine::parse())
}
