//! `syncline`: see `syncline --help`.

use std::process::ExitCode;

use clap::Parser;
use syncline::{
    command::{self, CommandLine},
    memory,
};

fn main() -> ExitCode {
    memory::keep();
    command::run(CommandLine::parse())
}
