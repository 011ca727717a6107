//! What determines the meaning of a plan, as a short text that changes when it does.
//!
//! XXH3 (128 bits) over the plan as JSON. Places in the file, the wording of a target, when to run and when to restart are left out: they
//! change neither the rows nor the state.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    expression::column_sql,
    hidden::reads,
    plan::{Beside, Column, JoinPlan, Place, Plan, SinkPlan, Step, StepKind, UnionArm, WritePlan},
};

impl Plan {
    /// Equal for plans that do the same with every record.
    pub fn digest(&self) -> String {
        let mut plan = serde_json::to_value(self).unwrap_or(Json::Null);
        forget_places(&mut plan);
        // When it runs changes neither.
        if let Some(members) = plan.as_object_mut() {
            members.remove("schedule");
        }
        if let Some(options) = plan.get_mut("options").and_then(Json::as_object_mut) {
            options.remove("restart");
        }
        hashed(&plan)
    }
}

/// What the parts of a plan are, beside what they are called: digests by the id of a step or an input (`source`, `source_2`, …).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    /// Steps that keep something, and sinks: the steps of their branch up to them.
    pub steps: BTreeMap<String, String>,
    /// Where sinks write.
    pub targets: BTreeMap<String, String>,
    /// Where inputs read.
    pub inputs: BTreeMap<String, String>,
    /// The input that is read beside the others, and which backfill that is.
    pub backfill: Option<(String, u64)>,
}

impl Plan {
    pub fn fingerprints(&self) -> Fingerprints {
        let mut prints = Fingerprints::default();
        branch(vec![], &self.flow, &mut prints);
        for (index, source) in self.sources().into_iter().enumerate() {
            let id = if index == 0 { "source".to_owned() } else { format!("source_{}", index + 1) };
            if let Some((_, beside)) = self.backfill().filter(|(arm, _)| std::ptr::eq(&arm.source, source)) {
                prints.backfill = Some((id.clone(), beside.number));
            }
            prints.inputs.insert(id, place_print(&source.place));
        }
        prints
    }

    /// What is read beside the `FROM`, in front of all other steps.
    pub fn backfill(&self) -> Option<(&UnionArm, Beside)> {
        self.flow.iter().find_map(|step| match &step.kind {
            StepKind::Union { arms } => arms.iter().find_map(|arm| Some((arm, arm.beside?))),
            _ => None,
        })
    }

    /// Says which backfill that is, and what it may take of the time.
    pub fn number_backfill(&mut self, beside: Beside) {
        for step in &mut self.flow {
            if let StepKind::Union { arms } = &mut step.kind {
                arms.iter_mut().filter(|arm| arm.beside.is_some()).for_each(|arm| arm.beside = Some(beside));
            }
        }
    }
}

fn branch(mut way: Vec<Json>, flow: &[Step], prints: &mut Fingerprints) {
    for step in flow {
        // Steps behind a backfill are what they are without one.
        if !is_backfill(&step.kind) {
            way.push(bare(&step.kind));
        }
        let keeps = match &step.kind {
            StepKind::Dedup { .. } | StepKind::Aggregate { .. } | StepKind::Sort { .. } | StepKind::Limit { .. } => {
                true
            }
            StepKind::Join(join) => join.bound.is_some(),
            StepKind::Sink(sink) => {
                prints.targets.insert(step.id.clone(), place_print(&sink.place));
                true
            }
            _ => false,
        };
        if keeps {
            prints.steps.insert(step.id.clone(), hashed(&json!(way)));
        }
        match &step.kind {
            StepKind::Tee { flow } => branch(vec![], flow, prints),
            StepKind::Fork { flows } => flows.iter().for_each(|flow| branch(vec![], flow, prints)),
            // Arms are called by their names, wherever they stand.
            StepKind::Arms { arms, .. } => {
                arms.iter().for_each(|arm| branch(vec![json!(arm.name)], &arm.flow, prints));
            }
            StepKind::Union { arms } => {
                arms.iter().for_each(|arm| branch(vec![json!(place_print(&arm.source.place))], &arm.flow, prints));
            }
            _ => {}
        }
    }
}

fn is_backfill(kind: &StepKind) -> bool {
    matches!(kind, StepKind::Union { arms } if arms.iter().any(|arm| arm.beside.is_some()))
}

/// A step without what is in its branches.
fn bare(kind: &StepKind) -> Json {
    match kind {
        StepKind::Tee { .. } => json!("tee"),
        StepKind::Fork { .. } => json!("fork"),
        StepKind::Union { .. } => json!("union"),
        StepKind::Arms { by, delete_when, .. } => json!({"arms": by, "delete_when": delete_when}),
        kind => {
            let mut kind = json!(kind);
            forget_places(&mut kind);
            kind
        }
    }
}

fn place_print(place: &Place) -> String {
    let mut place = json!(place);
    forget_places(&mut place);
    hashed(&place)
}

fn hashed(value: &Json) -> String {
    format!("{:032x}", xxh3_128(value.to_string().as_bytes()))
}

/// Removes spans, and the text of a place beside its arguments.
fn forget_places(value: &mut Json) {
    match value {
        Json::Object(members) => {
            members.remove("span");
            if members.contains_key("connector") {
                members.remove("text");
            }
            members.values_mut().for_each(forget_places);
        }
        Json::Array(items) => items.iter_mut().for_each(forget_places),
        _ => {}
    }
}

/// What the state of a step depends on: its key, the types of the columns in it, and its window. Equal digests mean that the
/// state of one can be read by the other. Steps without state are all alike.
pub fn step_digest(step: &Step) -> String {
    let planner = crate::planner();
    let types = |sql: &[String]| -> Vec<Json> {
        let read: Vec<String> = sql.iter().flat_map(|sql| reads(sql, planner)).collect();
        let columns = step.columns.iter().filter(|column| read.contains(&column.name));
        columns.map(|column: &Column| json!([column.name, column.kind])).collect()
    };
    let all = || -> Vec<Json> {
        step.columns.iter().filter(|column| column.visible).map(|column| json!([column.name, column.kind])).collect()
    };
    hashed(&match &step.kind {
        StepKind::Dedup { by, within, keep, order_by, .. } => {
            let keys: Vec<String> = by.iter().chain(order_by).cloned().collect();
            let types = if by.is_empty() { all() } else { types(&keys) };
            json!({"dedup": by, "types": types, "within": within, "keep": keep, "order_by": order_by})
        }
        StepKind::Aggregate { keys, window, calls, .. } => {
            let types = step.columns.iter().filter(|column| keys.iter().any(|(name, _)| *name == column.name));
            let types: Vec<Json> = types.map(|column| json!([column.name, column.kind])).collect();
            let calls: Vec<&str> = calls.iter().map(|(_, sql)| sql.as_str()).collect();
            json!({"aggregate": keys, "types": types, "window": window, "calls": calls})
        }
        StepKind::Sort { keys, most } => {
            // Whole rows wait: any column that comes or goes makes them others.
            let columns: Vec<Json> = step.columns.iter().map(|column| json!([column.name, column.kind])).collect();
            json!({"sort": keys, "most": most, "columns": columns})
        }
        StepKind::Limit { count, offset } => json!({"limit": count, "offset": offset}),
        StepKind::Join(JoinPlan { bound: Some(bound), keys, residual, columns, left, .. }) => {
            let types = step.columns.iter().map(|column| json!([column.name, column.kind]));
            let types: Vec<Json> = types.collect();
            json!({"join": keys, "bound": bound, "rest": residual, "columns": columns, "left": left, "types": types})
        }
        StepKind::Sink(SinkPlan { place, write, columns, csv }) => {
            let mut place = json!(place);
            forget_places(&mut place);
            let quoted: Vec<String> = columns.iter().map(|name| column_sql(planner, name)).collect();
            let key = match write {
                WritePlan::Insert { key } => json!({"insert": key}),
                WritePlan::Upsert { key, sequence, .. } => json!({"upsert": key, "sequence": sequence}),
                WritePlan::Replace { per, sequence } => json!({"replace": per, "sequence": sequence}),
            };
            let mut sink = json!({"sink": place, "write": key, "columns": columns, "types": types(&quoted)});
            // Only where it is said: sinks of earlier versions keep their digests.
            if let (Some(csv), Json::Object(members)) = (csv, &mut sink) {
                members.insert("csv".to_owned(), json!(csv));
            }
            sink
        }
        _ => json!("no state"),
    })
}
