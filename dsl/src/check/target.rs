//! Tables that are there already, and what is written to them.

use std::collections::BTreeMap;

use syncline_syntax::Diagnostic;

use super::{place_of, sinks};
use crate::{message::sinks as say, plan::Plan};

/// Columns by the pipeline and the id of the step that writes them.
pub(crate) type Tables = BTreeMap<(String, String), Vec<String>>;

/// A mistake for each sink whose table lacks one of its columns. Nobody could add them without the owner of the table.
pub(crate) fn targets(plan: &Plan, tables: &Tables) -> Vec<Diagnostic> {
    let lacks = sinks(plan).into_iter().filter_map(|(step, sink)| {
        let there = tables.get(&(plan.pipeline.clone(), step.id.clone()))?;
        let is_there = |name: &&String| there.iter().any(|column| column.eq_ignore_ascii_case(name));
        let missing: Vec<&str> = sink.columns.iter().filter(|name| !is_there(name)).map(String::as_str).collect();
        (!missing.is_empty()).then(|| say::target_lacks(place_of(step), &sink.place.text, &missing, there))
    });
    lacks.collect()
}
