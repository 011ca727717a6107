//! `syncline apply`: gives texts to a running `serve`, after a look at what they would do to what is there.

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::{Common, pipeline};
use crate::{
    ask::{Answerer, unreadable},
    control::{self, Process},
    outcome::{Exit, Failure, Outcome},
    project,
    render::print,
};

/// Give a running `serve` another text of a pipeline, after a look at what becomes of its state
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline apply orders.sync                         shows the plan, and asks
  syncline apply orders.sync --yes
  syncline apply orders.sync --yes --drop-state dedup
  syncline apply changed/                            all *.sync files of a folder, one after the other

It ends with 1, and changes nothing, where the state of a step would be lost that --drop-state does not name, or a pipeline would stop that
--drop-pipeline does not name.")]
pub struct Arguments {
    /// Files of one pipeline each, or with others that read its streams; and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// Let the state of this step go, where it cannot be kept (may be given more than once)
    #[arg(long = "drop-state", value_name = "STEP")]
    pub drop_state: Vec<String>,
    /// Let this pipeline stop, which its file declares and the text does not; its state stays (may be given more than once)
    #[arg(long = "drop-pipeline", value_name = "NAME")]
    pub drop_pipelines: Vec<String>,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { files, yes, drop_state, drop_pipelines } = arguments;
    let may = Map::from_iter([
        ("drop_state".to_owned(), json!(drop_state)),
        ("drop_pipelines".to_owned(), json!(drop_pipelines)),
    ]);
    let Answerer::Process(process) = Answerer::find(common)? else {
        return Err(Failure::failed("nobody-runs", "no process runs here that could take a text")
            .help("start one: syncline serve FOLDER"));
    };
    for file in project::files(&files)? {
        apply(&process, &file, yes, &may)?;
    }
    Ok(())
}

/// `may`: what may go of what is there.
fn apply(process: &Process, file: &Path, yes: bool, may: &Map<String, Value>) -> Outcome {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage("file-unreadable", format!("{} cannot be read: {error}", file.display())))?;
    let mut said = may.clone();
    said.insert("text".to_owned(), text.into());
    let plan = asked(process, "/v1/plans", said)?;
    print(plan["shown"].as_str().unwrap_or_default())?;
    if !plan["refusal"].is_null() {
        return Err(control::failure(Exit::Failed, &plan["refusal"]).unwrap_or_else(|| unreadable(plan.to_string())));
    }
    if !yes && !agreed(file)? {
        return Err(Failure::failed("not-applied", "nothing was changed"));
    }
    let id = plan["id"].as_str().unwrap_or_default();
    asked(process, &format!("/v1/plans/{id}/apply"), may.clone())?;
    eprintln!("{} is applied", file.display());
    Ok(())
}

fn agreed(file: &Path) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("nobody-to-ask", "there is nobody at a terminal to ask")
            .help(format!("syncline apply {} --yes", file.display())));
    }
    eprint!("apply it? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
}

fn asked(process: &Process, path: &str, body: Map<String, Value>) -> Result<Value, Failure> {
    let answer = pipeline::ask(process, Method::POST, path, Value::from(body).to_string().into_bytes())?;
    serde_json::from_slice(&answer).map_err(|error| unreadable(error.to_string()))
}
