//! `syncline query`: SQL over everything that happened.

use std::io::Read;

use arrow::datatypes::SchemaRef;
use clap::Args;

use super::Common;
use crate::{
    ask::Answerer,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
};

/// Ask SQL about runs, books, dropped records, dead letters and live state
#[derive(Args, Debug)]
#[command(after_help = "\
Tables: pipelines, runs, steps, checkpoints, backfills, records_dropped, ledger, dead_letters, deliveries, and the keys
that a DEDUP remembers as PIPELINE.STEP. SHOW TABLES lists them, DESCRIBE shows columns.

Examples:
  syncline query 'SELECT * FROM steps'
  syncline query \"SELECT reason, count(*) FROM records_dropped WHERE pipeline = 'orders' GROUP BY reason\"
  syncline query 'SELECT count(*) FROM orders.dedup'
  syncline query -o csv - < question.sql")]
pub struct Arguments {
    /// The question, or `-` to read it from standard input
    #[arg(value_name = "SQL|-")]
    pub sql: String,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let sql = match arguments.sql.as_str() {
        "-" => from_stdin()?,
        sql => sql.to_owned(),
    };
    print(&Answerer::find(common)?, &sql, common)
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
