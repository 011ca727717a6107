//! TEST: what goes in, what should come out, checked against the pipeline that it is for.

use datafusion::{arrow::compute::kernels::cast_utils::string_to_timestamp_nanos, common::DFSchema};
use sqlparser::ast::{DataType as SqlType, Expr, Value as SqlValue};
use syncline_record::Fate;
use syncline_syntax::{Diagnostic, Span, ast};

use crate::{
    check::sinks,
    message::tests as say,
    plan::{Expectation, ExpectationKind, Place, Plan, SinkPlan, Step, StepKind, TestInput, TestPlan},
    scope::same_name,
    walk::World,
};

/// Fates that count as dropped.
const DROPPED: [Fate; 5] = [Fate::Duplicate, Fate::Filtered, Fate::Late, Fate::Stale, Fate::Dead];

/// The reason of a row that a JOIN found nothing for.
const UNMATCHED: &str = "unmatched";

/// The plan of a test; `None` when its pipeline did not compile or it has a mistake, which is in `said`.
pub(crate) fn compile(
    test: &ast::Test,
    plan: Option<&Plan>,
    world: &World,
    said: &mut Vec<Diagnostic>,
) -> Option<TestPlan> {
    let before = said.len();
    let clock_at = test.clock.as_ref().map(|clock| instant(clock).ok_or_else(|| say::clock(clock.span)));
    let clock_at = clock_at.transpose().map_err(|wrong| said.push(wrong)).ok().flatten();
    for count in [test.checkpoint_every, test.crash_at].into_iter().flatten() {
        if count.value == 0 {
            said.push(say::count_from_one(count.span));
        }
    }
    let mut constants = Constants { world, said };
    let rows = constants.all(test);
    let plan = plan?;
    let inputs = inputs(test, plan, world, said);
    if test.expectations.is_empty() {
        said.push(say::no_expectation(test.name.span));
    }
    let expectations = expectations(test, plan, world, rows, said);
    (said.len() == before).then_some(())?;
    let (input, more) = inputs?;
    Some(TestPlan {
        name: test.name.text.clone(),
        pipeline: plan.pipeline.clone(),
        span: (test.span.start, test.span.end),
        input,
        more,
        clock_at,
        checkpoint_every_rows: test.checkpoint_every.map(|count| count.value),
        crash_at_checkpoint: test.crash_at.map(|count| count.value),
        expectations,
    })
}

/// Microseconds of `TIMESTAMP '…'` or of its text alone.
fn instant(clock: &ast::SqlExpr) -> Option<i64> {
    let text = match &clock.ast {
        Expr::TypedString(typed) if matches!(typed.data_type, SqlType::Timestamp(..)) => &typed.value.value,
        Expr::Value(value) => &value.value,
        _ => return None,
    };
    match text {
        SqlValue::SingleQuotedString(text) => Some(string_to_timestamp_nanos(text).ok()? / 1_000),
        _ => None,
    }
}

/// What comes in at the source, and at the other places that the pipeline reads. A place without an input is empty.
fn inputs(
    test: &ast::Test,
    plan: &Plan,
    world: &World,
    said: &mut Vec<Diagnostic>,
) -> Option<(TestInput, Vec<(String, TestInput)>)> {
    if test.inputs.is_empty() {
        said.push(say::no_input(test.name.span));
        return None;
    }
    let mut places: Vec<&Place> = Vec::new();
    for source in plan.sources().into_iter().chain(plan.tables()) {
        if !places.iter().any(|known| known.text == source.place.text) {
            places.push(&source.place);
        }
    }
    let mut given: Vec<Vec<&ast::TestInput>> = vec![Vec::new(); places.len()];
    for input in &test.inputs {
        let place = input.source.as_ref().map(|target| squeezed(target.span().of(world.source)));
        let index = place.as_ref().map_or(Some(0), |text| places.iter().position(|known| is_written(known, text)));
        match (index, &input.source) {
            (Some(index), _) => given[index].push(input),
            (None, Some(target)) => {
                let places: Vec<&str> = places.iter().map(|place| place.text.as_str()).collect();
                said.push(say::no_such_input(target.span(), &places));
            }
            (None, None) => {}
        }
    }
    let mut given = given.into_iter().map(|inputs| rows_of(&inputs, said));
    let first = given.next()?;
    let more = places.iter().skip(1).map(|place| place.text.clone()).zip(given).collect();
    Some((first, more))
}

/// The rows of one place, or the file that has them.
fn rows_of(inputs: &[&ast::TestInput], said: &mut Vec<Diagnostic>) -> TestInput {
    if let [ast::TestInput { rows: ast::InputRows::File(path), .. }] = inputs {
        return TestInput::File(path.text.clone());
    }
    let mut rows = Vec::new();
    for input in inputs {
        match &input.rows {
            ast::InputRows::Rows(texts) => rows.extend(texts.iter().map(|text| text.text.clone())),
            ast::InputRows::File(path) => said.push(say::rows_or_file(path.span)),
        }
    }
    TestInput::Rows(rows)
}

/// Evaluates nothing: only sees that a row's values are constants, and writes them as SQL.
struct Constants<'s, 'w> {
    world: &'s World<'w>,
    said: &'s mut Vec<Diagnostic>,
}

impl Constants<'_, '_> {
    /// The rows of every expectation, in order; no rows for those that have none.
    fn all(&mut self, test: &ast::Test) -> Vec<Vec<Vec<String>>> {
        let rows = |expectation: &ast::Expectation| match expectation {
            ast::Expectation::Output { rows: ast::OutputRows::Rows(rows), .. } => rows.clone(),
            _ => Vec::new(),
        };
        let all: Vec<Vec<ast::Row>> = test.expectations.iter().map(rows).collect();
        all.iter().map(|rows| rows.iter().map(|row| self.row(row)).collect()).collect()
    }

    fn row(&mut self, row: &ast::Row) -> Vec<String> {
        row.values.iter().map(|value| self.constant(value)).collect()
    }

    fn constant(&mut self, value: &ast::SqlExpr) -> String {
        let sql = value.ast.to_string();
        let planner = self.world.planner;
        let typed = planner.parse(&sql).and_then(|ast| planner.expr(&ast, &DFSchema::empty()));
        if let Err(error) = typed {
            self.said.push(say::not_constant(value.span, &error));
        }
        sql
    }
}

fn expectations(
    test: &ast::Test,
    plan: &Plan,
    world: &World,
    rows: Vec<Vec<Vec<String>>>,
    said: &mut Vec<Diagnostic>,
) -> Vec<Expectation> {
    let mut made = Vec::new();
    for (expectation, values) in test.expectations.iter().zip(rows) {
        match expectation {
            ast::Expectation::Output { target, rows, span } => {
                let Some((step, sink)) = sink_of(target.as_ref(), *span, plan, world, said) else { continue };
                let kind = match rows {
                    ast::OutputRows::File(path) => {
                        ExpectationKind::File { step: step.id.clone(), path: path.text.clone() }
                    }
                    ast::OutputRows::Rows(written) => {
                        written.iter().for_each(|row| arity(row, sink, said));
                        written.iter().for_each(|row| types_fit(row, step, sink, world, said));
                        ExpectationKind::Rows { step: step.id.clone(), rows: values }
                    }
                };
                made.push(placed(*span, kind));
            }
            ast::Expectation::Dropped { counts, .. } => {
                for count in counts {
                    made.extend(dropped(count, plan, said).map(|kind| placed(count.span, kind)));
                }
            }
            ast::Expectation::DeadLetters { count, span } => {
                made.push(placed(*span, ExpectationKind::DeadLetters { count: count.value }));
            }
        }
    }
    made
}

fn placed(span: Span, kind: ExpectationKind) -> Expectation {
    Expectation { span: (span.start, span.end), kind }
}

/// A row has a value for each column; of an open record it is one text, the record as JSON.
fn arity(row: &ast::Row, sink: &SinkPlan, said: &mut Vec<Diagnostic>) {
    let wanted = if sink.columns.is_empty() { 1 } else { sink.columns.len() };
    if row.values.len() != wanted {
        said.push(say::arity(row.span, row.values.len(), &sink.columns));
    }
}

/// Types whose constants either fit or never will. JSON takes all, and text is compared as it is written.
const STRICT: [&str; 9] = ["BOOLEAN", "SMALLINT", "INT", "BIGINT", "REAL", "DOUBLE", "DECIMAL", "TIMESTAMP", "DATE"];

/// A value that its column can never have.
fn types_fit(row: &ast::Row, step: &Step, sink: &SinkPlan, world: &World, said: &mut Vec<Diagnostic>) {
    for (value, name) in row.values.iter().zip(&sink.columns) {
        let Some(kind) = step.columns.iter().find(|column| column.name == *name).map(|column| &column.kind.0) else {
            continue;
        };
        if !STRICT
            .iter()
            .any(|strict| kind == strict || kind.strip_prefix(strict).is_some_and(|rest| rest.starts_with('(')))
        {
            continue;
        }
        let is_constant = |sql: &str| {
            let parsed = world.planner.parse(sql);
            parsed.and_then(|ast| world.planner.expr(&ast, &DFSchema::empty())).is_ok()
        };
        let sql = value.ast.to_string();
        if is_constant(&sql) && !is_constant(&format!("CAST({sql} AS {kind})")) {
            said.push(say::value_misfit(value.span, name, kind));
        }
    }
}

fn dropped(count: &ast::Dropped, plan: &Plan, said: &mut Vec<Diagnostic>) -> Option<ExpectationKind> {
    let Some(because) = &count.because else {
        said.push(say::dropped_without_reason(count.span));
        return None;
    };
    let mut reasons: Vec<String> = DROPPED.iter().map(|fate| fate.as_str().to_owned()).collect();
    plan.each_step(&mut |step| match &step.kind {
        StepKind::Expect { name, .. } => reasons.push(name.clone()),
        StepKind::Join(join) if !join.left || join.bound.is_some() => reasons.push(UNMATCHED.to_owned()),
        _ => {}
    });
    reasons.sort_by_key(|reason| reason == UNMATCHED);
    reasons.dedup();
    if !reasons.contains(&because.text) {
        said.push(say::no_such_reason(because.span, &because.text, &reasons));
        return None;
    }
    Some(ExpectationKind::Dropped { count: count.count.value, because: because.text.clone() })
}

/// The sink that an expectation is about: the one with the same place, or the main flow's last.
fn sink_of<'p>(
    target: Option<&ast::Target>,
    span: Span,
    plan: &'p Plan,
    world: &World,
    said: &mut Vec<Diagnostic>,
) -> Option<(&'p Step, &'p SinkPlan)> {
    let all = sinks(plan);
    let Some(target) = target else { return last_sink(&plan.flow) };
    let text = squeezed(target.span().of(world.source));
    let mut found = all.iter().filter(|(_, sink)| is_written(&sink.place, &text));
    match (found.next(), found.next()) {
        (Some(sink), None) => Some(*sink),
        (Some(_), Some(_)) => {
            said.push(say::several_sinks(span));
            None
        }
        (None, _) => {
            let places: Vec<&str> = all.iter().map(|(_, sink)| sink.place.text.as_str()).collect();
            said.push(say::no_such_sink(target.span(), &places));
            None
        }
    }
}

/// The sink at the end of a flow: of the primary arm, where it ends in arms.
fn last_sink(flow: &[Step]) -> Option<(&Step, &SinkPlan)> {
    let last = flow.last()?;
    match &last.kind {
        StepKind::Sink(sink) => Some((last, sink)),
        StepKind::Tee { flow } => last_sink(flow),
        StepKind::Fork { flows } => last_sink(flows.last()?),
        StepKind::Arms { arms, .. } => last_sink(&arms.iter().find(|arm| arm.primary)?.flow),
        _ => None,
    }
}

/// Without spaces outside of quotes.
/// Whether a place is called so: as the pipeline has it, and a stream without case.
fn is_written(place: &Place, squeezed_text: &str) -> bool {
    let named = place.stream().is_some_and(|(name, _)| same_name(name, squeezed_text));
    named || squeezed(&place.text) == squeezed_text
}

fn squeezed(text: &str) -> String {
    let mut quoted = false;
    let kept = text.chars().filter(|c| {
        quoted ^= *c == '\'';
        quoted || !c.is_whitespace()
    });
    kept.collect()
}
