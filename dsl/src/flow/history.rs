//! `FROM history(…) THEN source`: what happened before is read to its end, then the source goes on. `FROM history(…) BESIDE source`: the
//! source goes on meanwhile.
//!
//! For the steps behind it this is one flow: the columns are those of the source, and the history gives each of them, by its name. A history
//! that is only a place has the source's `SCHEMA`, so that the same records become the same rows.

use syncline_syntax::ast;

use super::{Branch, finished};
use crate::{
    message::history as say,
    plan::{Beside, Step, StepKind, UnionArm},
    scope::{Scope, same_name},
    walk::Walk,
};

/// What a history that is read beside the source may take of the time, in hundredths, when nobody says another share.
const SHARE: u8 = 25;

impl Walk<'_> {
    pub(super) fn histories(&mut self, flow: &ast::Flow, scope: &mut Scope, branch: &Branch) -> Vec<Step> {
        for beside in [false, true] {
            if let Some(second) = flow.history.iter().filter(|one| one.beside == beside).nth(1) {
                self.say(say::two(second.span));
            }
        }
        flow.history.iter().filter_map(|history| self.history(flow, history, scope, branch)).collect()
    }

    fn history(
        &mut self,
        flow: &ast::Flow,
        history: &ast::History,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Option<Step> {
        let id = self.id(&branch.prefix, if history.beside { "backfill" } else { "history" });
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
        if history.beside && arm.flow.iter().any(keeps) {
            self.say(say::keeps(history.span));
        }
        if scope.open.is_none() {
            self.only_own(&before, &mut arm, scope, history);
        }
        let beside = history.beside.then_some(Beside { number: 0, share: SHARE });
        let arms = vec![UnionArm { history: !history.beside, beside, ..arm }];
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

/// A step that remembers rows: its state would have to go when the backfill is over.
fn keeps(step: &Step) -> bool {
    use StepKind::{Aggregate, Dedup, Limit, Sort};
    match &step.kind {
        Aggregate { .. } | Dedup { .. } | Limit { .. } | Sort { .. } => true,
        StepKind::Join(join) => join.bound.is_some(),
        StepKind::Union { arms } => arms.iter().any(|arm| arm.flow.iter().any(keeps)),
        _ => false,
    }
}

/// A column that is no part of the scope.
fn is_beside(name: &str, scope: &Scope) -> bool {
    !scope.columns.iter().any(|column| column.name() == name)
}
