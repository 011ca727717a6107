//! `syncline test`: runs the tests beside the pipelines. No server, no waiting: a virtual clock and memory.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use syncline_functions::Planner;

use super::{Common, Format};
use crate::{
    outcome::{Failure, Outcome},
    project,
    render::print,
    source_file::SourceFile,
    testing::{self, Verdict},
};

/// Run the tests of pipeline files
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  syncline test orders.sync\n  syncline test orders.sync --filter repeats\n  syncline test -o json pipelines/*.sync"
)]
pub struct Arguments {
    /// Pipeline files, and folders of them
    #[arg(required = true, value_name = "FILE|FOLDER")]
    pub files: Vec<PathBuf>,
    /// Only tests whose name contains this
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
}

pub fn run(arguments: Arguments, common: &Common) -> Outcome {
    let planner = Planner::new();
    let (mut passed, mut failed) = (0, 0);
    for path in &project::files(&arguments.files)? {
        let file = SourceFile::read(path)?;
        let checked = file.compiled(common.output)?;
        for test in &checked.plan.tests {
            if arguments.filter.as_ref().is_some_and(|filter| !test.name.contains(filter.as_str())) {
                continue;
            }
            let Some(plan) = checked.plan.pipelines.iter().find(|plan| plan.pipeline == test.pipeline) else {
                continue;
            };
            let result = testing::run(test, plan, &planner, &file.folder());
            match result.as_ref().is_ok_and(|verdict| verdict.differences.is_empty()) {
                true => passed += 1,
                false => failed += 1,
            }
            print(&report(&test.name, &result, &file, common.output))?;
        }
    }
    if passed + failed == 0 {
        return Err(no_test(&arguments));
    }
    match (common.output, failed) {
        (Format::Json | Format::Ndjson, _) => {}
        _ => eprintln!("{passed} passed, {failed} failed"),
    }
    match failed {
        0 => Ok(()),
        _ => Err(Failure::failed("tests-failed", format!("{failed} of {} tests failed", passed + failed))),
    }
}

/// Green without a test is a trap for whoever misspelt a name.
fn no_test(arguments: &Arguments) -> Failure {
    match &arguments.filter {
        Some(filter) => Failure::usage("no-test", format!("no test has `{filter}` in its name"))
            .help("leave out --filter, and all tests run"),
        None => Failure::usage("no-test", "there is no test in these files")
            .help("write one beside its pipeline: TEST name FOR pipeline GIVEN INPUT ROWS … EXPECT OUTPUT ROWS …"),
    }
}

fn report(name: &str, result: &Result<Verdict, String>, file: &SourceFile, format: Format) -> String {
    let line_of = |at: usize| file.text[..at.min(file.text.len())].matches('\n').count() + 1;
    if let Format::Json | Format::Ndjson = format {
        let differences: Vec<_> = result.as_ref().map_or(vec![], |verdict| {
            let each = verdict.differences.iter();
            each.map(|found| json!({ "line": line_of(found.span.0), "difference": found.lines })).collect()
        });
        let ok = result.is_ok() && differences.is_empty();
        let error = result.as_ref().err();
        let told = json!({ "file": file.name(), "test": name, "ok": ok, "error": error, "differences": differences });
        return format!("{told}\n");
    }
    match result {
        Ok(verdict) if verdict.differences.is_empty() => format!("ok      {name}\n"),
        Ok(verdict) => {
            let mut told = format!("FAILED  {name}\n");
            for found in &verdict.differences {
                told.push_str(&format!("  {}:{}\n", file.name(), line_of(found.span.0)));
                told.extend(found.lines.iter().map(|line| format!("    {line}\n")));
            }
            told.extend(verdict.dead.iter().map(|letter| format!("  dead letter at {letter}\n")));
            told
        }
        Err(error) => format!("FAILED  {name}\n  it could not be run: {error}\n"),
    }
}
