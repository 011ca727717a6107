//! `syncline check`: says everything that is wrong with a file before it runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use syncline_dsl::plan::Plan;

use super::{Common, Format};
use crate::{
    bind::places,
    origin,
    outcome::{Failure, Outcome},
    project,
    render::print,
    source_file::{SourceFile, errors},
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
    for path in &files {
        let file = SourceFile::read(path)?;
        let checked = file.compile();
        let found = errors(&checked.diagnostics);
        wrong += found;
        match common.output {
            Format::Json | Format::Ndjson => {
                let diagnostics: Vec<_> =
                    checked.diagnostics.iter().map(|found| found.to_json(&file.name(), &file.text)).collect();
                let plans = arguments.plan.then_some(&checked.plan.pipelines);
                print(&format!("{}\n", json!({ "file": file.name(), "diagnostics": diagnostics, "plans": plans })))?;
            }
            _ => {
                file.show(&checked.diagnostics, common.output);
                if arguments.plan {
                    for plan in &checked.plan.pipelines {
                        print(&format!("{plan}\n"))?;
                    }
                }
                if found == 0 && checked.plan.pipelines.is_empty() {
                    eprintln!("{}: ok, and it declares no pipeline", file.name());
                } else if found == 0 {
                    let names: Vec<&str> = checked.plan.pipelines.iter().map(|plan| plan.pipeline.as_str()).collect();
                    eprintln!("{}: ok ({})", file.name(), names.join(", "));
                }
            }
        }
        known.push((path, file.folder(), checked.plan.pipelines));
    }
    match wrong {
        0 => together(&known),
        1 => Err(Failure::usage("file-wrong", "1 error")),
        n => Err(Failure::usage("file-wrong", format!("{n} errors"))),
    }
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
