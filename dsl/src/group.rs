//! REPLACE … PER: the key of a group, computed before any row could be dropped.
//!
//! `REPLACE` makes the rows of a group those that its newest input derives, none when it derives none. So the input's group has to
//! be known even where a `WHERE` drops every row: a `Group` step goes in front of the first step that can drop or multiply one, and the
//! dropping steps behind it tell the sink. The columns of `PER` are followed backwards through the projections between.
//!
//! `DEDUP` drops repeats and older copies, which are no newer input: it leaves the group as it is. So does a dead letter.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, VisitMut, VisitorMut};
use syncline_functions::Planner;
use syncline_syntax::Diagnostic;

use crate::{
    check::place_of,
    expression::column_sql,
    hidden::reads,
    message::rows as say,
    plan::{Column, FieldPlan, JoinPlan, SinkPlan, SourcePlan, Step, StepKind, Violation, WritePlan},
};

/// Puts a `Group` step into every flow that ends in a `REPLACE`.
pub(crate) fn carry(flow: &mut Vec<Step>, first: &Step, prefix: &str, planner: &Planner, said: &mut Vec<Diagnostic>) {
    for index in 0..flow.len() {
        let (earlier, later) = flow.split_at_mut(index);
        let before = earlier.last().unwrap_or(first);
        let Step { id, kind, .. } = &mut later[0];
        match kind {
            StepKind::Tee { flow } => carry(flow, before, &format!("{id}/"), planner, said),
            StepKind::Fork { flows } => {
                for (at, flow) in flows.iter_mut().enumerate() {
                    carry(flow, before, &format!("{id}/{}/", at + 1), planner, said);
                }
            }
            StepKind::Union { arms } => {
                for (at, arm) in arms.iter_mut().enumerate() {
                    let before = Step { columns: columns_of(&arm.source), open: None, ..before.clone() };
                    carry(&mut arm.flow, &before, &format!("{id}/{}/", at + 1), planner, said);
                }
            }
            StepKind::Arms { arms, .. } => {
                for arm in arms {
                    carry(&mut arm.flow, before, &format!("{prefix}{}/", arm.name), planner, said);
                }
            }
            _ => {}
        }
    }
    let Some(Step { kind: StepKind::Sink(SinkPlan { write: WritePlan::Replace { per, .. }, .. }), .. }) = flow.last()
    else {
        return;
    };
    let names = per.clone();
    let per: Vec<String> = per.iter().map(|name| column_sql(planner, name)).collect();
    // What an AGGREGATE or a JOIN of two sources puts out are its own rows: what was dropped before it is none of them.
    // A group is known from where all rows have come together, and from where all of its columns are there.
    let together = flow
        .iter()
        .rposition(|step| {
            matches!(
                step.kind,
                StepKind::Union { .. } | StepKind::Aggregate { .. } | StepKind::Join(JoinPlan { bound: Some(_), .. })
            )
        })
        .map_or(0, |at| at + 1);
    let known = |place: usize| {
        let before = if place == 0 { first } else { &flow[place - 1] };
        let sql = per.iter().map(|sql| followed(sql.clone(), &flow[place..], planner));
        let mut names = sql.flat_map(|sql| reads(&sql, planner));
        names.all(|name| before.columns.iter().any(|column| column.name == name))
    };
    let dropping = flow.iter().enumerate().filter(|(at, step)| *at >= together && drops(&step.kind)).map(|(at, _)| at);
    said.extend(names.iter().zip(&per).filter_map(|(name, sql)| too_late(name, sql, &flow[together..], planner)));
    let place = dropping.into_iter().find(|place| known(*place)).unwrap_or(flow.len() - 1);
    let per = per.into_iter().map(|sql| followed(sql, &flow[place..], planner)).collect();
    for step in &mut flow[place..] {
        match &mut step.kind {
            StepKind::Where { groups, .. } | StepKind::Unnest { groups, .. } => *groups = true,
            StepKind::Expect { groups, violation: Violation::Drop, .. } => *groups = true,
            StepKind::Join(JoinPlan { groups, left: false, bound: None, .. }) => *groups = true,
            _ => {}
        }
    }
    let before = if place == 0 { first } else { &flow[place - 1] };
    let (columns, open) = (before.columns.clone(), before.open.clone());
    let span = flow[place].span;
    let mut id = format!("{prefix}group");
    while flow.iter().any(|step| step.id == id) {
        id.push('_');
    }
    flow.insert(place, Step { id, span, kind: StepKind::Group { per }, columns, open });
}

/// A step that can filter a row, so that nothing is derived from it.
fn drops(kind: &StepKind) -> bool {
    matches!(
        kind,
        StepKind::Where { .. }
            | StepKind::Unnest { .. }
            | StepKind::Expect { violation: Violation::Drop, .. }
            | StepKind::Join(JoinPlan { left: false, bound: None, .. })
    )
}

/// What a further source has, as a step before the first would leave it.
fn columns_of(source: &SourcePlan) -> Vec<Column> {
    let column = |field: &FieldPlan| Column { name: field.name.clone(), kind: field.kind.clone(), visible: true };
    source.fields.iter().map(column).collect()
}

/// The group's key has to be there before its rows are made of arrays.
fn too_late(name: &str, sql: &str, steps: &[Step], planner: &Planner) -> Option<Diagnostic> {
    let read = reads(&followed(sql.to_owned(), steps, planner), planner);
    let unnest = steps.iter().find(|step| match &step.kind {
        StepKind::Unnest { arrays, .. } => arrays.iter().any(|(made, _)| read.contains(made)),
        _ => false,
    })?;
    Some(say::group_too_late(place_of(steps.last()?), place_of(unnest), name))
}

/// An expression over the columns after some steps, as one over the columns before them.
fn followed(sql: String, steps: &[Step], planner: &Planner) -> String {
    let Ok(mut ast) = planner.parse(&sql) else { return sql };
    for step in steps.iter().rev() {
        if let StepKind::Project { columns, .. } = &step.kind {
            let _ = ast.visit(&mut Substitute { columns, planner });
        }
    }
    ast.to_string()
}

struct Substitute<'a> {
    columns: &'a [(String, String)],
    planner: &'a Planner,
}

impl VisitorMut for Substitute<'_> {
    type Break = ();

    /// After its parts: what is put in is not looked at again.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && let Some((_, sql)) = self.columns.iter().find(|(column, _)| *column == name.value)
            && let Ok(made) = self.planner.parse(sql)
        {
            *expr = match made {
                Expr::Identifier(_) | Expr::Value(_) | Expr::Function(_) | Expr::CompoundFieldAccess { .. } => made,
                other => Expr::Nested(Box::new(other)),
            };
        }
        ControlFlow::Continue(())
    }
}
