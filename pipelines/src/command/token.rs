//! `syncline token`: who may ask over HTTP.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};
use syncline_engine::clock::{Clock, SystemClock};
use syncline_record::{Micros, duration};

use super::Common;
use crate::{
    api::facts::instant_text,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    tokens::{self, Grant, Role, Token},
    world::{DATA_FOLDER, data_folder},
};

/// Make, list and revoke tokens, with which programs ask over HTTP
#[derive(Args, Debug)]
#[command(after_help = "\
A viewer looks at everything and asks in SQL. An operator also pauses, resumes, retries, starts runs and sends records. An admin also changes
pipelines and tokens. While there is no token, everybody on this machine is an admin over TCP; once there is one, TCP asks for it. The commands
of the same user never need one. Only a hash is kept, in the file `tokens` of the data folder, which only its owner can read.
A change counts from the next request on.

Examples:
  syncline token create grafana --role viewer
  syncline token create deploy --role admin --expires 30d
  syncline token create shop --role operator --pipelines orders,refunds
  syncline token list
  syncline token revoke deploy
  curl localhost:7800/v1/pipelines -H \"authorization: Bearer $TOKEN\"")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Make a token; it is shown now, and never again
    Create {
        #[arg(value_name = "NAME")]
        name: String,
        /// What its holder may do
        #[arg(long, value_name = "ROLE")]
        role: Role,
        /// After so long it opens nothing, e.g. 30d, 12 hours [default: never]
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
        /// Only these pipelines [default: all]
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        pipelines: Vec<String>,
    },
    /// Names, roles and ends
    List,
    /// Let nobody in with this token any more
    Revoke {
        #[arg(value_name = "NAME")]
        name: String,
    },
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    match arguments.what {
        What::Create { name, role, expires, pipelines } => create(&name, role, expires.as_deref(), pipelines, common),
        What::List => list(common),
        What::Revoke { name } => revoke(&name, common),
    }
}

fn create(name: &str, role: Role, expires: Option<&str>, pipelines: Vec<String>, common: &Common) -> Outcome {
    let now = SystemClock::default().now();
    let expires = expires.map(|length| end(length, now)).transpose()?;
    let pipelines = Some(pipelines).filter(|pipelines| !pipelines.is_empty());
    let (token, text) = tokens::create(&folder(common)?, name, Grant { role, expires, pipelines }, now)?;
    // The token alone goes where a script reads it.
    let end = token.expires.map_or("has no end".to_owned(), |end| format!("ends {}", instant_text(end)));
    eprintln!("{name} ({}, id {}) {end}; this is its token, which is shown only now:", role.as_str(), token.id);
    println!("{text}");
    Ok(())
}

/// When a token ends that is good for so long.
pub fn end(length: &str, now: Micros) -> Result<Micros, Failure> {
    let wrong = || {
        Failure::usage("token-expires", format!("`{}` is no length of time that can pass", length.escape_default()))
            .help("say for example 30d, 12 hours, 90 minutes")
    };
    let micros = duration::microseconds(length).map_err(|_| wrong())?;
    let end = i64::try_from(micros).ok().filter(|micros| *micros > 0).and_then(|micros| now.checked_add(micros));
    end.ok_or_else(wrong)
}

/// A token may be made before the first run has made the folder.
fn folder(common: &Common) -> Result<PathBuf, Failure> {
    match data_folder(common.data.as_deref(), None) {
        Err(failure) if failure.slug == "no-data-folder" => Ok(PathBuf::from(DATA_FOLDER)),
        folder => folder,
    }
}

fn list(common: &Common) -> Outcome {
    let tokens = tokens::all(&folder(common)?)?;
    let now = SystemClock::default().now();
    let column = |of: &dyn Fn(&String, &Token) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(tokens.iter().map(|(name, token)| of(name, token))))
    };
    let columns = [
        ("name", column(&|name, _| Some(name.clone()))),
        ("id", column(&|_, token| Some(token.id.clone()))),
        ("role", column(&|_, token| Some(token.role.as_str().to_owned()))),
        ("pipelines", column(&|_, token| Some(token.pipelines.as_ref()?.join(",")))),
        ("created", column(&|_, token| Some(instant_text(token.created)))),
        ("expires", column(&|_, token| Some(instant_text(token.expires?)))),
        ("state", column(&|_, token| Some(if token.has_expired(now) { "expired" } else { "good" }.to_owned()))),
    ];
    let schema = Arc::new(Schema::new(
        columns.iter().map(|(name, _)| Field::new(*name, DataType::Utf8, true)).collect::<Vec<_>>(),
    ));
    let rows = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect())
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, schema, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}

fn revoke(name: &str, common: &Common) -> Outcome {
    let folder = folder(common)?;
    if !tokens::revoke(&folder, name)? {
        return Err(Failure::usage("no-such-token", format!("there is no token {name}")).help("syncline token list"));
    }
    eprintln!("{name} was revoked; it opens nothing from now on");
    if tokens::all(&folder)?.is_empty() {
        eprintln!(
            "it was the last one: over TCP everybody on this machine is an admin again, where the address is a loopback one"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_ends_after_a_length_of_time_that_is_one() {
        assert_eq!(end("30d", 5).unwrap(), 30 * 86_400_000_000 + 5);
        assert_eq!(end("90 minutes", 0).unwrap(), 5_400_000_000);
        for wrong in ["", "0s", "soon", "1 month", "99999999999d"] {
            assert_eq!(end(wrong, 1).unwrap_err().slug, "token-expires", "{wrong}");
        }
    }
}
