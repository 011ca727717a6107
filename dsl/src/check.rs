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
    delivery::is_weaker,
    message::{
        aggregate as say_aggregate, pipelines as say_pipelines, places as say_places, sinks as say_sinks,
        steps as say_steps,
    },
    plan::{Keep, Place, Plan, SinkPlan, SourcePlan, Step, StepKind, WritePlan},
    streams::StreamFacts,
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

/// A sink that keeps every row.
fn adds(step: &Step) -> bool {
    matches!(&step.kind, StepKind::Sink(sink) if matches!(sink.write, WritePlan::Insert { .. }))
}

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

/// `KEEP LAST` lets a later row take the place of an earlier one; an `INSERT` cannot, here or behind a stream.
pub(crate) fn keep_last(plan: &Plan, walk: &mut Walk) {
    let mut newest = Newest { streams: &walk.world.streams, inserts: Vec::new(), written: Vec::new() };
    newest.flow(&plan.flow, newest.of_source(&plan.source));
    let Newest { inserts, written, .. } = newest;
    let written: Vec<(String, Step)> =
        written.into_iter().map(|(name, dedup)| (name.to_owned(), dedup.clone())).collect();
    let said: Vec<Diagnostic> = (inserts.into_iter())
        .map(|(dedup, insert)| match insert.kind {
            StepKind::Aggregate { .. } => say_aggregate::keep_last(place_of(dedup), place_of(insert)),
            _ => say_steps::keep_last(place_of(dedup), place_of(insert)),
        })
        .collect();
    for (name, dedup) in written {
        walk.streams
            .iter_mut()
            .filter(|stream| stream.name == name)
            .for_each(|stream| stream.newest = Some(dedup.clone()));
    }
    said.into_iter().for_each(|one| walk.say(one));
}

/// Where later rows take the place of earlier ones, on the way through a flow.
struct Newest<'a> {
    streams: &'a [StreamFacts],
    /// A `DEDUP`, and the step that cannot take back what it passed.
    inserts: Vec<(&'a Step, &'a Step)>,
    /// Streams that are written behind one.
    written: Vec<(&'a str, &'a Step)>,
}

impl<'a> Newest<'a> {
    fn of_source(&self, source: &SourcePlan) -> Option<&'a Step> {
        let (name, _) = source.place.stream()?;
        self.streams.iter().find(|stream| stream.name == name)?.newest.as_ref()
    }

    fn flow(&mut self, flow: &'a [Step], after: Option<&'a Step>) {
        let mut after = after;
        for step in flow {
            match &step.kind {
                StepKind::Dedup { keep: Keep::Last, .. } => after = Some(step),
                // What it puts out are rows of its own.
                StepKind::Aggregate { .. } => {
                    self.inserts.extend(after.take().map(|dedup| (dedup, step)));
                }
                StepKind::Tee { flow } => self.flow(flow, after),
                StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| self.flow(&arm.flow, after)),
                StepKind::Fork { flows } => flows.iter().for_each(|flow| self.flow(flow, after)),
                StepKind::Union { arms } => {
                    for arm in arms {
                        let before = self.of_source(&arm.source);
                        self.flow(&arm.flow, before);
                        let last = |step: &&Step| matches!(step.kind, StepKind::Dedup { keep: Keep::Last, .. });
                        after = after.or(arm.flow.iter().rev().find(last)).or(before);
                    }
                }
                StepKind::Sink(sink) => match (sink.place.stream(), &sink.write) {
                    (Some((name, _)), _) => self.written.extend(after.map(|dedup| (name, dedup))),
                    (None, WritePlan::Insert { .. }) => self.inserts.extend(after.map(|dedup| (dedup, step))),
                    _ => {}
                },
                _ => {}
            }
        }
    }
}

/// What is kept can move to another machine; so must what is read.
pub(crate) fn changelog(plan: &Plan, walk: &mut Walk) {
    let pipeline = walk.pipeline;
    let option = |name: &str| pipeline.options.iter().find(|option| option.name.text.eq_ignore_ascii_case(name));
    let Some(said) = option("changelog") else {
        for name in ["tasks", "standby"] {
            option(name)
                .into_iter()
                .for_each(|said| walk.say(say_pipelines::tasks_without_changelog(said.name.span, name)));
        }
        return;
    };
    if plan.options.changelog.is_none() {
        return;
    }
    let catalog: &Catalog = walk.world.catalog;
    let moves = |place: &Place| catalog.connector(&place.connector).is_some_and(|connector| connector.changelog);
    let mut here: Vec<String> =
        plan.sources().iter().filter(|source| !moves(&source.place)).map(|source| source.place.text.clone()).collect();
    here.extend(sinks(plan).iter().filter_map(|(_, sink)| Some(format!("stream {}", sink.place.stream()?.0))));
    let partitioned: Vec<String> = plan.source.partitioned_by.clone();
    let hops: Vec<_> = plan.hops().into_iter().map(|(step, by)| (place_of(step), by)).collect();
    hops.into_iter().for_each(|(step, by)| walk.say(say_pipelines::repartition(step, &by, &partitioned)));
    let unordered: Vec<_> = plan.unordered().into_iter().map(|(step, key)| (place_of(step), adds(step), key)).collect();
    unordered.into_iter().for_each(|(step, adds, key)| walk.say(say_pipelines::order_not_kept(step, &key, adds)));
    let span = said.value.span;
    here.iter().for_each(|place| walk.say(say_places::changelog_and_local(span, place)));
}

/// The promise asked for holds only as far as the weakest sink keeps it.
pub(crate) fn delivery(plan: &Plan, walk: &mut Walk) {
    let Some(wanted) = &plan.options.delivery else { return };
    let catalog: &Catalog = walk.world.catalog;
    let promises: Vec<(Span, String, String)> = (plan.delivery_paths(catalog).into_iter())
        .filter(|path| path.sink.place.stream().is_none())
        .map(|path| (place_of(path.step), path.sink.place.connector.clone(), path.keeps.to_owned()))
        .collect();
    let weaker = |promise: &str| is_weaker(promise, wanted);
    let option = walk.pipeline.options.iter().find(|option| option.name.text.eq_ignore_ascii_case("delivery"));
    if let Some(option) = option
        && promises.iter().any(|(_, _, promise)| weaker(promise))
    {
        walk.say(say_sinks::delivery(option.value.span, wanted, &promises, weaker));
    }
}
