//! The shell of `syncline query`: questions over several lines until a `;`, and a few commands that psql has too. Lines are edited as the
//! terminal does it; `rlwrap syncline query` remembers them.
//!
//! Whoever answers is found anew for each question, so that the shell keeps nobody from starting or stopping a pipeline.

use std::{
    io::{BufRead, Write},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use syncline_analytics::statements;
use syncline_functions::sql_type_of;

use super::print;
use crate::{
    ask::Answerer,
    command::Common,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    secrets,
};

const HELP: &str = "\
A question is SQL, over as many lines as it takes, and ends with `;`.
  \\d, \\dt     tables
  \\d TABLE    columns of a table
  \\?          this
  \\q, ^D      the end";

const TABLES: &str = "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables
    WHERE table_schema <> 'information_schema' ORDER BY table_schema <> 'public', table_schema, table_name";

/// What comes of a line that begins with a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    End,
}

pub fn run(common: &Common) -> Outcome {
    // Says at once where there is nothing to ask.
    drop(Answerer::find(common)?);
    eprintln!("questions end with `;`, \\d lists tables, \\? helps, \\q ends");
    let mut text = String::new();
    while let Some(line) = read(if text.is_empty() { "syncline> " } else { "       -> " })? {
        if text.is_empty() && line.trim_start().starts_with('\\') {
            match looked(line.trim().trim_start_matches('\\'), common) {
                Ok(Next::GoOn) => continue,
                Ok(Next::End) => break,
                Err(failure) => told(&failure),
            }
            continue;
        }
        text.push_str(&line);
        let found = statements(&text);
        let whole: Vec<String> = found.whole.iter().map(|sql| (*sql).to_owned()).collect();
        let rest = found.rest.map(str::to_owned);
        ask(&whole, common);
        text = rest.map_or_else(String::new, |rest| rest + "\n");
    }
    Ok(())
}

/// The next line; `None` behind the last.
fn read(prompt: &str) -> Result<Option<String>, Failure> {
    eprint!("{prompt}");
    let _ = std::io::stderr().flush();
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let length = read.map_err(|error| Failure::environment("no-terminal", format!("the terminal: {error}")))?;
    Ok((length > 0).then_some(line))
}

fn ask(whole: &[String], common: &Common) {
    for sql in whole {
        let answered = Answerer::find(common).and_then(|answerer| print(&answerer, sql, common));
        if let Err(failure) = answered {
            return told(&failure);
        }
    }
}

fn told(failure: &Failure) {
    eprintln!("{}", secrets::hidden(&failure.to_text()));
}

/// Does a command, given without its backslash.
pub fn looked(command: &str, common: &Common) -> Result<Next, Failure> {
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let table = rest.trim().trim_end_matches(';').trim();
    match (word.trim_end_matches(';'), table) {
        ("q", _) => return Ok(Next::End),
        ("?" | "h" | "help", _) => eprintln!("{HELP}"),
        ("d" | "dt" | "d+" | "dt+", "") => print(&Answerer::find(common)?, TABLES, common)?,
        ("d" | "d+", table) => describe(table, common)?,
        (word, _) => {
            return Err(
                Failure::usage("no-such-command", format!("there is no \\{word}")).help("\\? lists what there is")
            );
        }
    }
    Ok(Next::GoOn)
}

/// The columns of a table, in the words of pipelines.
fn describe(table: &str, common: &Common) -> Outcome {
    let mut schema: Option<SchemaRef> = None;
    Answerer::find(common)?.query(&format!("SELECT * FROM {table} LIMIT 0"), &mut |batch| {
        schema.get_or_insert(batch.schema());
        Ok(true)
    })?;
    let fields = schema.map(|schema| schema.fields().clone()).unwrap_or_default();
    let names: StringArray = fields.iter().map(|field| Some(field.name().clone())).collect();
    let types: StringArray = fields.iter().map(|field| Some(sql_type_of(field))).collect();
    let shown = Arc::new(Schema::new(["column", "type"].map(|name| Field::new(name, DataType::Utf8, false)).to_vec()));
    let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(types)];
    let rows = RecordBatch::try_new(shown.clone(), columns)
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, shown, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}
