//! `FROM history(…) THEN source`: what happened before is read to its end, then the source goes on.
//!
//! For the steps behind it this is one flow: the columns are those of the source, and the history gives each of them, by its name. A history
//! that is only a place has the source's `SCHEMA`, so that the same records become the same rows.

use syncline_syntax::ast;

use super::{Branch, finished};
use crate::{
    message::history as say,
    plan::{Step, StepKind, UnionArm},
    scope::{Scope, same_name},
    walk::Walk,
};

impl Walk<'_> {
    pub(super) fn history(&mut self, flow: &ast::Flow, scope: &mut Scope, branch: &Branch) -> Option<Step> {
        let history = flow.history.as_ref()?;
        let id = self.id(&branch.prefix, "history");
        let mut past = (*history.flow).clone();
        if past.steps.is_empty() && past.more.is_empty() && past.source.schema.is_none() {
            past.source.schema.clone_from(&flow.source.schema);
        }
        let before: Vec<String> = scope.visible().map(|column| column.name().to_owned()).collect();
        let endless = self.endless.take();
        let arm = self.union_arm(&past, true, &format!("{id}/"), scope);
        if let Some(span) = std::mem::replace(&mut self.endless, endless) {
            self.say(say::never_ends(span));
        }
        let Some(mut arm) = arm else {
            scope.lost = true;
            return None;
        };
        if scope.open.is_none() {
            self.only_own(&before, &mut arm, scope, history);
        }
        let arms = vec![UnionArm { history: true, ..arm }];
        Some(finished(StepKind::Union { arms }, id, history.span, scope))
    }

    /// The columns are those of the source: what the history has beside them is not read, and what it lacks is told.
    fn only_own(&mut self, own: &[String], arm: &mut UnionArm, scope: &mut Scope, history: &ast::History) {
        let is_own = |name: &str| own.iter().any(|own| same_name(own, name));
        scope.columns.retain(|column| !column.visible || is_own(column.name()));
        let visible = |name: &str| scope.visible().any(|column| column.name() == name);
        arm.columns.retain(|(name, _)| visible(name) || !is_beside(name, scope));
        let lacking = |(name, sql): &&(String, String)| is_own(name) && sql.starts_with("CAST(NULL AS ");
        let lacking: Vec<(String, String)> = arm.columns.iter().filter(lacking).cloned().collect();
        if !lacking.is_empty() {
            self.say(say::lacks(history.span, &lacking));
        }
    }
}

/// A column that is no part of the scope.
fn is_beside(name: &str, scope: &Scope) -> bool {
    !scope.columns.iter().any(|column| column.name() == name)
}
