//! `syncline apply`: gives texts to a running `serve`, after a look at what they would do to what is there.

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};

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

It ends with 1, and changes nothing, where the state of a step would be lost that --drop-state does not name.")]
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
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let Arguments { files, yes, drop_state } = arguments;
    let Answerer::Process(process) = Answerer::find(common)? else {
        return Err(Failure::failed("nobody-runs", "no process runs here that could take a text")
            .help("start one: syncline serve FOLDER"));
    };
    for file in project::files(&files)? {
        apply(&process, &file, yes, &drop_state)?;
    }
    Ok(())
}

fn apply(process: &Process, file: &Path, yes: bool, drop_state: &[String]) -> Outcome {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage("file-unreadable", format!("{} cannot be read: {error}", file.display())))?;
    let plan = asked(process, "/v1/plans", &json!({ "text": text, "drop_state": drop_state }))?;
    print(plan["shown"].as_str().unwrap_or_default())?;
    if !plan["refusal"].is_null() {
        return Err(control::failure(Exit::Failed, &plan["refusal"]).unwrap_or_else(|| unreadable(plan.to_string())));
    }
    if !yes && !agreed(file)? {
        return Err(Failure::failed("not-applied", "nothing was changed"));
    }
    let id = plan["id"].as_str().unwrap_or_default();
    asked(process, &format!("/v1/plans/{id}/apply"), &json!({ "drop_state": drop_state }))?;
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

fn asked(process: &Process, path: &str, body: &Value) -> Result<Value, Failure> {
    let answer = pipeline::ask(process, Method::POST, path, body.to_string().into_bytes())?;
    serde_json::from_slice(&answer).map_err(|error| unreadable(error.to_string()))
}
