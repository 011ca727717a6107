//! REPLACE … PER: the key of a group, computed before any row could be dropped.
//!
//! `REPLACE` makes the rows of a group those that its newest input derives, none when it derives none. So the input's group has to
//! be known even where a `WHERE` drops every row: a `Group` step goes in front of the first step that can drop one, and the
//! dropping steps behind it tell the sink. The columns of `PER` are followed backwards through the projections between.
//!
//! `DEDUP` drops repeats and older copies, which are no newer input: it leaves the group as it is. So does a dead letter.

use std::ops::ControlFlow;

use sqlparser::ast::{Expr, VisitMut, VisitorMut};
use syncline_functions::Planner;

use crate::{
    expression::column_sql,
    plan::{SinkPlan, Step, StepKind, Violation, WritePlan},
};

/// Puts a `Group` step into every flow that ends in a `REPLACE`.
pub(crate) fn carry(flow: &mut Vec<Step>, first: &Step, prefix: &str, planner: &Planner) {
    for index in 0..flow.len() {
        let (earlier, later) = flow.split_at_mut(index);
        let before = earlier.last().unwrap_or(first);
        let Step { id, kind, .. } = &mut later[0];
        match kind {
            StepKind::Tee { flow } => carry(flow, before, &format!("{id}/"), planner),
            StepKind::Arms { arms, .. } => {
                for arm in arms {
                    carry(&mut arm.flow, before, &format!("{prefix}{}/", arm.name), planner);
                }
            }
            _ => {}
        }
    }
    let Some(Step { kind: StepKind::Sink(SinkPlan { write: WritePlan::Replace { per, .. }, .. }), .. }) = flow.last()
    else {
        return;
    };
    let per: Vec<String> = per.iter().map(|name| column_sql(planner, name)).collect();
    let place = flow.iter().position(|step| drops(&step.kind)).unwrap_or(flow.len() - 1);
    let per = per.into_iter().map(|sql| followed(sql, &flow[place..], planner)).collect();
    for step in &mut flow[place..] {
        match &mut step.kind {
            StepKind::Where { groups, .. } => *groups = true,
            StepKind::Expect { groups, violation: Violation::Drop, .. } => *groups = true,
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
    matches!(kind, StepKind::Where { .. } | StepKind::Expect { violation: Violation::Drop, .. })
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
