//! `syncline check`: says everything that is wrong with a file before it runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};
use syncline_connectors::{self as connectors, Surroundings};
use syncline_dsl::{
    DeliveryPath,
    catalog::Catalog,
    plan::{FilePlan, Place, Plan},
};
use syncline_engine::clock::{Clock, SystemClock};

use super::{Common, Format};
use crate::{
    bind::{BindError, arguments, places},
    origin,
    outcome::{Exit, Failure, Outcome},
    planned::ScheduleLine,
    project,
    render::print,
    source_file::{SourceFile, catalog, errors},
};

/// Check pipeline files without running them
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  syncline check orders.sync\n  syncline check -o json pipelines/*.sync\n  syncline check --plan orders.sync"
)]
pub struct Arguments {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
    /// Print the plan of every pipeline
    #[arg(long)]
    pub plan: bool,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let mut wrong = 0;
    let files = project::files(&arguments.files)?;
    let mut known = vec![];
    let catalog = catalog();
    for path in &files {
        let file = SourceFile::read(path)?;
        let checked = file.compile();
        let found = errors(&checked.diagnostics);
        wrong += found;
        let can_be = if found == 0 { arguments_can_be(&checked.plan, &catalog, &file) } else { Ok(()) };
        match common.output {
            Format::Json | Format::Ndjson => {
                let diagnostics: Vec<_> =
                    checked.diagnostics.iter().map(|found| found.to_json(&file.name(), &file.text)).collect();
                let plans = arguments.plan.then_some(&checked.plan.pipelines);
                let delivery: Vec<_> = paths(&checked.plan.pipelines, &catalog).map(to_json).collect();
                let schedules: Vec<_> = schedules(&checked.plan.pipelines)
                    .map(|(pipeline, line)| json!({ "pipeline": pipeline, "schedule": line }))
                    .collect();
                let found = json!({
                    "file": file.name(),
                    "diagnostics": diagnostics,
                    "delivery": delivery,
                    "schedules": schedules,
                    "plans": plans,
                });
                print(&format!("{found}\n"))?;
            }
            _ => {
                file.show(&checked.diagnostics, common.output);
                if arguments.plan {
                    for plan in &checked.plan.pipelines {
                        print(&format!("{plan}\n"))?;
                    }
                }
                if found > 0 || can_be.is_err() {
                    // What is wrong is told at the end.
                } else if checked.plan.pipelines.is_empty() {
                    eprintln!("{}: ok, and it declares no pipeline", file.name());
                } else {
                    let names: Vec<&str> = checked.plan.pipelines.iter().map(|plan| plan.pipeline.as_str()).collect();
                    eprintln!("{}: ok ({})", file.name(), names.join(", "));
                    for (pipeline, DeliveryPath { from, sink, keeps, .. }) in paths(&checked.plan.pipelines, &catalog) {
                        eprintln!("  {pipeline}: {} → {}: {keeps}", from.join(", "), sink.place.text);
                    }
                    for (pipeline, line) in schedules(&checked.plan.pipelines) {
                        eprintln!("  {pipeline}: due {}", line.next.join(", "));
                    }
                }
            }
        }
        can_be?;
        known.push((path, file.folder(), checked.plan.pipelines));
    }
    match wrong {
        0 => together(&known),
        1 => Err(Failure::usage("file-wrong", "1 error")),
        n => Err(Failure::usage("file-wrong", format!("{n} errors"))),
    }
}

/// What each way from sources to a sink keeps, with the pipeline that it belongs to.
fn paths<'a>(plans: &'a [Plan], catalog: &'a Catalog) -> impl Iterator<Item = (&'a str, DeliveryPath<'a>)> {
    plans.iter().flat_map(|plan| plan.delivery_paths(catalog).into_iter().map(|path| (plan.pipeline.as_str(), path)))
}

/// When pipelines are due next.
fn schedules(plans: &[Plan]) -> impl Iterator<Item = (&str, ScheduleLine)> {
    let now = SystemClock::default().now();
    plans.iter().filter_map(move |plan| Some((plan.pipeline.as_str(), ScheduleLine::of(plan.schedule.as_ref()?, now))))
}

fn to_json((pipeline, path): (&str, DeliveryPath<'_>)) -> Value {
    let DeliveryPath { from, step, sink, keeps } = path;
    json!({ "pipeline": pipeline, "from": from, "step": step.id, "to": sink.place.text, "keeps": keeps })
}

/// What a connector itself says of its arguments, in the words in which a run would end. Secrets are not read, and what comes from an
/// environment that is not here is left out.
fn arguments_can_be(plan: &FilePlan, catalog: &Catalog, file: &SourceFile) -> Outcome {
    let mut places: Vec<&Place> = plan.connections.iter().map(|(_, place)| place).collect();
    for plan in &plan.pipelines {
        places.extend(&plan.options.changelog);
        places.extend(plan.sources().into_iter().chain(plan.tables()).map(|source| &source.place));
        places.extend(plan.delivery_paths(catalog).into_iter().map(|path| &path.sink.place));
    }
    let around = Surroundings::folder(file.folder());
    for place in places {
        let Ok(args) = arguments(place, &|_| Ok("a secret".to_owned())) else { continue };
        if let Err(error) = connectors::check(&place.connector, &args, &around) {
            let error = BindError::Connector { place: place.text.clone(), error };
            let failure = Failure::of_line(Exit::Usage, "cannot-bind", &error.to_string());
            return Err(failure.seen(file.name()));
        }
    }
    Ok(())
}

/// What only shows where pipelines meet: real paths, and names that a data folder would take for one.
fn together(files: &[(&PathBuf, PathBuf, Vec<Plan>)]) -> Outcome {
    for (index, (path, folder, plans)) in files.iter().enumerate() {
        for plan in plans {
            let same = |(_, other, theirs): &&(_, PathBuf, Vec<Plan>)| {
                other == folder && theirs.iter().any(|their| their.pipeline == plan.pipeline)
            };
            if let Some((first, ..)) = files[..index].iter().find(same).filter(|(first, ..)| first != path) {
                return Err(origin::same_name(&plan.pipeline, first, path));
            }
        }
    }
    let members: Vec<_> =
        files.iter().flat_map(|(_, folder, plans)| plans.iter().map(move |plan| (plan, folder.as_path()))).collect();
    // A secret is not needed to check a file; a place that hides behind one is compared at the start.
    places::check(&members, &|path| Err(format!("secret('{path}') is not read")))
}
