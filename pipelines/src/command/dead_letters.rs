//! `syncline dead-letters`: records that could not be processed, and what becomes of them.

use std::io::Write;

use arrow::array::RecordBatch;
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::json;

use super::{Common, Format, query};
use crate::{
    api::{
        access::Caller,
        dead_letters::{Wanted, bytes_of, list_sql, show_sql},
        letters::{DecidedMany, Which, discard_here},
    },
    ask::{Answerer, unreadable},
    control::{self, Process},
    outcome::{Failure, Outcome},
    render::{Renderer, printed, shown, stdout},
};

/// Letters that a list shows unless it is told.
const LETTERS: usize = 100;
/// Letters that are decided about in one call.
const AT_ONCE: u64 = 1000;
/// Refusals that are told one by one.
const TOLD: usize = 10;

/// Look at records that could not be processed
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline dead-letters list
  syncline dead-letters list --pipeline orders --step dedup --limit 20 -o json
  syncline dead-letters show 4f2a9c0d11e0b7a3
  syncline dead-letters show 4f2a9c0d11e0b7a3 --raw > record.json
  syncline dead-letters retry 4f2a9c0d11e0b7a3
  syncline dead-letters discard --pipeline orders --step dedup --all")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// The newest dead letters
    List {
        /// Only those of this pipeline
        #[arg(long, value_name = "NAME")]
        pipeline: Option<String>,
        /// Only those that stopped at this step
        #[arg(long, value_name = "STEP")]
        step: Option<String>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = LETTERS)]
        limit: usize,
    },
    /// Send records through their pipeline again, exactly once; where that is not possible it says why
    Retry(Chosen),
    /// Want records no more; their bytes stay as long as the log keeps them
    Discard(Chosen),
    /// One dead letter, whole
    Show {
        /// Its id, as `list` shows it
        #[arg(value_name = "ID")]
        id: String,
        /// Only the original bytes, exactly as they came
        #[arg(long)]
        raw: bool,
    },
}

/// Which letters.
#[derive(Args, Debug)]
pub struct Chosen {
    /// Their ids, as `list` shows them
    #[arg(value_name = "ID", required_unless_present = "all")]
    pub ids: Vec<String>,
    /// All open ones of this pipeline, with --all
    #[arg(long, value_name = "NAME", requires = "all")]
    pub pipeline: Option<String>,
    /// Of those, the ones that stopped at this step
    #[arg(long, value_name = "STEP", requires = "pipeline")]
    pub step: Option<String>,
    /// All of a pipeline
    #[arg(long, requires = "pipeline", conflicts_with = "ids")]
    pub all: bool,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    match arguments.what {
        What::List { pipeline, step, limit } => {
            let wanted = Wanted { pipeline, step, ..Wanted::default() };
            query::print(&answerer, &list_sql(&wanted, limit), common)
        }
        What::Retry(chosen) => decide(&answerer, chosen, "retry", common),
        What::Discard(chosen) => decide(&answerer, chosen, "discard", common),
        What::Show { id, raw } => show(&answerer, &id, raw, common),
    }
}

fn decide(answerer: &Answerer, chosen: Chosen, verb: &str, common: &Common) -> Outcome {
    let Chosen { ids, pipeline, step, .. } = chosen;
    let which = Which { ids: Some(ids).filter(|ids| !ids.is_empty()), pipeline, step, ..Which::default() };
    let mut all = DecidedMany { done: 0, refused: vec![], more: true };
    // Those that are open now: a record that stops again is another letter, and would be sent again without an end.
    let open = open(answerer, &which)?;
    while all.more {
        // Those that were refused stay open, and are the oldest of what is left.
        let (skip, left) = (all.refused.len() as u64, open.saturating_sub(all.done + all.refused.len() as u64));
        if left == 0 {
            break;
        }
        let which = Which { skip: Some(skip), limit: Some(left.min(AT_ONCE)), ..which.clone() };
        let some = match answerer {
            Answerer::Process(process) => asked(process, &which, verb)?,
            Answerer::Folder(world, _) if verb == "discard" => {
                let sql = which.sql(&Caller::local()).map_err(|problem| *problem.failure)?;
                discard_here(&*world.ground.store, &answerer.rows(&sql)?, world.ground.clock.now())?
            }
            Answerer::Folder(..) | Answerer::Ledger(..) => {
                return Err(Failure::failed(
                    "nobody-runs",
                    "no process runs here, so there is nothing to send a record to",
                )
                .help("start the pipeline, and retry then"));
            }
        };
        all.refused.extend(some.refused);
        (all.done, all.more) = (all.done + some.done, some.more);
    }
    let word = if verb == "retry" { "retried" } else { "discarded" };
    match common.output {
        Format::Json | Format::Ndjson => {
            println!("{}", json!({"done": all.done, "refused": all.refused}));
        }
        _ => eprintln!("{} dead letters {word}", all.done),
    }
    match all.refused.first() {
        None if all.done == 0 => Err(Failure::failed("no-such-letter", "there is no open dead letter of these")
            .help("`syncline dead-letters list` shows them")),
        None => Ok(()),
        Some(first) => {
            let failure =
                Failure::failed(first.reason.clone(), format!("{} dead letters were not {word}", all.refused.len()));
            Err(all
                .refused
                .iter()
                .take(TOLD)
                .fold(failure, |failure, one| failure.seen(format!("{}: {}", one.id, one.title))))
        }
    }
}

/// How many of these are open.
fn open(answerer: &Answerer, which: &Which) -> Result<u64, Failure> {
    let sql = which.count_sql(&Caller::local()).map_err(|problem| *problem.failure)?;
    let found = answerer.rows(&sql)?.into_iter().find(|rows| rows.num_rows() > 0);
    let count = found.and_then(|rows| shown(&rows, "n", 0)).and_then(|count| count.parse().ok());
    Ok(count.unwrap_or_default())
}

fn asked(process: &Process, which: &Which, verb: &str) -> Result<DecidedMany, Failure> {
    let body = serde_json::to_vec(which).unwrap_or_default();
    let answer = control::call(process, Method::POST, &format!("/v1/dead-letters/{verb}"), body)?;
    let answer = answer.ok_or_else(|| process.gone())?;
    serde_json::from_slice(&answer.body).map_err(|error| unreadable(error.to_string()))
}

fn show(answerer: &Answerer, id: &str, raw: bool, common: &Common) -> Outcome {
    let found = answerer.rows(&show_sql(id))?.into_iter().find(|batch| batch.num_rows() > 0);
    let letter = found.ok_or_else(|| {
        Failure::failed("no-such-letter", format!("there is no dead letter {id}"))
            .help("`syncline dead-letters list` shows them")
    })?;
    let mut out = stdout();
    if raw {
        let kept = bytes_of(&letter);
        let length = shown(&letter, "length", 0).and_then(|length| length.parse::<usize>().ok());
        if let Some(length) = length.filter(|length| *length > kept.len()) {
            eprintln!("the record had {length} bytes; these are the first {}", kept.len());
        }
        return printed(out.write_all(kept).and_then(|()| out.flush()));
    }
    printed(match common.output {
        Format::Table => facts(&letter, &mut out),
        format => Renderer::new(format, letter.schema(), &mut out).and_then(|mut renderer| {
            renderer.write(&letter)?;
            renderer.finish().map(drop)
        }),
    })
}

/// One fact per line, then the record's text.
fn facts(letter: &RecordBatch, out: &mut impl Write) -> std::io::Result<()> {
    for field in letter.schema().fields() {
        let name = field.name().as_str();
        if let Some(text) = shown(letter, name, 0).filter(|_| !["bytes", "text"].contains(&name)) {
            writeln!(out, "{name:<14} {}", harmless(&text))?;
        }
    }
    writeln!(out, "\n{}", harmless(&shown(letter, "text", 0).unwrap_or_default()))?;
    out.flush()
}

/// Text that somebody sent, for a terminal: line ends and tabs stay; other control characters could command it.
fn harmless(text: &str) -> String {
    let mut harmless = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() && !['\n', '\t'].contains(&letter) {
            true => harmless.extend(letter.escape_default()),
            false => harmless.push(letter),
        }
    }
    harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_cannot_command_the_terminal() {
        assert_eq!(harmless("a\n\tü\u{1b}[2J\r\0"), "a\n\tü\\u{1b}[2J\\r\\u{0}");
    }
}
