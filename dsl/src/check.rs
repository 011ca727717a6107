//! What is wrong with a plan as a whole, though each of its steps is right.

mod loops;
mod paths;
mod replaces;
mod sample;
pub(crate) mod secret;
mod target;
mod writers;

use syncline_syntax::{Diagnostic, Span};

use crate::{
    catalog::Catalog,
    message::{aggregate as say_aggregate, sinks as say_sinks, steps as say_steps},
    pipeline::DELIVERIES,
    plan::{Keep, Plan, SinkPlan, Step, StepKind, WritePlan},
    walk::Walk,
};

pub(crate) use loops::feedback;
pub(crate) use paths::same_path;
pub(crate) use replaces::whole_inputs;
pub(crate) use sample::not_in_sample;
pub(crate) use target::targets;
pub(crate) use writers::two_writers;

/// Something wrong with one of several pipelines: its index, and what to say.
pub(crate) type Charge = (usize, Diagnostic);

pub(crate) fn place_of(step: &Step) -> Span {
    Span::new(step.span.0, step.span.1)
}

/// The sinks of a pipeline, branches included, in the order of the file.
pub(crate) fn sinks(plan: &Plan) -> Vec<(&Step, &SinkPlan)> {
    let mut sinks = Vec::new();
    plan.each_step(&mut |step| {
        if let StepKind::Sink(sink) = &step.kind {
            sinks.push((step, sink));
        }
    });
    sinks
}

/// `KEEP LAST` lets a later row take the place of an earlier one; an `INSERT` cannot.
pub(crate) fn keep_last(plan: &Plan, walk: &mut Walk) {
    fn inserts<'a>(flow: &'a [Step], after: Option<&'a Step>, found: &mut Vec<(&'a Step, &'a Step)>) {
        let mut after = after;
        for step in flow {
            match &step.kind {
                StepKind::Dedup { keep: Keep::Last, .. } => after = Some(step),
                // What it puts out are rows of its own.
                StepKind::Aggregate { .. } => {
                    found.extend(after.take().map(|dedup| (dedup, step)));
                }
                StepKind::Tee { flow } => inserts(flow, after, found),
                StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| inserts(&arm.flow, after, found)),
                StepKind::Fork { flows } => flows.iter().for_each(|flow| inserts(flow, after, found)),
                StepKind::Union { arms } => {
                    for arm in arms {
                        inserts(&arm.flow, None, found);
                        let last = |step: &&Step| matches!(step.kind, StepKind::Dedup { keep: Keep::Last, .. });
                        after = after.or(arm.flow.iter().rev().find(last));
                    }
                }
                StepKind::Sink(SinkPlan { write: WritePlan::Insert { .. }, .. }) => {
                    found.extend(after.map(|dedup| (dedup, step)));
                }
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    inserts(&plan.flow, None, &mut found);
    for (dedup, insert) in found {
        walk.say(match insert.kind {
            StepKind::Aggregate { .. } => say_aggregate::keep_last(place_of(dedup), place_of(insert)),
            _ => say_steps::keep_last(place_of(dedup), place_of(insert)),
        });
    }
}

/// The promise asked for holds only as far as the weakest sink keeps it.
pub(crate) fn delivery(plan: &Plan, walk: &mut Walk) {
    let Some(wanted) = &plan.options.delivery else { return };
    let rank = |word: &str| DELIVERIES.iter().position(|known| *known == word);
    let catalog: &Catalog = walk.world.catalog;
    let promises: Vec<(Span, String, String)> = sinks(plan)
        .into_iter()
        .filter_map(|(step, sink)| {
            let facts = catalog.connector(&sink.place.connector)?.sink.as_ref()?;
            Some((place_of(step), sink.place.connector.clone(), facts.delivery.clone()))
        })
        .collect();
    let weaker = |promise: &str| rank(promise).is_some_and(|rank_of| Some(rank_of) < rank(wanted));
    let option = walk.pipeline.options.iter().find(|option| option.name.text.eq_ignore_ascii_case("delivery"));
    if let Some(option) = option
        && promises.iter().any(|(_, _, promise)| weaker(promise))
    {
        walk.say(say_sinks::delivery(option.value.span, wanted, &promises, weaker));
    }
}
