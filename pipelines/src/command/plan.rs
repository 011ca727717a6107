//! `syncline plan`: what would run, and what would become of the state that is there. Nothing is started or opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use hyper::Method;
use serde_json::{Value, json};
use syncline_engine::{
    clock::{Clock, SeededRng, SystemClock},
    log::memory::MemoryLog,
    runtime::{Ground, start::StartOptions},
};
use syncline_functions::Planner;

use super::{Common, Format, pipeline};
use crate::{
    api::checkpoints,
    ask::unreadable,
    compiler::Compiler,
    contexts,
    control::{self, Process},
    outcome::{Exit, Failure, Outcome},
    planned::Planned,
    plans::{self, Around},
    project::{self, Project, Scope},
    render::print,
    source_file::{SourceFile, catalog},
    world::{Claim, World, store_failure},
};

/// Show what would run, and what would become of the state that is there
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline plan orders.sync
  syncline plan pipelines/ -o json
  syncline plan orders.sync --context prod        as that server says, file by file, what `apply` would do there

It ends with 2 when `run` or `apply` would refuse because state would be lost, and says how to go on.")]
pub struct Arguments {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
}

/// What `run` and `serve` copy at most of a state, when nobody says otherwise.
const MOST: u64 = 64_000_000;

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    if let Some(server) = contexts::chosen(common)? {
        return there(&Process::Server(server), &arguments.files, common.output);
    }
    let (scope, compiler) = (Scope { paths: arguments.files.clone(), ..Scope::default() }, Compiler::default());
    let project = Project::read(&scope, &compiler, common.output)?;
    let there = There::look(&project::data_folder(common.data.as_deref(), &arguments.files)?)?;
    let (planner, catalog) = (Planner::new(), catalog());
    let now = SystemClock::default().now();
    let around =
        Around { planner: &planner, catalog: &catalog, compiler: &compiler, ground: there.ground(), most: MOST, now };
    let (mut all, mut refused) = (vec![], None);
    for member in &project.pipelines {
        let (planned, why) = plans::of(member, &around, &StartOptions::default())?;
        all.push(planned);
        refused = refused.or(why);
    }
    show(&all, common.output)?;
    refused.map_or(Ok(()), Err)
}

/// What each file would do as a text that a server is given.
fn there(process: &Process, files: &[PathBuf], format: Format) -> Outcome {
    let (mut pipelines, mut dropped, mut shown, mut refused) = (vec![], vec![], vec![], None);
    for file in project::files(files)? {
        let SourceFile { text, .. } = SourceFile::read(&file)?;
        let answer =
            pipeline::ask(process, Method::POST, "/v1/plans", json!({ "text": text }).to_string().into_bytes())?;
        let mut plan: Value = serde_json::from_slice(&answer).map_err(|error| unreadable(error.to_string()))?;
        if let Value::Array(all) = plan["pipelines"].take() {
            pipelines.extend(all);
        }
        if let Value::Array(all) = plan["dropped"].take() {
            dropped.extend(all);
        }
        shown.push(plan["shown"].as_str().unwrap_or_default().to_owned());
        refused = refused.or_else(|| control::failure(Exit::Usage, &plan["refusal"]));
    }
    match format {
        Format::Json => print(&format!("{}\n", json!({ "pipelines": pipelines, "dropped": dropped })))?,
        Format::Ndjson => pipelines.iter().try_for_each(|planned| print(&format!("{planned}\n")))?,
        Format::Table | Format::Csv => print(&shown.join("\n"))?,
    }
    refused.map_or(Ok(()), Err)
}

/// What is there of earlier runs.
enum There {
    Nothing,
    Folder(Box<World>),
    /// As the process that holds the folder tells it.
    Told(Box<Ground>),
}

impl There {
    /// Makes no folder.
    fn look(folder: &Path) -> Result<There, Failure> {
        if !folder.is_dir() {
            return Ok(There::Nothing);
        }
        match World::claim(folder)? {
            Claim::Ours(world) => Ok(There::Folder(world)),
            Claim::Theirs(process, failure) => {
                let answer = control::call(&process, Method::GET, "/v1/checkpoints", vec![])?.ok_or(failure)?;
                let records = serde_json::from_slice(&answer.body).map_err(|error| unreadable(error.to_string()))?;
                let store = Arc::new(checkpoints::store_of(records).map_err(store_failure)?);
                let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SeededRng::from_machine()));
                Ok(There::Told(Box::new(Ground { store, log: Arc::new(MemoryLog::new()), clock, rng })))
            }
        }
    }

    fn ground(&self) -> Option<&Ground> {
        match self {
            There::Nothing => None,
            There::Folder(world) => Some(&world.ground),
            There::Told(ground) => Some(ground),
        }
    }
}

fn show(all: &[Planned], format: Format) -> Outcome {
    match format {
        Format::Json => print(&format!("{}\n", json!({ "pipelines": all }))),
        Format::Ndjson => all.iter().try_for_each(|planned| print(&format!("{}\n", json!(planned)))),
        Format::Table | Format::Csv => {
            let texts: Vec<String> = all.iter().map(Planned::to_text).collect();
            print(&texts.join("\n"))
        }
    }
}
