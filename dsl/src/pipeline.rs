//! One pipeline: from its statement to its plan.

use std::collections::BTreeSet;

use syncline_syntax::{Diagnostic, ast};

use crate::{
    check,
    delivery::DELIVERIES,
    duration,
    flow::{Branch, keep_what_is_taken},
    group, hidden,
    message::{pipelines as say, values as say_values},
    path::ReadPath,
    place,
    plan::{Options, PLAN_FORMAT, Place, Plan, RestartWhen, SourcePlan, Step, StepKind, Value},
    schedule,
    scope::Scope,
    source::{Source, undeclared},
    streams::StreamFacts,
    types::METADATA,
    values,
    walk::{Intake, ReadField, Walk, World},
};

/// A pipeline that was walked: its plan when nothing is wrong with it, and what was said.
pub(crate) struct Compiled {
    pub plan: Option<Plan>,
    pub said: Vec<Diagnostic>,
    /// Fields that nothing declares, each where it is read first.
    pub fields: Vec<ReadField>,
    /// What is read inside of them.
    pub paths: Vec<ReadPath>,
    /// Sources that say their own columns.
    pub typed: Vec<Place>,
    /// What other pipelines may read of it.
    pub streams: Vec<StreamFacts>,
}

/// Walks until no field is new. Each walk finds at least one that the last did not know, and a second nearly always finds none.
const MOST_WALKS: usize = 4;

pub(crate) fn compile(pipeline: &ast::Pipeline, world: &World, broken: bool) -> Compiled {
    let mut fields: Vec<Vec<ReadField>> = Vec::new();
    let mut walks = 0;
    loop {
        let known: usize = fields.iter().map(Vec::len).sum();
        let mut walk = Walk::new(world, pipeline, fields);
        walk.broken = broken;
        let (source, scope) = walk.source(&pipeline.flow);
        let first = first_step(&scope);
        let flow = walk.whole_flow(&pipeline.flow, scope, &mut Branch::main());
        walks += 1;
        let read = walk.intakes.iter().map(|intake| intake.fields.len()).sum::<usize>();
        if read > known && walks < MOST_WALKS {
            fields = walk.intakes.into_iter().map(|intake| intake.fields).collect();
            // Fields are decoded in the order in which the file reads them.
            fields.iter_mut().for_each(|fields| fields.sort_by_key(|field| field.span));
            continue;
        }
        return finished(walk, source, first, flow);
    }
}

/// The columns before the first step, as a step would leave them.
fn first_step(scope: &Scope) -> Step {
    Step {
        id: "source".to_owned(),
        span: (0, 0),
        kind: StepKind::Tee { flow: Vec::new() },
        columns: scope.plan_columns(),
        open: scope.open.clone(),
    }
}

fn finished(mut walk: Walk, source: Source, first: Step, mut flow: Vec<Step>) -> Compiled {
    let planner = walk.world.planner;
    let schedule = schedule::schedule(&mut walk);
    let options = options(&mut walk);
    fill(&mut flow, &walk);
    let mut late = Vec::new();
    group::carry(&mut flow, &first, "", planner, &mut late);
    late.into_iter().for_each(|one| walk.say(one));
    keep_what_is_taken(&mut flow);
    let needed: BTreeSet<String> = hidden::prune(&mut flow, planner);
    // A field of that name in a schema is the record's own.
    let is_hidden = |name: &str| first.columns.iter().any(|column| column.name == name && !column.visible);
    let metadata = METADATA.iter().filter(|name| needed.contains(**name) && is_hidden(name));
    let metadata = metadata.map(|name| (*name).to_owned()).collect();
    hidden::project(&mut flow, planner);
    let mut source = walk.source_plan(source, metadata);
    if let Some(source) = &mut source {
        hidden::keep(source, &hidden::read_of_all(&flow, planner));
    }
    let plan = source.map(|source| Plan {
        format: PLAN_FORMAT,
        pipeline: walk.pipeline.name.text.clone(),
        options,
        schedule,
        source,
        flow,
    });
    if let Some(plan) = &plan {
        check::keep_last(plan, &mut walk);
        check::whole_inputs(plan, &mut walk);
        check::delivery(plan, &mut walk);
        check::changelog(plan, &mut walk);
        schedule::check(plan, &mut walk);
    }
    let Intake { fields, paths, .. } = walk.intakes.swap_remove(0);
    let plan = plan.filter(|_| !walk.broken);
    let streams = plan.as_ref().map_or(Vec::new(), |plan| written(walk.streams, plan));
    Compiled { plan, said: walk.said, fields, paths, typed: walk.typed, streams }
}

/// The streams of a pipeline, with what only its whole plan says of them.
fn written(mut streams: Vec<StreamFacts>, plan: &Plan) -> Vec<StreamFacts> {
    let again = plan.options.restart.when == Some(RestartWhen::Always) || plan.schedule.is_some();
    let mut changes = plan.sources().iter().any(|source| source.changes());
    plan.each_step(&mut |step| changes |= matches!(step.kind, StepKind::Arms { delete_when: Some(_), .. }));
    for stream in &mut streams {
        (stream.endless, stream.changes) = (plan.endless() || again, changes);
    }
    streams
}

/// What is read of further sources and of tables, now that all steps were walked.
fn fill(flow: &mut [Step], walk: &Walk) {
    let read = |intake: usize, source: &mut SourcePlan| {
        let intake = &walk.intakes[intake];
        source.whole_record = intake.whole_record;
        if !intake.declared {
            source.fields = undeclared(intake);
        }
    };
    for step in flow {
        match &mut step.kind {
            StepKind::Tee { flow } => fill(flow, walk),
            StepKind::Fork { flows } => flows.iter_mut().for_each(|flow| fill(flow, walk)),
            StepKind::Arms { arms, .. } => arms.iter_mut().for_each(|arm| fill(&mut arm.flow, walk)),
            StepKind::Join(join) => read(join.intake, &mut join.table),
            StepKind::Union { arms } => {
                for arm in arms {
                    read(arm.intake, &mut arm.source);
                    fill(&mut arm.flow, walk);
                }
            }
            _ => {}
        }
    }
}

/// Each is a thread with clients of its own.
const MOST_TASKS: u32 = 64;

const OPTIONS: [&str; 11] = [
    "changelog",
    "checkpoint_every",
    "delivery",
    "future",
    "idle_after",
    "ledger",
    "max_restarts",
    "restart",
    "restart_delay",
    "standby",
    "tasks",
];

fn options(walk: &mut Walk) -> Options {
    let mut options = Options::default();
    for option in &walk.pipeline.options {
        if option.name.text.eq_ignore_ascii_case("changelog") {
            options.changelog = changelog(option, walk);
        } else if let Err(wrong) = set_option(option, &mut options) {
            walk.say(wrong);
        }
    }
    options
}

/// The place of its changelog in the connection that the option names.
fn changelog(option: &ast::Opt, walk: &mut Walk) -> Option<Place> {
    let span = option.value.span;
    let connection = match values::value(&option.value) {
        Ok(Value::Text(name)) => ast::Ident { text: name, span, quoted: false },
        Ok(Value::Env { .. } | Value::Secret { .. }) => {
            walk.say(say::read_when_compiled(span, "changelog"));
            return None;
        }
        Ok(_) => {
            walk.say(say_values::wrong_kind(span, "changelog", "text"));
            return None;
        }
        Err(wrong) => {
            walk.say(wrong);
            return None;
        }
    };
    let object = format!("syncline.{}.changelog", walk.pipeline.name.text);
    place::of_changelog(&connection, object, walk)
}

fn set_option(option: &ast::Opt, options: &mut Options) -> Result<(), Diagnostic> {
    let name = option.name.text.to_lowercase();
    if !OPTIONS.contains(&name.as_str()) {
        return Err(say::no_such_option(&option.name, &OPTIONS));
    }
    let span = option.value.span;
    let text = match values::value(&option.value)? {
        Value::Text(text) => text,
        Value::Number(text) if ["max_restarts", "tasks"].contains(&name.as_str()) => text,
        Value::Boolean(standby) if name == "standby" => {
            options.standby = standby;
            return Ok(());
        }
        Value::Env { .. } | Value::Secret { .. } => return Err(say::read_when_compiled(span, &name)),
        _ if ["max_restarts", "tasks"].contains(&name.as_str()) => {
            return Err(say_values::wrong_kind(span, &name, "count"));
        }
        _ if name == "standby" => return Err(say_values::wrong_kind(span, &name, "boolean")),
        _ => return Err(say_values::wrong_kind(span, &name, "text")),
    };
    let length = || match duration::microseconds(&text) {
        Ok(0) => Err(say_values::no_length(span)),
        Ok(micros) => Ok(micros),
        Err(why) => Err(say_values::not_a_duration(span, &why)),
    };
    match name.as_str() {
        "checkpoint_every" => options.checkpoint_every = length()?,
        "future" => options.waits.future = Some(length()?),
        "idle_after" => options.waits.idle_after = Some(length()?),
        "restart" => match RestartWhen::ALL.into_iter().find(|when| when.as_str().eq_ignore_ascii_case(&text)) {
            Some(when) => options.restart.when = Some(when),
            None => return Err(say_values::one_of(span, &name, &text, &RestartWhen::ALL.map(RestartWhen::as_str))),
        },
        "restart_delay" => options.restart.delay = Some(length()?),
        "max_restarts" => match text.parse() {
            Ok(most) => options.restart.most = Some(most),
            Err(_) => return Err(say_values::wrong_kind(span, &name, "count")),
        },
        "standby" => return Err(say_values::wrong_kind(span, &name, "boolean")),
        "tasks" => match text.parse() {
            Ok(tasks) if (1..=MOST_TASKS).contains(&tasks) => options.tasks = tasks,
            _ => return Err(say::how_many_tasks(span, MOST_TASKS)),
        },
        "delivery" => match DELIVERIES.iter().find(|word| word.eq_ignore_ascii_case(&text)) {
            Some(word) => options.delivery = Some((*word).to_owned()),
            None => return Err(say_values::one_of(span, &name, &text, &DELIVERIES)),
        },
        _ if text.eq_ignore_ascii_case("all") => options.ledger_all = true,
        _ => return Err(say_values::one_of(span, &name, &text, &["all"])),
    }
    Ok(())
}
