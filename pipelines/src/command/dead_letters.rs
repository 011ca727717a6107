//! `syncline dead-letters`: records that could not be processed.

use std::io::Write;

use arrow::array::RecordBatch;
use clap::{Args, Subcommand};

use super::{Common, Format, query};
use crate::{
    api::dead_letters::{Wanted, bytes_of, list_sql, show_sql},
    ask::Answerer,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, shown, stdout},
};

/// Letters that a list shows unless it is told.
const LETTERS: usize = 100;

/// Look at records that could not be processed
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline dead-letters list
  syncline dead-letters list --pipeline orders --step dedup --limit 20 -o json
  syncline dead-letters show 4f2a9c0d11e0b7a3
  syncline dead-letters show 4f2a9c0d11e0b7a3 --raw > record.json")]
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

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let answerer = Answerer::find(common)?;
    match arguments.what {
        What::List { pipeline, step, limit } => {
            let wanted = Wanted { pipeline, step, ..Wanted::default() };
            query::print(&answerer, &list_sql(&wanted, limit), common)
        }
        What::Show { id, raw } => show(&answerer, &id, raw, common),
    }
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
