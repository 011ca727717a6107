//! `syncline user`: who may ask over PostgreSQL's protocol.

use std::{
    io::{BufRead, IsTerminal, Read, Write},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::Common;
use crate::{
    outcome::{Failure, Outcome},
    pgwire::scram::Verifier,
    render::{Renderer, printed, stdout},
    users::{self, Role},
    world::{DATA_FOLDER, data_folder},
};

/// Fewer characters are guessed too soon.
const SHORTEST: usize = 8;
/// Far above any password, far below a file that was given by mistake.
const LONGEST: u64 = 1 << 10;

/// Add, list and remove who may ask over PostgreSQL's protocol
#[derive(Args, Debug)]
#[command(after_help = "\
A user proves a password (SCRAM-SHA-256) and may look at everything (role viewer). Only what checks the password is kept, in the file
`users` of the data folder, which only its owner can read. A change counts from the next connection on.

Examples:
  syncline user add ada                       asks for a password, twice
  pass show syncline/ada | syncline user add ada
  syncline user list
  syncline user remove ada")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Add a user, or give one another password, read from the terminal or from standard input
    Add {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Names and roles
    List,
    /// Let nobody in under this name any more
    Remove {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    match arguments.what {
        What::Add { name } => add(&name, common),
        What::List => list(common),
        What::Remove { name } => remove(&name, common),
    }
}

fn add(name: &str, common: &Common) -> Outcome {
    let plain = |letter: char| letter.is_alphanumeric() || "._-@".contains(letter);
    if name.is_empty() || name.len() > 63 || !name.chars().all(plain) {
        return Err(Failure::usage("user-name", format!("`{}` cannot be a name", name.escape_default()))
            .help("use up to 63 letters, digits, `.`, `_`, `-` and `@`"));
    }
    let password = if std::io::stdin().is_terminal() { asked(name)? } else { piped(name)? };
    let verifier = Verifier::of(&password)
        .ok_or_else(|| Failure::environment("no-random-bytes", "this machine has no random bytes"))?;
    let folder = folder(common)?;
    let new = users::set(&folder, name, Role::Viewer, &verifier)?;
    eprintln!("{name} {} (viewer)", if new { "was added" } else { "has another password now" });
    Ok(())
}

fn piped(name: &str) -> Result<String, Failure> {
    let mut bytes = vec![];
    std::io::stdin().take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    taken(bytes, name)
}

/// Asked twice, and not shown.
fn asked(name: &str) -> Result<String, Failure> {
    let quiet = Quiet::begin()?;
    let mut answers = vec![];
    for question in ["password", "again"] {
        eprint!("{question} for {name}: ");
        let _ = std::io::stderr().flush();
        let mut line = String::new();
        std::io::stdin().lock().take(LONGEST + 2).read_line(&mut line).map_err(unreadable)?;
        eprintln!();
        answers.push(line);
    }
    drop(quiet);
    if answers[0] != answers[1] {
        return Err(
            Failure::usage("password-differs", "the two are not the same").help(format!("syncline user add {name}"))
        );
    }
    taken(answers.swap_remove(0).into_bytes(), name)
}

/// One newline at the end is the line's, not the password's.
fn taken(mut bytes: Vec<u8>, name: &str) -> Result<String, Failure> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    let refused = |slug, why: String| Failure::usage(slug, why).help(format!("syncline user add {name}"));
    if bytes.len() as u64 > LONGEST {
        return Err(refused("password-too-long", "this is longer than 1 KiB, so hardly a password".to_owned()));
    }
    let text = String::from_utf8(bytes).map_err(|_| refused("password-not-text", "this is not UTF-8".to_owned()))?;
    if text.chars().any(char::is_control) {
        return Err(refused("password-not-text", "a password is one line of text".to_owned()));
    }
    if text.chars().count() < SHORTEST {
        return Err(refused("password-too-short", format!("a password has {SHORTEST} characters or more")));
    }
    Ok(text)
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::environment("no-password", format!("standard input: {error}"))
}

/// The terminal does not show what is typed, until this is let go.
struct Quiet(Termios);

impl Quiet {
    fn begin() -> Result<Self, Failure> {
        let failed = |error: rustix::io::Errno| Failure::environment("no-terminal", format!("the terminal: {error}"));
        let before = tcgetattr(std::io::stdin()).map_err(failed)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Flush, &quiet).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Flush, &self.0);
    }
}

/// A user may be added before the first run has made the folder.
fn folder(common: &Common) -> Result<PathBuf, Failure> {
    match data_folder(common.data.as_deref(), None) {
        Err(failure) if failure.slug == "no-data-folder" => Ok(PathBuf::from(DATA_FOLDER)),
        folder => folder,
    }
}

fn list(common: &Common) -> Outcome {
    let (names, roles): (Vec<String>, Vec<&str>) =
        users::all(&folder(common)?)?.into_iter().map(|(name, user)| (name, user.role.as_str())).unzip();
    let fields = ["name", "role"].map(|name| Field::new(name, DataType::Utf8, false));
    let schema = Arc::new(Schema::new(fields.to_vec()));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(StringArray::from(names)), Arc::new(StringArray::from(roles))];
    let rows = RecordBatch::try_new(schema.clone(), columns)
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, schema, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}

fn remove(name: &str, common: &Common) -> Outcome {
    if users::remove(&folder(common)?, name)? {
        eprintln!("{name} was removed; connections that are open stay open until they end");
        return Ok(());
    }
    Err(Failure::usage("no-such-user", format!("there is no user {name}")).help("syncline user list"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line_of_eight_characters_or_more() {
        assert_eq!(taken(b"tr0ub4dor\r\n".to_vec(), "ada").unwrap(), "tr0ub4dor");
        for (given, slug) in [
            (&b""[..], "password-too-short"),
            (b"1234567\n", "password-too-short"),
            (b"tr0ub4dor\nanother\n", "password-not-text"),
            (b"tr0ub4d\xff\n", "password-not-text"),
            (&[b'a'; 2000], "password-too-long"),
        ] {
            assert_eq!(taken(given.to_vec(), "ada").unwrap_err().slug, slug);
        }
    }
}
