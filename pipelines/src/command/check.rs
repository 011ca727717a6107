//! `syncline check`: says everything that is wrong with a file before it runs.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{Common, Format};
use crate::{
    outcome::{Failure, Outcome},
    source_file::{SourceFile, errors},
};

/// Check pipeline files without running them
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  syncline check orders.sync\n  syncline check -o json pipelines/*.sync\n  syncline check --plan orders.sync"
)]
pub struct Arguments {
    /// Pipeline files
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Print the plan of every pipeline
    #[arg(long)]
    pub plan: bool,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let mut wrong = 0;
    for path in &arguments.files {
        let file = SourceFile::read(path)?;
        let checked = file.compile();
        let found = errors(&checked.diagnostics);
        wrong += found;
        match common.output {
            Format::Json | Format::Ndjson => {
                let diagnostics: Vec<_> =
                    checked.diagnostics.iter().map(|found| found.to_json(&file.name(), &file.text)).collect();
                let plans = arguments.plan.then_some(&checked.plan.pipelines);
                println!("{}", json!({ "file": file.name(), "diagnostics": diagnostics, "plans": plans }));
            }
            _ => {
                file.show(&checked.diagnostics, common.output);
                if arguments.plan {
                    for plan in &checked.plan.pipelines {
                        println!("{plan}");
                    }
                }
                if found == 0 {
                    let names: Vec<&str> = checked.plan.pipelines.iter().map(|plan| plan.pipeline.as_str()).collect();
                    eprintln!("{}: ok ({})", file.name(), names.join(", "));
                }
            }
        }
    }
    match wrong {
        0 => Ok(()),
        1 => Err(Failure::usage("file-wrong", "1 error")),
        n => Err(Failure::usage("file-wrong", format!("{n} errors"))),
    }
}
