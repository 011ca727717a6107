//! `syncline rollback`: a pipeline of a running `serve` goes back to what a revision of it said and had.

use clap::Args;
use serde_json::json;

use super::{Common, Format, pipeline, schedule::escaped};
use crate::{
    ask::Answerer,
    outcome::{Failure, Outcome},
};

/// Go back to an earlier revision of a pipeline: its text, its state and its positions
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline revisions orders
  syncline rollback orders              to the revision before
  syncline rollback orders --to 3

Inputs are read again from where they were when another text took its place. Files are cut back, and rows of an UPSERT are written again;
what cannot be taken back is said, and then nothing is changed.")]
pub struct Arguments {
    pub name: String,
    /// The number of the revision [default: the one before]
    #[arg(long, value_name = "N")]
    pub to: Option<u64>,
    /// Also where a table that rows were inserted into then holds them twice
    #[arg(long)]
    pub insert_again: bool,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { name, to, insert_again } = arguments;
    let Answerer::Process(process) = Answerer::find(common)? else {
        return Err(Failure::failed("nobody-runs", "no process runs here, so nothing can go back")
            .help("start one: syncline serve FOLDER"));
    };
    let body = json!({ "to": to, "insert_again": insert_again }).to_string().into_bytes();
    let answer =
        pipeline::ask(&process, hyper::Method::POST, &format!("/v1/pipelines/{}/rollback", escaped(&name)), body)?;
    if common.output != Format::Table {
        return crate::render::print(&format!("{}\n", String::from_utf8_lossy(&answer)));
    }
    match to {
        Some(to) => eprintln!("{name} is back at revision {to}, with its state"),
        None => eprintln!("{name} is back at the revision before, with its state"),
    }
    Ok(())
}
