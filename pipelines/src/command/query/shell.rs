//! The shell of `syncline query`: questions over several lines until a `;`, and a few commands that psql has too.
//!
//! Lines are edited and remembered, across shells too: in a file that only its owner reads, and not those that begin with a space. Ctrl-C
//! drops what was typed, or ends the question that is being answered. Whoever answers is found anew for each question, so that the shell
//! keeps nobody from starting or stopping a pipeline.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use clap::ValueEnum;
use syncline_analytics::statements;
use syncline_functions::sql_type_of;

use super::{
    Arguments,
    editor::{Editor, Typed},
    print,
};
use crate::{
    ask::Answerer,
    command::{Common, Format},
    interrupt,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    secrets,
};

const HELP: &str = "\
A question is SQL, over as many lines as it takes, and ends with `;`.
  \\d, \\dt         tables
  \\d TABLE        columns of a table
  \\format FORMAT  how answers are printed: table, json, ndjson, csv
  \\?              this
  \\q, ^D          the end
^C drops what was typed, or ends the question that is being answered. A line that begins with a space is not remembered.";

const TABLES: &str = "SELECT table_schema AS schema, table_name AS name FROM information_schema.tables
    WHERE table_schema <> 'information_schema' ORDER BY table_schema <> 'public', table_schema, table_name";

/// Another file for what was typed; empty: none.
const HISTORY: &str = "SYNCLINE_HISTORY";
/// Lines that are remembered.
const REMEMBERED: usize = 1000;

/// What comes of a line that begins with a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    GoOn,
    End,
    Format(Format),
}

/// Who is asked, and how answers look.
struct Shell<'a> {
    arguments: &'a Arguments,
    common: Common,
}

pub fn run(arguments: &Arguments, common: &Common) -> Outcome {
    // Says at once where there is nothing to ask.
    drop(arguments.answerer(common)?);
    interrupt::ends_questions()?;
    let failed = |error: io::Error| Failure::environment("no-terminal", format!("the terminal: {error}"));
    // What was typed before is a comfort: a shell without it is a shell.
    let history = History::open();
    let mut editor = Editor { past: history.as_ref().map_or_else(Vec::new, History::lines) };
    eprintln!("questions end with `;`, \\d lists tables, \\? helps, \\q ends");
    let mut shell = Shell { arguments, common: common.clone() };
    let mut typed = String::new();
    loop {
        let line = match editor.read(if typed.is_empty() { "syncline> " } else { "       -> " }).map_err(failed)? {
            Typed::Line(line) => line,
            Typed::Dropped => {
                typed.clear();
                continue;
            }
            Typed::End => return Ok(()),
        };
        let again = editor.past.last() == Some(&line);
        if !line.trim().is_empty() && !line.starts_with(' ') && !again {
            history.iter().for_each(|history| history.keep(&line));
            editor.past.push(line.clone());
        }
        let command = typed.is_empty() && line.trim_start().starts_with('\\');
        typed.push_str(&line);
        typed.push('\n');
        let (next, rest) = if command { (shell.look(&line), String::new()) } else { (Next::GoOn, shell.ask(&typed)) };
        typed = rest;
        match next {
            Next::GoOn => {}
            Next::End => return Ok(()),
            Next::Format(format) => shell.common.output = format,
        }
    }
}

impl Shell<'_> {
    fn look(&self, line: &str) -> Next {
        looked(line.trim().trim_start_matches('\\'), self.arguments, &self.common).unwrap_or_else(|failure| {
            told(&failure);
            Next::GoOn
        })
    }

    /// Asks what is whole, up to the first that fails; what is not is typed further.
    fn ask(&self, typed: &str) -> String {
        let found = statements(typed);
        for sql in &found.whole {
            let answered =
                self.arguments.answerer(&self.common).and_then(|answerer| print(&answerer, sql, &self.common));
            if let Err(failure) = answered {
                told(&failure);
                break;
            }
        }
        found.rest.map(|rest| format!("{rest}\n")).unwrap_or_default()
    }
}

/// The file of what was typed: its owner's alone, for a question may hold what others should not read.
struct History(PathBuf);

impl History {
    /// Where the state of programs is kept; `None` where nothing can be.
    fn open() -> Option<History> {
        let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let file = set(HISTORY).or_else(|| {
            let state = set("XDG_STATE_HOME").filter(|state| state.is_absolute());
            Some(state.or_else(|| set("HOME").map(|home| home.join(".local/state")))?.join("syncline/history"))
        })?;
        DirBuilder::new().recursive(true).mode(0o700).create(file.parent()?).ok()?;
        let history = History(file);
        history.file().ok()?.set_permissions(Permissions::from_mode(0o600)).ok()?;
        Some(history)
    }

    fn file(&self) -> io::Result<File> {
        OpenOptions::new().append(true).create(true).mode(0o600).open(&self.0)
    }

    /// The last ones; the file is cut back to them when it is twice as long.
    fn lines(&self) -> Vec<String> {
        let text = fs::read(&self.0).unwrap_or_default();
        let mut lines: Vec<String> = String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        if lines.len() > 2 * REMEMBERED {
            lines.drain(..lines.len() - REMEMBERED);
            let _ = fs::write(&self.0, lines.join("\n") + "\n");
        }
        lines
    }

    /// A line that cannot be kept is asked all the same.
    fn keep(&self, line: &str) {
        let _ = self.file().and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    }
}

fn told(failure: &Failure) {
    eprintln!("{}", secrets::hidden(&failure.to_text()));
}

/// Does a command, given without its backslash.
pub fn looked(command: &str, arguments: &Arguments, common: &Common) -> Result<Next, Failure> {
    let (word, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
    let rest = rest.trim().trim_end_matches(';').trim();
    match (word.trim_end_matches(';'), rest) {
        ("q", _) => return Ok(Next::End),
        ("?" | "h" | "help", _) => eprintln!("{HELP}"),
        ("d" | "dt" | "d+" | "dt+", "") => print(&arguments.answerer(common)?, TABLES, common)?,
        ("d" | "d+", table) => describe(&arguments.answerer(common)?, table, common)?,
        ("format", format) => {
            let known = Format::from_str(format, true);
            return known.map(Next::Format).map_err(|_| {
                Failure::usage("no-such-format", format!("there is no format `{format}`"))
                    .help("\\format table, json, ndjson or csv")
            });
        }
        (word, _) => {
            return Err(
                Failure::usage("no-such-command", format!("there is no \\{word}")).help("\\? lists what there is")
            );
        }
    }
    Ok(Next::GoOn)
}

/// The columns of a table, in the words of pipelines.
fn describe(answerer: &Answerer, table: &str, common: &Common) -> Outcome {
    let mut schema: Option<SchemaRef> = None;
    answerer.query(&format!("SELECT * FROM {table} LIMIT 0"), &mut |batch| {
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
