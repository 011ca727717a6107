//! `syncline backfill`: what happened before, taken in by a pipeline that runs.

use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{Common, Format, query, schedule::escaped};
use crate::{
    ask::Answerer,
    backfill::{self, SHARE},
    control,
    outcome::{Failure, Outcome},
};

/// Take history into a running pipeline, through the same steps into the same state
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline backfill start orders \"'old/*.parquet'\"
  syncline backfill start orders \"kafka('orders', brokers => 'localhost:9092', until => '2026-11-01T00:00:00Z')\" --share 50
  syncline backfill start orders \"FROM file('old.ndjson') |> WHERE total > 0\"
  syncline backfill status
  syncline backfill pause orders      across restarts too
  syncline backfill resume orders
  syncline backfill cancel orders     what was read stays")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Read a source to its end beside the pipeline's own, with a share of the time
    Start {
        name: String,
        /// What to read, as it would stand in `history(…)` of the pipeline's file
        source: String,
        /// Hundredths of the time that it may take while the pipeline has other rows
        #[arg(long, default_value_t = SHARE, value_parser = clap::value_parser!(u8).range(1..=95))]
        share: u8,
    },
    /// How far backfills are: rows, rate, seconds left; dead letters and starts; bytes and time that it cost
    Status { name: Option<String> },
    /// Read no more of it until it is resumed
    Pause { name: String },
    /// Go on where it was
    Resume { name: String },
    /// Read the rest of it never
    Cancel { name: String },
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    let (name, verb, body) = match &arguments.what {
        What::Status { name } => return status(&answerer, name.as_deref(), common),
        What::Start { name, source, share } => (name, "start", json!({ "source": source, "share": share }).to_string()),
        What::Pause { name } => (name, "pause", String::new()),
        What::Resume { name } => (name, "resume", String::new()),
        What::Cancel { name } => (name, "cancel", String::new()),
    };
    match (&answerer, backfill::wish(verb)) {
        (Answerer::Process(process), _) => {
            let verb = if *verb == *"start" { String::new() } else { format!("/{verb}") };
            let path = format!("/v1/pipelines/{}/backfill{verb}", escaped(name));
            control::call(process, Method::POST, &path, body.into_bytes())?.ok_or_else(|| process.gone())?;
        }
        (Answerer::Folder(world, _), Some(wish)) => drop(backfill::change(&*world.ground.store, name, wish)?),
        (Answerer::Folder(..) | Answerer::Ledger(..), _) => {
            return Err(Failure::failed("nobody-runs", "no process runs here, so nothing can be started in it")
                .help("start the pipeline, and ask again: syncline run FILE"));
        }
    }
    if common.output != Format::Table {
        return status(&answerer, Some(name), common);
    }
    eprintln!(
        "{}",
        match verb {
            "start" => format!("{name} takes it in beside its source; `syncline backfill status` says how far it is"),
            "pause" => format!("the backfill of {name} is paused until `syncline backfill resume {name}`"),
            "resume" => format!("the backfill of {name} goes on where it was"),
            _ => format!("the backfill of {name} is cancelled: what was read stays"),
        }
    );
    Ok(())
}

fn status(answerer: &Answerer, name: Option<&str>, common: &Common) -> Outcome {
    let one = name.map(|name| format!("WHERE pipeline = '{}' ", name.replace('\'', "''"))).unwrap_or_default();
    query::print(answerer, &format!("SELECT * FROM backfills {one}ORDER BY pipeline, number"), common)
}
