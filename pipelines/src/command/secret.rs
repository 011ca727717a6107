//! `syncline secret`: stores what `secret('…')` in a pipeline file stands for.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};

use super::Common;
use crate::{
    contexts,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    secrets::{self, Secret},
    world::{DATA_FOLDER, data_folder},
};

/// The longest secret: far above any key, far below a file that was given by mistake.
const LONGEST: u64 = 64 << 10;

/// Store and list secrets
#[derive(Args, Debug)]
#[command(after_help = "\
A pipeline file says secret('github/webhook'). The environment variable SYNCLINE_SECRET_GITHUB_WEBHOOK comes first; then the file
`secrets` in the data folder, which only its owner can read. No secret goes over the network: it is stored where the process runs, and a
server that --context names has no route for it.

Examples:
  syncline secret set github/webhook < webhook-secret.txt
  pass show github/webhook | syncline secret set github/webhook
  syncline secret list")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Store a secret, read from standard input
    Set {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// The names of stored secrets
    List,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    if let Some(server) = contexts::chosen(common)? {
        // Taken for granted that it went there, it would be missing there, and lie here.
        return Err(Failure::usage(
            "not-for-servers",
            format!("no secret goes over the network, and {} is a server", server.name),
        )
        .help("store it where that process runs: log in there, and say syncline secret set NAME < FILE --data DIR")
        .help("or give that process the variable SYNCLINE_SECRET_NAME, from what keeps secrets for its machine")
        .help("for a data folder of this machine: --context local"));
    }
    match arguments.what {
        What::Set { name } => set(&name, common),
        What::List => list(common),
    }
}

fn set(name: &str, common: &Common) -> Outcome {
    if name.is_empty() || name.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        return Err(Failure::usage("secret-name", format!("`{}` cannot be a name", name.escape_default()))
            .help("use letters, digits, `/`, `-` and `_`, for example github/webhook"));
    }
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!(
            "type the secret, then press Ctrl-D (it will be visible; `syncline secret set {name} < FILE` is not)"
        );
    }
    let mut bytes = vec![];
    stdin
        .take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::environment("no-secret", format!("standard input: {error}")))?;
    let secret = taken(bytes, name)?;
    let folder = folder(common)?;
    secrets::set(&folder, name, &secret)?;
    eprintln!("{name} is stored in {}", folder.join("secrets").display());
    if std::env::var_os(secrets::variable(name)).is_some() {
        eprintln!("note: the environment variable {} is set, and comes first", secrets::variable(name));
    }
    Ok(())
}

/// One newline at the end is the file's, not the secret's.
fn taken(mut bytes: Vec<u8>, name: &str) -> Result<Secret, Failure> {
    if bytes.ends_with(b"\n") {
        bytes.pop();
        if bytes.ends_with(b"\r") {
            bytes.pop();
        }
    }
    let refused = |slug, why: &str| {
        Failure::usage(slug, format!("{name}: {why}")).help(format!("syncline secret set {name} < FILE"))
    };
    if bytes.is_empty() {
        return Err(refused("secret-empty", "there was nothing on standard input"));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(refused("secret-too-long", "this is longer than 64 KiB, so hardly a secret"));
    }
    String::from_utf8(bytes).map(Secret::new).map_err(|_| refused("secret-not-text", "this is not UTF-8"))
}

/// A secret may be stored before the first run has made the folder.
fn folder(common: &Common) -> Result<PathBuf, Failure> {
    match data_folder(common.data.as_deref(), None) {
        Err(failure) if failure.slug == "no-data-folder" => Ok(PathBuf::from(DATA_FOLDER)),
        folder => folder,
    }
}

fn list(common: &Common) -> Outcome {
    let names = secrets::names(&folder(common)?)?;
    let schema = Arc::new(Schema::new(vec![Field::new("name", DataType::Utf8, false)]));
    let rows = RecordBatch::try_new(schema.clone(), vec![Arc::new(StringArray::from(names))])
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, schema, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_newline_at_the_end_is_not_part_of_a_secret() {
        for (given, kept) in
            [("a\n", "a"), ("a\r\n", "a"), ("a", "a"), ("a\n\n", "a\n"), ("a\r", "a\r"), (" a ", " a ")]
        {
            assert_eq!(taken(given.as_bytes().to_vec(), "x").unwrap().expose(), kept);
        }
        assert_eq!(taken(vec![], "x").unwrap_err().slug, "secret-empty");
        assert_eq!(taken(b"\n".to_vec(), "x").unwrap_err().slug, "secret-empty");
        assert_eq!(taken(vec![0xff], "x").unwrap_err().slug, "secret-not-text");
        assert_eq!(taken(vec![b'a'; 70_000], "x").unwrap_err().slug, "secret-too-long");
    }
}
