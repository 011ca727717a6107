//! What an edit changes, step by step: steps are the same when they have the same id.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use syncline_dsl::plan::Plan;
use syncline_engine::graph::input_step;

#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct ChangeLine {
    pub step: String,
    /// `added`, `removed`, `changed`, `same`.
    pub change: &'static str,
}

/// In the order of the new plan; what is removed comes last.
pub fn between(before: &Plan, now: &Plan) -> Vec<ChangeLine> {
    let (then, order) = (parts(before), parts(now));
    let known: BTreeMap<&str, &Value> = then.iter().map(|(step, what)| (step.as_str(), what)).collect();
    let mut lines: Vec<ChangeLine> = vec![];
    for (step, what) in &order {
        let change = match known.get(step.as_str()) {
            None => "added",
            Some(before) if *before == what => "same",
            Some(_) => "changed",
        };
        lines.push(ChangeLine { step: step.clone(), change });
    }
    let gone = then.iter().filter(|(step, _)| !order.iter().any(|(now, _)| now == step));
    lines.extend(gone.map(|(step, _)| ChangeLine { step: step.clone(), change: "removed" }));
    lines
}

/// What each source and each step says, without where it says it and without the flows inside it, whose steps have ids of their own.
fn parts(plan: &Plan) -> Vec<(String, Value)> {
    let mut parts = vec![];
    for (index, source) in plan.sources().into_iter().enumerate() {
        let mut source_part = bare(serde_json::to_value(source).unwrap_or_default());
        // Without a contract these are what the steps read of its records.
        if let Some(members) = source_part.as_object_mut().filter(|_| !source.declared) {
            members.remove("fields");
            members.remove("whole_record");
        }
        parts.push((input_step(index).to_string(), source_part));
    }
    plan.each_step(&mut |step| {
        parts.push((step.id.clone(), bare(serde_json::to_value(&step.kind).unwrap_or_default())));
    });
    parts
}

fn bare(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            for name in ["flow", "flows", "span"] {
                members.remove(name);
            }
            members.values_mut().for_each(|member| *member = bare(member.take()));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = bare(item.take())),
        _ => {}
    }
    value
}

#[cfg(test)]
mod tests {
    use syncline_dsl::{Samples, compile};

    use super::*;

    fn changed(before: &str, now: &str) -> Vec<String> {
        let plan = |text: &str| {
            let checked = compile(text, &crate::source_file::catalog(), &Samples::default());
            checked.plan.pipelines.into_iter().next().unwrap()
        };
        let lines = between(&plan(before), &plan(now)).into_iter().filter(|line| line.change != "same");
        lines.map(|line| format!("{} {}", line.step, line.change)).collect()
    }

    #[test]
    fn a_step_is_added_removed_changed_or_the_same() {
        let text = "PIPELINE p AS FROM file('a.ndjson') |> WHERE i > 1 |> TEE (|> INSERT INTO file('b/')) |> INSERT INTO file('c/');";
        assert_eq!(changed(text, &format!("-- moved\n{text}")), [""; 0]);
        assert_eq!(changed(text, &text.replace("i > 1", "i > 2")), ["where changed"]);
        assert_eq!(changed(text, &text.replace("'b/'", "'d/'")), ["tee/insert changed"]);
        assert_eq!(changed(text, &text.replace("a.ndjson", "e.ndjson")), ["source changed"]);
        assert_eq!(changed(text, &text.replace("|> WHERE i > 1", "|> LIMIT 3")), ["limit added", "where removed"]);
    }
}
