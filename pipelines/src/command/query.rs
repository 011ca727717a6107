//! `syncline query`: SQL over everything that happened.

use std::{
    fs,
    io::{IsTerminal, Read},
    path::PathBuf,
};

use arrow::datatypes::SchemaRef;
use clap::Args;
use syncline_analytics::statements;

use super::Common;
use crate::{
    ask::Answerer,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    workers::WorkersOptions,
};

mod editor;
mod shell;

/// Ask SQL about runs, books, dropped records, dead letters and live state
#[derive(Args, Debug)]
#[command(after_help = "\
Tables: pipelines, runs, run_events, requests, audit_log, steps, checkpoints, backfills, schedules, watermarks, lag, records_dropped, ledger,
dead_letters, deliveries, the keys that a DEDUP remembers as PIPELINE.STEP, and what connections lead to as CONNECTION.TABLE.
SHOW TABLES lists them, DESCRIBE shows columns.
Pipes are understood: FROM runs |> LIMIT 3.

Without SQL on a terminal it is a shell: statements end with `;`, \\d lists tables, \\? lists its commands. It remembers what was typed
in ~/.local/state/syncline/history (SYNCLINE_HISTORY names another file); a line that begins with a space is not remembered.

Examples:
  syncline query 'SELECT * FROM steps'
  syncline query \"SELECT reason, count(*) FROM records_dropped WHERE pipeline = 'orders' GROUP BY reason\"
  syncline query 'SELECT count(*) FROM orders.dedup'
  syncline query 'SELECT * FROM shop.customers WHERE id = 7'
  syncline query -f report.sql -o csv
  syncline query --ledger s3://shop/ledger --workers 10.0.0.1:7900,10.0.0.2:7900 'SELECT fate, count(*) FROM ledger GROUP BY fate'
  syncline query -o csv - < question.sql")]
pub struct Arguments {
    /// The question, or `-` to read it from standard input
    #[arg(value_name = "SQL|-")]
    pub sql: Option<String>,
    /// One or several questions, as the argument
    #[arg(short, long = "command", value_name = "SQL", conflicts_with_all = ["sql", "file"])]
    pub command: Option<String>,
    /// A file of questions, each ended by `;`
    #[arg(short, long, value_name = "FILE", conflicts_with = "sql")]
    pub file: Option<PathBuf>,
    /// Ask the files of a ledger alone, where `run --ledger` puts them: no data folder is needed
    #[arg(long, value_name = "URL|DIR")]
    pub ledger: Option<String>,
    #[command(flatten)]
    pub workers: WorkersOptions,
}

impl Arguments {
    /// Who answers.
    fn answerer(&self, common: &Common) -> Result<Answerer, Failure> {
        let workers = self.workers.open()?;
        match &self.ledger {
            Some(place) => Answerer::of_ledger(place, workers),
            None => Answerer::find(common)?.with_workers(workers),
        }
    }
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let text = match (arguments.sql.as_ref().or(arguments.command.as_ref()), &arguments.file) {
        (_, Some(file)) => fs::read_to_string(file)
            .map_err(|error| Failure::usage("no-question", format!("{}: {error}", file.display())))?,
        (Some(sql), None) if sql != "-" => sql.clone(),
        (None, None) if std::io::stdin().is_terminal() => return shell::run(&arguments, common),
        _ => from_stdin()?,
    };
    answered(&text, &arguments, common)
}

/// Answers every statement of a text, up to the first that fails.
fn answered(text: &str, arguments: &Arguments, common: &Common) -> Outcome {
    if let Some(command) = text.trim().strip_prefix('\\') {
        return shell::looked(command, arguments, common).map(drop);
    }
    let answerer = arguments.answerer(common)?;
    let all = statements(text).all();
    if all.is_empty() {
        // What is said to no question is said by whoever answers questions.
        return print(&answerer, text, common);
    }
    all.into_iter().try_for_each(|sql| print(&answerer, sql, common))
}

/// Prints the answer to a question.
pub fn print(answerer: &Answerer, sql: &str, common: &Common) -> Outcome {
    // Nothing is printed before a row is there: an answer that fails at once is no answer.
    let (mut schema, mut renderer) = (None, None);
    let mut trouble = Ok(());
    let begin = |schema: SchemaRef| Renderer::new(common.output, schema, stdout());
    answerer.query(sql, &mut |batch| {
        schema = Some(batch.schema());
        if batch.num_rows() > 0 {
            let begun = renderer.take().map_or_else(|| begin(batch.schema()), Ok);
            trouble = begun.and_then(|mut begun| {
                begun.write(batch)?;
                renderer = Some(begun);
                Ok(())
            });
        }
        Ok(trouble.is_ok())
    })?;
    if let (Ok(()), Some(schema)) = (&trouble, schema) {
        trouble = renderer.map_or_else(|| begin(schema), Ok).and_then(Renderer::finish).map(drop);
    }
    printed(trouble)
}

fn from_stdin() -> Result<String, Failure> {
    let mut sql = String::new();
    std::io::stdin()
        .read_to_string(&mut sql)
        .map_err(|error| Failure::usage("no-question", format!("the question cannot be read: {error}")))?;
    Ok(sql)
}
