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
    runtime::{
        Ground,
        foresee::{Foreseen, foresee},
        start::StartError,
        supervisor::RunError,
    },
    witness::NoWitness,
};
use syncline_functions::Planner;

use super::{Common, Format};
use crate::{
    api::checkpoints,
    ask::unreadable,
    bind::{bind, unopened::UnopenedEdges},
    control,
    outcome::{Exit, Failure, Outcome},
    planned::Planned,
    project::{self, Member, Project},
    render::print,
    run_failure::run_failure,
    source_file::catalog,
    world::{World, store_failure},
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

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let project = Project::read(&arguments.files, &[], common.output)?;
    let there = There::look(&project::data_folder(common.data.as_deref(), &arguments.files)?)?;
    let (planner, catalog) = (Planner::new(), catalog());
    let (mut all, mut refused) = (vec![], None);
    for member in &project.pipelines {
        let spec = bind(&member.plan, &planner, &UnopenedEdges, Box::new(NoWitness))
            .map_err(|error| Failure::of_line(Exit::Usage, "cannot-bind", &error.to_string()))?
            .job;
        let foreseen = match there.ground() {
            Some(ground) => foresee(ground, &spec).map_err(|error| failure(error, member))?,
            None => Foreseen::default(),
        };
        let file = member.file.name();
        all.push(Planned::of((&member.plan, &file), &catalog, &spec, &foreseen, SystemClock::default().now()));
        refused = refused.or(refusal(foreseen, member));
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
        match World::open(folder) {
            Ok(world) => Ok(There::Folder(Box::new(world))),
            Err(failure) if failure.slug == "folder-in-use" => {
                let answer = control::call(folder, Method::GET, "/v1/checkpoints", vec![])?.ok_or(failure)?;
                let records = serde_json::from_slice(&answer.body).map_err(|error| unreadable(error.to_string()))?;
                let store = Arc::new(checkpoints::store_of(records).map_err(store_failure)?);
                let (clock, rng) = (Arc::new(SystemClock::default()), Arc::new(SeededRng::from_machine()));
                Ok(There::Told(Box::new(Ground { store, log: Arc::new(MemoryLog::new()), clock, rng })))
            }
            Err(failure) => Err(failure),
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

fn failure(error: StartError, member: &Member) -> Failure {
    run_failure(RunError::Start(error), member.name(), &member.file.name())
}

/// What `run` would say, and not start.
fn refusal(foreseen: Foreseen, member: &Member) -> Option<Failure> {
    let Foreseen { losses, moved, .. } = foreseen;
    let pipeline = member.name().to_owned();
    if !moved.is_empty() {
        return Some(failure(StartError::StepsMoved { pipeline, moved }, member));
    }
    (!losses.is_empty()).then(|| failure(StartError::StateWouldBeLost { pipeline, losses }, member))
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
