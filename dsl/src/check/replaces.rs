//! What a `REPLACE` can follow: all rows that one input derives have to come to it, beside each other.
//!
//! `ORDER BY` brings rows of all inputs into one order. A `DEDUP` behind an `UNNEST` drops elements that an earlier input had
//! too, and they would go away from the group of the later one.

use super::place_of;
use crate::{
    message::rows as say,
    plan::{Plan, SinkPlan, Step, StepKind, WritePlan},
    walk::Walk,
};

/// What has become of the rows of one input.
#[derive(Clone, Copy, Default)]
struct Inputs<'a> {
    /// One may be several rows.
    several: bool,
    /// After which step they are no longer whole, or together.
    apart: Option<&'a Step>,
}

pub(crate) fn whole_inputs(plan: &Plan, walk: &mut Walk) {
    let mut found = Vec::new();
    follow(&plan.flow, Inputs::default(), &mut found);
    for (step, sink) in found {
        walk.say(match step.kind {
            StepKind::Sort { .. } => say::sorted_replace(place_of(sink), place_of(step)),
            _ => say::thinned_replace(place_of(sink), place_of(step)),
        });
    }
}

/// Returns what is so behind the flow.
fn follow<'a>(flow: &'a [Step], before: Inputs<'a>, found: &mut Vec<(&'a Step, &'a Step)>) -> Inputs<'a> {
    let mut inputs = before;
    for step in flow {
        match &step.kind {
            StepKind::Sort { .. } => inputs.apart = Some(step),
            StepKind::Unnest { .. } => inputs.several = true,
            StepKind::Dedup { .. } if inputs.several => inputs.apart = inputs.apart.or(Some(step)),
            // A group that goes out is an input of its own.
            StepKind::Aggregate { .. } => inputs = Inputs::default(),
            StepKind::Union { arms } => {
                for arm in arms {
                    let Inputs { several, apart } = follow(&arm.flow, Inputs::default(), found);
                    inputs = Inputs { several: several || inputs.several, apart: apart.or(inputs.apart) };
                }
            }
            StepKind::Tee { flow } => _ = follow(flow, inputs, found),
            StepKind::Fork { flows } => flows.iter().for_each(|flow| _ = follow(flow, inputs, found)),
            StepKind::Arms { arms, .. } => arms.iter().for_each(|arm| _ = follow(&arm.flow, inputs, found)),
            StepKind::Sink(SinkPlan { write: WritePlan::Replace { .. }, .. }) => {
                found.extend(inputs.apart.map(|apart| (apart, step)));
            }
            _ => {}
        }
    }
    inputs
}
