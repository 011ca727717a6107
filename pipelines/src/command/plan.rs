//! `syncline plan`: what would run, and what would become of the state that is there. Nothing is started or opened.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use hyper::Method;
use serde_json::json;
use syncline_engine::{
    clock::{Clock, SeededRng, SystemClock},
    log::memory::MemoryLog,
    runtime::{Ground, start::StartOptions},
};
use syncline_functions::Planner;

use super::{Common, Format};
use crate::{
    api::checkpoints,
    ask::unreadable,
    control,
    outcome::{Failure, Outcome},
    planned::Planned,
    plans::{self, Around},
    project::{self, Project, Scope},
    render::print,
    source_file::catalog,
    world::{Claim, World, store_failure},
};

/// Show what would run, and what would become of the state that is there
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  syncline plan orders.sync
  syncline plan pipelines/ -o json

It ends with 2 when `run` would refuse to start because state would be lost, and says how to go on.")]
pub struct Arguments {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
}

/// What `run` and `serve` copy at most of a state, when nobody says otherwise.
const MOST: u64 = 64_000_000;

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let project = Project::read(&Scope { paths: arguments.files.clone(), ..Scope::default() }, common.output)?;
    let there = There::look(&project::data_folder(common.data.as_deref(), &arguments.files)?)?;
    let (planner, catalog) = (Planner::new(), catalog());
    let now = SystemClock::default().now();
    let around = Around { planner: &planner, catalog: &catalog, ground: there.ground(), most: MOST, now };
    let (mut all, mut refused) = (vec![], None);
    for member in &project.pipelines {
        let (planned, why) = plans::of(member, &around, &StartOptions::default())?;
        all.push(planned);
        refused = refused.or(why);
    }
    show(&all, common.output)?;
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
