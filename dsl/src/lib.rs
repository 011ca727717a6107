//! Text and a catalog in, a plan and diagnostics out: a pure function.
//!
//! Every mistake of a file is found at once and said in the order of its place. A pipeline or a test with a mistake of its own is
//! not in the plan; the others are. No text makes this panic.

// A message is as large as what it says; it is made once for each mistake, and never on a path that is hot.
#![allow(clippy::result_large_err)]

mod check;
mod delivery;
mod digest;
mod explain;
mod expression;
mod flow;
mod format;
mod group;
mod hidden;
mod message;
mod misfit;
mod names;
mod nulls;
mod path;
mod pipeline;
mod place;
mod print;
mod schedule;
mod scope;
mod source;
mod streams;
mod testing;
mod values;
mod walk;

pub mod catalog;
pub mod plan;
pub mod types;

use std::{collections::BTreeMap, sync::OnceLock};

use syncline_functions::Planner;
pub(crate) use syncline_record::duration;
use syncline_syntax::{Diagnostic, Lines, Severity, Span, ast};

pub use delivery::{DELIVERIES, DeliveryPath};
pub use digest::{Fingerprints, step_digest};
pub use explain::{SLUGS, explain, slug};

use catalog::Catalog;
use names::ConnectionFacts;
use pipeline::Compiled;
use plan::{FieldPlan, FilePlan, Place, Plan, TestPlan};
use walk::World;

/// What a file means, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// The pipelines and tests without errors of their own.
    pub plan: FilePlan,
    /// Everything there is to say, in the order of its place.
    pub diagnostics: Vec<Diagnostic>,
    /// Sources whose columns are wanted in [`Samples::shapes`]: they say their own, and no `SCHEMA` does.
    pub typed: Vec<Place>,
}

/// What the caller could reach: the first records of a file or of what came in, and tables that are there. The rows of a `TEST` are
/// taken from the file.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// JSON texts by the name of the pipeline that reads them.
    pub by_pipeline: BTreeMap<String, Vec<String>>,
    /// Columns of tables, by the pipeline and the id of the step that writes to them.
    pub tables: BTreeMap<(String, String), Vec<String>>,
    /// What sources say of their columns, by the text of their place.
    pub shapes: BTreeMap<String, Shape>,
}

/// The columns of a source that says them itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    Columns {
        fields: Vec<FieldPlan>,
        /// Those of types that no column here can have, with the name of the type.
        strange: Vec<(String, String)>,
    },
    /// They could not be had, and why.
    Unknown(String),
}

/// Compiles one file.
pub fn compile(source: &str, catalog: &Catalog, samples: &Samples) -> Checked {
    let planner = planner();
    let (file, mut said) = syncline_syntax::parse(source);
    let unread: Vec<Span> = errors(&said).map(Diagnostic::span).collect();
    let names = names::declared(&file, catalog, source, &mut said);
    let (written, order) = streams::declared(&names, &mut said);
    let lines = Lines::of(source);
    let shapes = &samples.shapes;
    let mut world = World { source, lines, planner, catalog, names, shapes, written, streams: Vec::new() };
    for statement in &file.statements {
        said.extend(message::pipelines::statement_not_yet(statement));
    }
    let mut typed = Vec::new();
    let pipelines = pipelines(&file, &mut world, &order, &unread, samples, &mut said, &mut typed);
    let tests = tests(&file, &pipelines, &world, &unread, &mut said);
    let pipelines = pipelines.into_iter().flatten().collect();
    said.sort_by_key(Diagnostic::span);
    said.dedup();
    let connections = world.names.connections.iter().filter_map(ConnectionFacts::plan).collect();
    Checked { plan: FilePlan { pipelines, tests, connections }, diagnostics: said, typed }
}

/// One for all: making a planner costs milliseconds, and it keeps nothing of what it is asked.
fn planner() -> &'static Planner {
    static PLANNER: OnceLock<Planner> = OnceLock::new();
    PLANNER.get_or_init(Planner::new)
}

fn errors(said: &[Diagnostic]) -> impl Iterator<Item = &Diagnostic> {
    said.iter().filter(|one| one.severity == Severity::Error)
}

/// Whether some text inside of a statement could not be read.
fn is_broken(statement: Span, unread: &[Span]) -> bool {
    unread.iter().any(|span| statement.start <= span.start && span.start <= statement.end)
}

/// The plan of each pipeline, in the order of the names; `None` for those with a mistake.
fn pipelines(
    file: &ast::File,
    world: &mut World,
    order: &[usize],
    unread: &[Span],
    samples: &Samples,
    said: &mut Vec<Diagnostic>,
    typed: &mut Vec<Place>,
) -> Vec<Option<Plan>> {
    let mut plans: Vec<Option<Plan>> = vec![None; world.names.pipelines.len()];
    for index in order {
        let pipeline = world.names.pipelines[*index];
        let Compiled { plan, said: mut own, fields, paths, typed: wanted, streams } =
            pipeline::compile(pipeline, world, is_broken(pipeline.span, unread));
        world.streams.extend(streams);
        typed.extend(wanted);
        let reached = samples.by_pipeline.get(&pipeline.name.text).into_iter().flatten().map(String::as_str);
        let records = reached.chain(test_rows(file, &pipeline.name));
        own.extend(check::not_in_sample(&fields, &paths, records, world.source));
        let lacks = plan.as_ref().map(|plan| check::targets(plan, &samples.tables)).unwrap_or_default();
        plans[*index] = plan.filter(|_| lacks.is_empty());
        own.extend(lacks);
        said.append(&mut own);
    }
    let whole: Vec<(usize, &Plan)> =
        plans.iter().enumerate().filter_map(|(index, plan)| Some((index, plan.as_ref()?))).collect();
    let mut charges = check::two_writers(&whole, world.catalog);
    charges.extend(check::feedback(&whole, world.catalog));
    charges.extend(check::same_path(&whole, &world.names, world.catalog));
    for (index, charge) in charges {
        plans[index] = None;
        said.push(charge);
    }
    plans
}

/// The input rows of the tests of a pipeline.
fn test_rows<'a>(file: &'a ast::File, pipeline: &'a ast::Ident) -> impl Iterator<Item = &'a str> {
    let tests = file.statements.iter().filter_map(move |statement| match statement {
        ast::Statement::Test(test) if scope::same_name(&test.pipeline.text, &pipeline.text) => Some(test),
        _ => None,
    });
    let rows = tests.flat_map(|test| &test.inputs).filter_map(|input| match &input.rows {
        ast::InputRows::Rows(rows) => Some(rows),
        ast::InputRows::File(_) => None,
    });
    rows.flatten().map(|row| row.text.as_str())
}

fn tests(
    file: &ast::File,
    plans: &[Option<Plan>],
    world: &World,
    unread: &[Span],
    said: &mut Vec<Diagnostic>,
) -> Vec<TestPlan> {
    let mut made: Vec<TestPlan> = Vec::new();
    for statement in &file.statements {
        let ast::Statement::Test(test) = statement else { continue };
        let Some(pipeline) = world.names.pipeline(&test.pipeline.text) else {
            let known = world.names.pipelines.iter().map(|pipeline| pipeline.name.text.as_str());
            said.push(message::names::no_such(&test.pipeline, "pipeline", "PIPELINE", known));
            continue;
        };
        let plan = plans.iter().flatten().find(|plan| plan.pipeline == pipeline.name.text);
        let plan = plan.filter(|_| !is_broken(test.span, unread));
        let compiled = testing::compile(test, plan, world, said);
        made.extend(compiled.filter(|test| !made.iter().any(|earlier| earlier.name == test.name)));
    }
    made
}

#[cfg(test)]
mod tests;
