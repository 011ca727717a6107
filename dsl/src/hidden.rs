//! Hidden columns go only as far as somebody reads them.
//!
//! While a flow is walked, metadata and the ids of derived rows are carried through every step, since a later one may read them.
//! Here the way is gone backwards: a step keeps those that a step after it reads, and the source makes those that are left.

use std::{collections::BTreeSet, ops::ControlFlow};

use sqlparser::ast::{Expr, visit_expressions};
use syncline_functions::Planner;

use crate::{
    expression::is_plain,
    plan::{Arm, Column, JoinPlan, SinkPlan, SourcePlan, Step, StepKind, UnionArm, WritePlan},
    types::{DERIVED_ID, METADATA, RECORD_TIME},
};

/// Removes the hidden columns that nothing reads; returns those that the flow needs to begin with.
pub(crate) fn prune(flow: &mut [Step], planner: &Planner) -> BTreeSet<String> {
    prune_before(flow, BTreeSet::new(), planner)
}

/// The same for a flow whose rows go on to where these columns are needed.
fn prune_before(flow: &mut [Step], mut needed: BTreeSet<String>, planner: &Planner) -> BTreeSet<String> {
    for step in flow.iter_mut().rev() {
        needed = before(step, needed, planner);
    }
    needed
}

/// The columns that a flow reads of rows whose columns are known: what some step reads, or a sink writes.
pub(crate) fn read_of_all(flow: &[Step], planner: &Planner) -> BTreeSet<String> {
    flow.iter().rev().fold(BTreeSet::new(), |needed, step| read_before(step, needed, planner))
}

/// Of the other sources that say their own columns, those that nothing reads are left out.
pub(crate) fn project(flow: &mut [Step], planner: &Planner) {
    for step in flow {
        match &mut step.kind {
            StepKind::Tee { flow } => project(flow, planner),
            StepKind::Fork { flows } => flows.iter_mut().for_each(|flow| project(flow, planner)),
            StepKind::Arms { arms, .. } => arms.iter_mut().for_each(|arm| project(&mut arm.flow, planner)),
            StepKind::Union { arms } => arms.iter_mut().for_each(|arm| {
                let own = arm.columns.iter().flat_map(|(_, sql)| reads(sql, planner)).collect();
                let read = arm.flow.iter().rev().fold(own, |needed, step| read_before(step, needed, planner));
                keep(&mut arm.source, &read);
                project(&mut arm.flow, planner);
            }),
            StepKind::Join(join) => {
                let times = join.bound.iter().map(|bound| &bound.its);
                let conditions = join.keys.iter().map(|(_, its)| its).chain(&join.residual).chain(times);
                let read = conditions.flat_map(|sql| reads(sql, planner)).chain(join.columns.iter().cloned());
                let of_table = format!("{}.", join.alias);
                let read = read.filter_map(|name| name.strip_prefix(&of_table).map(str::to_owned)).collect();
                keep(&mut join.table, &read);
            }
            _ => {}
        }
    }
}

/// Of a source that says its own columns, only these.
pub(crate) fn keep(source: &mut SourcePlan, read: &BTreeSet<String>) {
    if source.typed {
        let is_time = |name: &str| source.event_time.as_ref().is_some_and(|event| event.column == name);
        let key = source.key.clone();
        source.fields.retain(|f| read.contains(&f.name) || is_time(&f.name) || key.contains(&f.name));
    }
}

fn read_before(step: &Step, mut needed: BTreeSet<String>, planner: &Planner) -> BTreeSet<String> {
    let visible = || step.columns.iter().filter(|column| column.visible).map(|column| column.name.clone());
    match &step.kind {
        StepKind::Project { columns, .. } => {
            return columns.iter().flat_map(|(_, sql)| reads(sql, planner)).collect();
        }
        StepKind::Aggregate { .. } => needed.clear(),
        StepKind::Tee { flow } => needed.extend(read_of_all(flow, planner)),
        StepKind::Fork { flows } => needed.extend(flows.iter().flat_map(|flow| read_of_all(flow, planner))),
        StepKind::Arms { arms, .. } => needed.extend(arms.iter().flat_map(|arm| read_of_all(&arm.flow, planner))),
        StepKind::Join(join) => {
            let of_table = format!("{}.", join.alias);
            needed.extend(join.residual.iter().flat_map(|sql| reads(sql, planner)));
            needed.retain(|name| !name.starts_with(&of_table));
            let times = join.bound.iter().map(|bound| &bound.own);
            needed.extend(join.keys.iter().map(|(own, _)| own).chain(times).flat_map(|sql| reads(sql, planner)));
        }
        // They are hashed or written as a whole.
        StepKind::Sink(_) | StepKind::Union { .. } => needed.extend(visible()),
        StepKind::Dedup { by, .. } if by.is_empty() => needed.extend(visible()),
        _ => {}
    }
    needed.extend(expressions(&step.kind).iter().flat_map(|sql| reads(sql, planner)));
    needed
}

/// What a step needs, given what is needed after it.
fn before(step: &mut Step, mut needed: BTreeSet<String>, planner: &Planner) -> BTreeSet<String> {
    let kept = |column: &Column| column.visible || needed.contains(&column.name);
    let hidden: Vec<String> =
        step.columns.iter().filter(|column| !kept(column)).map(|column| column.name.clone()).collect();
    step.columns.retain(|column| !hidden.contains(&column.name));
    match &mut step.kind {
        StepKind::Project { columns, .. } => {
            columns.retain(|(name, _)| !hidden.contains(name));
            return columns.iter().flat_map(|(_, sql)| reads(sql, planner)).collect();
        }
        // Columns before it end there, hidden ones too.
        StepKind::Aggregate { .. } => needed.clear(),
        StepKind::Unnest { arrays, .. } => {
            needed.retain(|name| !arrays.iter().any(|(made, _)| made == name));
        }
        StepKind::Tee { flow } => needed.extend(prune(flow, planner)),
        StepKind::Fork { flows } => needed.extend(flows.iter_mut().flat_map(|flow| prune(flow, planner))),
        StepKind::Union { arms } => {
            // A column that is seen may have the name of metadata.
            let seen = step.columns.iter().filter(|column| column.visible).map(|column| column.name.clone());
            let needed = needed.iter().cloned().chain(seen).collect();
            arms.iter_mut().for_each(|arm| before_union(arm, &needed, planner));
        }
        StepKind::Join(join) => return before_join(join, needed, planner),
        StepKind::Arms { arms, .. } => needed.extend(arms.iter_mut().flat_map(|arm| before_arm(arm, planner))),
        _ => {}
    }
    needed.extend(expressions(&step.kind).iter().flat_map(|sql| reads(sql, planner)));
    // A step that only looks at a hidden column leaves it to nobody after it.
    needed
}

/// One more source gives what is needed behind the union, and what its own steps read.
fn before_union(arm: &mut UnionArm, needed: &BTreeSet<String>, planner: &Planner) {
    let metadata = |name: &str| METADATA.contains(&name) && !arm.source.fields.iter().any(|field| field.name == name);
    arm.columns.retain(|(name, _)| !METADATA.contains(&name.as_str()) && name != DERIVED_ID || needed.contains(name));
    let own = arm.columns.iter().flat_map(|(_, sql)| reads(sql, planner)).collect();
    let own = prune_before(&mut arm.flow, own, planner);
    arm.source.metadata =
        METADATA.iter().filter(|name| own.contains(**name) && metadata(name)).map(|name| (*name).to_owned()).collect();
}

/// Of the table go on only the columns that somebody reads; in front of the join nobody knows them.
fn before_join(join: &mut JoinPlan, mut needed: BTreeSet<String>, planner: &Planner) -> BTreeSet<String> {
    needed.extend(join.residual.iter().flat_map(|sql| reads(sql, planner)));
    join.columns.retain(|name| needed.contains(name));
    let of_table = format!("{}.", join.alias);
    needed.retain(|name| !name.starts_with(&of_table));
    if let Some(bound) = &join.bound {
        // Behind the join it is the time of the joined row.
        needed.remove(RECORD_TIME);
        needed.extend(reads(&bound.own, planner));
        let keys = join.keys.iter().flat_map(|(_, its)| reads(its, planner));
        let read: Vec<String> = keys.chain(reads(&bound.its, planner)).chain(join.columns.iter().cloned()).collect();
        let metadata = |name: &&&str| {
            read.contains(&format!("{of_table}{name}")) && !join.table.fields.iter().any(|field| field.name == **name)
        };
        join.table.metadata = METADATA.iter().filter(metadata).map(|name| (*name).to_owned()).collect();
    }
    needed.extend(join.keys.iter().flat_map(|(own, _)| reads(own, planner)));
    needed
}

fn before_arm(arm: &mut Arm, planner: &Planner) -> BTreeSet<String> {
    let mut needed = prune(&mut arm.flow, planner);
    arm.ids = needed.remove(DERIVED_ID);
    needed
}

/// The SQL that a step evaluates, projections aside.
fn expressions(kind: &StepKind) -> Vec<&str> {
    match kind {
        StepKind::Where { predicate, .. } | StepKind::Expect { predicate, .. } => vec![predicate],
        StepKind::Dedup { by, order_by, .. } => by.iter().chain(order_by).map(String::as_str).collect(),
        StepKind::Aggregate { keys, window, calls, .. } => {
            let time = window.iter().map(|window| &window.time);
            keys.iter()
                .chain(calls)
                .map(|(_, sql)| sql)
                .chain(time)
                .filter(|sql| !sql.is_empty())
                .map(String::as_str)
                .collect()
        }
        StepKind::Lanes { by, .. } => by.iter().map(String::as_str).collect(),
        StepKind::Arms { by, delete_when, .. } => by.iter().chain(delete_when).map(String::as_str).collect(),
        StepKind::Unnest { arrays, .. } => arrays.iter().map(|(_, sql)| sql.as_str()).collect(),
        StepKind::Sort { keys, .. } => keys.iter().map(|key| key.sql.as_str()).collect(),
        StepKind::Group { per } => per.iter().map(String::as_str).collect(),
        StepKind::Sink(SinkPlan { write: WritePlan::Upsert { sequence, delete_when, .. }, .. }) => {
            sequence.iter().chain(delete_when).map(String::as_str).collect()
        }
        StepKind::Sink(SinkPlan { write: WritePlan::Replace { sequence, .. }, .. }) => {
            sequence.iter().map(String::as_str).collect()
        }
        StepKind::Sink(_)
        | StepKind::Tee { .. }
        | StepKind::Fork { .. }
        | StepKind::Union { .. }
        | StepKind::Join(_)
        | StepKind::Limit { .. }
        | StepKind::Hop { .. }
        | StepKind::Project { .. } => Vec::new(),
    }
}

/// The columns that an expression of a plan reads.
pub(crate) fn reads(sql: &str, planner: &Planner) -> Vec<String> {
    // Nearly every column of a projection is passed on as it is.
    if is_plain(planner, sql) {
        return vec![sql.to_owned()];
    }
    let mut names = Vec::new();
    if let Ok(ast) = planner.parse(sql) {
        let _ = visit_expressions(&ast, |part| {
            if let Expr::Identifier(name) = part {
                names.push(name.value.clone());
            }
            ControlFlow::<()>::Continue(())
        });
    }
    names
}
