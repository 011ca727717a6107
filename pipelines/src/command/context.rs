//! `syncline context`: names for servers that commands speak to.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, BooleanArray, RecordBatch, StringArray},
    datatypes::{DataType, Field, Schema},
};
use clap::{Args, Subcommand};

use super::Common;
use crate::{
    contexts::{self, Context, Kept, LOCAL},
    outcome::{Failure, Outcome},
    render::{Renderer, printed, stdout},
};

/// The longest token: ours have 50 characters.
const LONGEST: u64 = 4 << 10;

/// Name the servers to which commands speak with --context
#[derive(Args, Debug)]
#[command(after_help = "\
With --context NAME, `status`, `query`, `pipeline`, `plan`, `apply`, `revisions`, `rollback`, `schedule`, `backfill`, `dead-letters` and `token`
speak over HTTP to that server, and else to a data folder of this machine. Names, addresses and tokens stand in `contexts` of the folder SYNCLINE_CONFIG
[default: syncline/ in XDG_CONFIG_HOME or ~/.config], which only its owner can read. A token is asked for on standard input, in a file or in a
variable, and never shown.

Examples:
  syncline context add prod https://sync.example:7800 --token-stdin < token
  syncline context add lab https://10.0.0.7:7800 --ca ca.pem --token-env LAB_TOKEN
  syncline status --context prod
  SYNCLINE_CONTEXT=prod syncline query 'FROM runs |> LIMIT 3'
  syncline context use prod               from now on; `syncline context use local` is the data folder again
  syncline context list
  syncline context remove lab")]
pub struct Arguments {
    #[command(subcommand)]
    pub what: What,
}

#[derive(Subcommand, Debug)]
pub enum What {
    /// Add a server, or put it in the place of the one of this name
    Add {
        #[arg(value_name = "NAME")]
        name: String,
        /// Where it listens: https://HOST:PORT; http:// is for this machine, or without a token
        #[arg(value_name = "URL")]
        address: String,
        /// Who signs its certificate, in PEM [default: whom this system trusts]
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Keep the token that is on standard input
        #[arg(long, conflicts_with_all = ["token_file", "token_env"])]
        token_stdin: bool,
        /// Read the token from this file each time
        #[arg(long, value_name = "FILE", conflicts_with = "token_env")]
        token_file: Option<PathBuf>,
        /// Read the token from this variable of the environment each time
        #[arg(long, value_name = "VARIABLE")]
        token_env: Option<String>,
    },
    /// Names, addresses, and where their tokens are
    List,
    /// Speak to this one when nothing else is said; `local`: to a data folder
    Use { name: String },
    /// Forget it, and its token
    Remove { name: String },
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    match arguments.what {
        What::Add { name, address, ca, token_stdin, token_file, token_env } => {
            let ca = ca.map(|path| contexts::absolute(&path)).transpose()?;
            let token = match (token_stdin, token_file, token_env) {
                (true, ..) => Some(Kept::Text(from_stdin()?)),
                (_, Some(path), _) => Some(Kept::File(contexts::absolute(&path)?)),
                (_, _, variable) => variable.map(Kept::Env),
            };
            let folder = contexts::add(&name, Context { address, ca, token, used: false })?;
            eprintln!(
                "{name} is kept in {}; try it: syncline status --context {name}",
                folder.join("contexts").display()
            );
            Ok(())
        }
        What::List => list(common),
        What::Use { name } => {
            contexts::use_from_now(&name)?;
            match name.as_str() {
                LOCAL => eprintln!("commands speak to a data folder of this machine again"),
                _ => eprintln!(
                    "commands speak to {name} from now on; --context {LOCAL} is a data folder of this machine"
                ),
            }
            Ok(())
        }
        What::Remove { name } => {
            contexts::remove(&name)?;
            eprintln!("{name} is forgotten; its token still opens what it did, until `syncline token revoke` there");
            Ok(())
        }
    }
}

fn from_stdin() -> Result<String, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        eprintln!("paste the token, then press Ctrl-D (it will be visible; `--token-stdin < FILE` is not)");
    }
    let mut text = String::new();
    let read = stdin.take(LONGEST).read_to_string(&mut text);
    let text = text.trim();
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    match read {
        Ok(_) if plain => Ok(text.to_owned()),
        _ => Err(Failure::usage("no-token", "there is no token on standard input")
            .help("`syncline token create NAME --role viewer` on the server makes one")),
    }
}

fn list(common: &Common) -> Outcome {
    let all = contexts::all()?;
    let texts = |of: &dyn Fn(&String, &Context) -> Option<String>| -> ArrayRef {
        Arc::new(StringArray::from_iter(all.iter().map(|(name, context)| of(name, context))))
    };
    let used: ArrayRef = Arc::new(BooleanArray::from_iter(all.values().map(|context| Some(context.used))));
    let columns = [
        ("name", texts(&|name, _| Some(name.clone()))),
        ("address", texts(&|_, context| Some(context.address.clone()))),
        ("ca", texts(&|_, context| Some(context.ca.as_ref()?.display().to_string()))),
        ("token", texts(&|_, context| context.token.as_ref().map(place))),
        ("used", used),
    ];
    let kind = |name: &str| if name == "used" { DataType::Boolean } else { DataType::Utf8 };
    let fields: Vec<Field> = columns.iter().map(|(name, _)| Field::new(*name, kind(name), true)).collect();
    let schema = Arc::new(Schema::new(fields));
    let rows = RecordBatch::try_new(schema.clone(), columns.into_iter().map(|(_, column)| column).collect())
        .map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, schema, stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}

/// Where a token is, and never what it says.
fn place(token: &Kept) -> String {
    match token {
        Kept::Text(_) => "kept".to_owned(),
        Kept::File(path) => format!("in {}", path.display()),
        Kept::Env(variable) => format!("in ${variable}"),
    }
}
