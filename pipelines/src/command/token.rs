//! `syncline token`: who may ask over HTTP.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};
use hyper::Method;
use serde::de::DeserializeOwned;
use syncline_engine::clock::{Clock, SystemClock};
use syncline_record::{Micros, duration};

use super::{Common, pipeline, schedule::escaped};
use crate::{
    api::{
        page::Page,
        tokens::{Shown, Wanted},
    },
    ask::unreadable,
    contexts::{self, in_the_clear},
    control::Process,
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
    tokens::{self, Grant, Role},
    world::{DATA_FOLDER, data_folder},
};

/// Make, list and revoke tokens, with which programs ask over HTTP
#[derive(Args, Debug)]
#[command(after_help = "\
A viewer looks at everything and asks in SQL. An operator also pauses, resumes, retries, starts runs and sends records. An admin also changes
pipelines and tokens. While there is no token, everybody on this machine is an admin over TCP; once there is one, TCP asks for it. The commands
of the same user never need one. Only a hash is kept, in the file `tokens` of the data folder, which only its owner can read.
A change counts from the next request on. With --context the tokens are those of that server, for which one has to be its admin.

Examples:
  syncline token create grafana --role viewer
  syncline token create deploy --role admin --expires 30d
  syncline token create shop --role operator --pipelines orders,refunds
  syncline token list
  syncline token revoke deploy
  syncline token create shop --role operator --context prod
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
    let place = Place::of(common)?;
    match arguments.what {
        What::Create { name, role, expires, pipelines } => {
            let pipelines = Some(pipelines).filter(|pipelines| !pipelines.is_empty());
            create(&place, Wanted { name, role, expires, pipelines })
        }
        What::List => list(&place.all()?, common),
        What::Revoke { name } => revoke(&place, &name),
    }
}

/// Whose tokens.
enum Place {
    Folder(PathBuf),
    Server(Process),
}

impl Place {
    fn of(common: &Common) -> Result<Place, Failure> {
        match contexts::chosen(common)? {
            None => folder(common).map(Place::Folder),
            // The answer to `create` is a token, also where the asker himself has shown none.
            Some(server) if !server.address.is_private() => Err(in_the_clear(&server.address)),
            Some(server) => Ok(Place::Server(Process::Server(server))),
        }
    }

    fn all(&self) -> Result<Vec<Shown>, Failure> {
        let now = SystemClock::default().now();
        let process = match self {
            Self::Folder(folder) => {
                return Ok(tokens::all(folder)?.iter().map(|(name, token)| Shown::of(name, token, now)).collect());
            }
            Self::Server(process) => process,
        };
        let (mut all, mut path) = (vec![], "/v1/tokens?limit=1000".to_owned());
        loop {
            let page: Page<Shown> = read(&pipeline::ask(process, Method::GET, &path, vec![])?)?;
            all.extend(page.items);
            let Some(next) = page.next else { return Ok(all) };
            path = format!("/v1/tokens?limit=1000&cursor={}", escaped(&next));
        }
    }

    fn create(&self, wanted: Wanted) -> Result<Shown, Failure> {
        match self {
            Self::Server(process) => {
                let body = serde_json::to_vec(&wanted).unwrap_or_default();
                read(&pipeline::ask(process, Method::POST, "/v1/tokens", body)?)
            }
            Self::Folder(folder) => {
                let now = SystemClock::default().now();
                let Wanted { name, role, expires, pipelines } = wanted;
                let expires = expires.map(|length| end(&length, now)).transpose()?;
                let (token, text) = tokens::create(folder, &name, Grant { role, expires, pipelines }, now)?;
                Ok(Shown { token: Some(text), ..Shown::of(&name, &token, now) })
            }
        }
    }

    fn revoke(&self, name: &str) -> Result<(), Failure> {
        match self {
            Self::Server(process) => {
                pipeline::ask(process, Method::DELETE, &format!("/v1/tokens/{}", escaped(name)), vec![]).map(drop)
            }
            Self::Folder(folder) if tokens::revoke(folder, name)? => Ok(()),
            Self::Folder(_) => {
                Err(Failure::usage("no-such-token", format!("there is no token {name}")).help("syncline token list"))
            }
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| unreadable(error.to_string()))
}

fn create(place: &Place, wanted: Wanted) -> Outcome {
    let made = place.create(wanted)?;
    // The token alone goes where a script reads it.
    let end = made.expires.map_or("has no end".to_owned(), |end| format!("ends {end}"));
    let (name, role) = (made.name, made.role.as_str());
    eprintln!("{name} ({role}, id {}) {end}; this is its token, which is shown only now:", made.id);
    println!("{}", made.token.unwrap_or_default());
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

fn list(tokens: &[Shown], common: &Common) -> Outcome {
    let column =
        |of: &dyn Fn(&Shown) -> Option<String>| -> ArrayRef { Arc::new(StringArray::from_iter(tokens.iter().map(of))) };
    let columns = [
        ("name", column(&|token| Some(token.name.clone()))),
        ("id", column(&|token| Some(token.id.clone()))),
        ("role", column(&|token| Some(token.role.as_str().to_owned()))),
        ("pipelines", column(&|token| Some(token.pipelines.as_ref()?.join(",")))),
        ("created", column(&|token| Some(token.created.clone()))),
        ("expires", column(&|token| token.expires.clone())),
        ("state", column(&|token| Some(if token.expired { "expired" } else { "good" }.to_owned()))),
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

fn revoke(place: &Place, name: &str) -> Outcome {
    place.revoke(name)?;
    eprintln!("{name} was revoked; it opens nothing from now on");
    if let Place::Folder(folder) = place
        && tokens::all(folder)?.is_empty()
    {
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
