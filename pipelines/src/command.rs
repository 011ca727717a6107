//! The commands: one file each, listed here.

use std::{io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    log_lines, memory,
    outcome::{Failure, Outcome},
    secrets,
};

pub mod apply;
pub mod backfill;
pub mod check;
pub mod connection;
pub mod context;
pub mod dead_letters;
pub mod discover;
pub mod explain;
pub mod init;
pub mod pipeline;
pub mod plan;
pub mod query;
pub mod revisions;
pub mod rollback;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod serve;
pub mod status;
pub mod test;
pub mod token;
pub mod user;
pub mod worker;

/// Keeps systems in sync, exactly once.
#[derive(Parser, Debug)]
#[command(name = "syncline", version, about, after_help = AFTER)]
pub struct CommandLine {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const AFTER: &str = "\
Examples:
  syncline init                     write a first pipeline with its test
  syncline test orders.sync         run the tests beside the pipelines
  syncline plan orders.sync         show what would run, and what becomes of the state that is there
  syncline run orders.sync          run it until it is stopped
  syncline run pipelines/           run all files of a folder as one process
  syncline query 'SELECT * FROM steps'

Exit codes: 0 ok · 1 failed · 2 usage or file wrong · 3 environment";

/// What every command takes.
#[derive(Args, Clone, Debug, Default)]
pub struct Common {
    /// The data folder [default: .syncline beside FILE, else the nearest one upwards]
    #[arg(long, global = true, value_name = "DIR", env = "SYNCLINE_DATA")]
    pub data: Option<PathBuf>,
    /// The server to speak to (`syncline context add`); `local`: a data folder [default: SYNCLINE_CONTEXT, or what `context use` says]
    #[arg(long, global = true, value_name = "NAME")]
    pub context: Option<String>,
    /// How data is printed
    #[arg(short, long, global = true, value_name = "FORMAT", default_value = "table")]
    pub output: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    #[default]
    Table,
    Json,
    Ndjson,
    Csv,
}

#[derive(Subcommand, Debug)]
pub enum Command {
    Init(init::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Test(test::Arguments),
    Run(run::Arguments),
    Serve(serve::Arguments),
    Apply(apply::Arguments),
    Pipeline(pipeline::Arguments),
    Revisions(revisions::Arguments),
    Rollback(rollback::Arguments),
    Status(status::Arguments),
    DeadLetters(dead_letters::Arguments),
    Discover(discover::Arguments),
    Connection(connection::Arguments),
    Context(context::Arguments),
    Query(query::Arguments),
    Backfill(backfill::Arguments),
    Schedule(schedule::Arguments),
    Secret(secret::Arguments),
    Token(token::Arguments),
    User(user::Arguments),
    Worker(worker::Arguments),
    Explain(explain::Arguments),
}

impl Command {
    /// Whether `--context` means something to it.
    fn speaks_to_servers(&self) -> bool {
        matches!(
            self,
            Self::Plan(_)
                | Self::Apply(_)
                | Self::Pipeline(_)
                | Self::Revisions(_)
                | Self::Rollback(_)
                | Self::Status(_)
                | Self::DeadLetters(_)
                | Self::Query(_)
                | Self::Backfill(_)
                | Self::Schedule(_)
                | Self::Token(_)
                // Which says why it speaks to none.
                | Self::Secret(_)
        )
    }
}

/// Runs a command; prints its failure, if any, where and how the caller wants it.
pub fn run(line: CommandLine) -> ExitCode {
    memory::keep();
    let CommandLine { common, command } = line;
    let outcome: Outcome = match command {
        command if common.context.is_some() && !command.speaks_to_servers() => {
            Err(Failure::usage("not-for-servers", "this command works on this machine, and speaks to no server")
                .help("leave --context out; `syncline context --help` lists the commands that take it"))
        }
        Command::Init(arguments) => init::run(arguments, &common),
        Command::Check(arguments) => check::run(arguments, &common),
        Command::Plan(arguments) => plan::run(arguments, &common),
        Command::Test(arguments) => test::run(arguments, &common),
        Command::Run(arguments) => run::run(arguments, &common),
        Command::Serve(arguments) => serve::run(arguments, &common),
        Command::Apply(arguments) => apply::run(arguments, &common),
        Command::Pipeline(arguments) => pipeline::run(arguments, &common),
        Command::Revisions(arguments) => revisions::run(arguments, &common),
        Command::Rollback(arguments) => rollback::run(arguments, &common),
        Command::Status(arguments) => status::run(arguments, &common),
        Command::DeadLetters(arguments) => dead_letters::run(arguments, &common),
        Command::Discover(arguments) => discover::run(arguments, &common),
        Command::Connection(arguments) => connection::run(arguments, &common),
        Command::Context(arguments) => context::run(arguments, &common),
        Command::Query(arguments) => query::run(arguments, &common),
        Command::Backfill(arguments) => backfill::run(arguments, &common),
        Command::Schedule(arguments) => schedule::run(arguments, &common),
        Command::Secret(arguments) => secret::run(arguments, &common),
        Command::Token(arguments) => token::run(arguments, &common),
        Command::User(arguments) => user::run(arguments, &common),
        Command::Worker(arguments) => worker::run(arguments, &common),
        Command::Explain(arguments) => explain::run(arguments, &common),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = match common.output {
                _ if log_lines::is_json() => {
                    failure.log();
                    return failure.code();
                }
                Format::Json | Format::Ndjson => failure.to_json(None).to_string(),
                Format::Table | Format::Csv => failure.to_text(),
            };
            // Whoever read stderr may be gone; the code still tells.
            let _ = writeln!(std::io::stderr(), "{}", secrets::hidden(&text));
            failure.code()
        }
    }
}
