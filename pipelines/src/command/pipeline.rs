//! `syncline pipeline`: the pipelines of a running process, and what people may ask of them.

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Common, Format, query, schedule::escaped};
use crate::{
    api::life,
    ask::Answerer,
    control::{self, Process},
    outcome::{Failure, Outcome},
};

/// Look at pipelines, hold them, start them again, or take them away
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline pipeline list
  syncline pipeline pause orders       nobody runs it until it is resumed, across restarts too
  syncline pipeline resume orders
  syncline pipeline stop orders        until it is resumed, or the process starts again
  syncline pipeline restart orders     stops it, and starts it from its last checkpoint
  syncline pipeline delete orders      stops it and removes its file; its state stays, unless --drop-state")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// All pipelines that have run here, and how they are
    List,
    /// Let nobody run it until it is resumed
    Pause { name: String },
    /// Let it go on from its last checkpoint
    Resume { name: String },
    /// Stop it until it is resumed, or the process starts again
    Stop { name: String },
    /// Stop it, and start it from its last checkpoint
    Restart { name: String },
    /// Stop it, and remove its file from the folder that `syncline serve` serves
    Delete {
        name: String,
        /// Forget all that is known of it, too; what it wrote outside stays
        #[arg(long)]
        drop_state: bool,
    },
}

const ALL: &str =
    "SELECT pipeline, state, run, attempt, epoch, last_checkpoint, waiting FROM pipelines ORDER BY pipeline";

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    let (name, verb) = match &arguments.what {
        What::List => return list(&answerer, common),
        What::Pause { name } => (name, "pause"),
        What::Resume { name } => (name, "resume"),
        What::Stop { name } => (name, "stop"),
        What::Restart { name } => (name, "restart"),
        What::Delete { name, .. } => (name, "delete"),
    };
    match &answerer {
        Answerer::Process(process) => {
            let answer = match arguments.what {
                What::Delete { drop_state, .. } => {
                    let state = if drop_state { "?state=drop" } else { "" };
                    ask(process, Method::DELETE, &format!("/v1/pipelines/{}{state}", escaped(name)), vec![])?
                }
                _ => ask(process, Method::POST, &format!("/v1/pipelines/{}/{verb}", escaped(name)), vec![])?,
            };
            if common.output != Format::Table {
                return crate::render::print(&format!("{}\n", String::from_utf8_lossy(&answer)));
            }
        }
        Answerer::Ledger(..) => return Err(Failure::failed("nobody-runs", "a ledger runs no pipelines")),
        Answerer::Folder(world, _) => life::hold(&world.ground, name, verb)?,
    }
    eprintln!(
        "{}",
        match verb {
            "pause" => format!("{name} is paused: nobody runs it until `syncline pipeline resume {name}`"),
            "resume" => format!("{name} goes on from its last checkpoint"),
            "stop" =>
                format!("{name} is stopped, until `syncline pipeline resume {name}` or the next start of the process"),
            "restart" => format!("{name} starts again from its last checkpoint"),
            _ => format!("{name} is deleted"),
        }
    );
    Ok(())
}

/// A process knows more than the store: who is paused, who waits.
fn list(answerer: &Answerer, common: &Common) -> Outcome {
    if let (Answerer::Process(_), Format::Table) = (answerer, common.output) {
        let status = answerer.status()?;
        let width = status.pipelines.iter().map(|pipeline| pipeline.pipeline.len()).max().unwrap_or(0);
        let line = |(name, state, why): (&str, &str, Option<&String>)| {
            let why = why.map(|why| format!(": {why}")).unwrap_or_default();
            format!("{name:<width$}  {state}{why}\n")
        };
        let lines = status.pipelines.iter().map(|one| line((&one.pipeline, &one.state, one.reason.as_ref())));
        return crate::render::print(&lines.collect::<String>());
    }
    query::print(answerer, ALL, common)
}

/// One request to the process; the body of its answer.
pub fn ask(process: &Process, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Failure> {
    let answer = control::call(process, method, path, body)?.ok_or_else(|| process.gone())?;
    Ok(answer.body.to_vec())
}
