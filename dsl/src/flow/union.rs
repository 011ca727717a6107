//! UNION ALL: the rows of other sources come into the flow here.
//!
//! Columns are put together by position, as in SQL: the names and the number are those before the UNION. Or `BY NAME`, and columns that
//! only later flows have are behind the others. Whole records are put together as they are. Types are never changed on the way: a column has one type on all sides, or a `CAST` says which.

use syncline_syntax::{Span, ast};

use super::{Branch, Made, ends_a_flow};
use crate::{
    expression::column_sql,
    message::{history as say_history, rows as say_rows, steps as say},
    plan::{StepKind, TypePlan, UnionArm},
    scope::{Scope, ScopeColumn, same_name},
    walk::Walk,
};

impl Walk<'_> {
    pub(super) fn union(&mut self, union: &ast::Union, scope: &mut Scope, branch: &Branch) -> Made {
        if let Some(span) = union.distinct {
            self.say(say::union_distinct(span));
        }
        let id = self.id(&branch.prefix, "union");
        let by_name = union.by_name.is_some();
        let mut arms = Vec::new();
        let mut whole = true;
        for (index, flow) in union.flows.iter().enumerate() {
            match self.union_arm(flow, by_name, &format!("{id}/{}/", index + 1), scope) {
                Some(arm) => arms.push(arm),
                None => whole = false,
            }
        }
        // What tells records apart does not outlive the one source that has it.
        let kept = |column: &ScopeColumn| {
            column.visible
                || arms.iter().all(|arm: &UnionArm| arm.columns.iter().any(|(name, _)| name == column.name()))
        };
        scope.columns.retain(kept);
        scope.tables.clear();
        if whole { Made::step(StepKind::Union { arms }, id) } else { Made::Lost }
    }

    pub(super) fn union_arm(
        &mut self,
        flow: &ast::Flow,
        by_name: bool,
        prefix: &str,
        scope: &mut Scope,
    ) -> Option<UnionArm> {
        if let Some(history) = flow.history.first() {
            self.say(say_history::not_here(history.span));
        }
        let outside = (self.endless.take(), self.event_time.take());
        let (source, mut inner) = self.intake(&flow.source);
        self.endless = source.endless;
        self.event_time = source.event_time.as_ref().map(|event| event.column.clone());
        let intake = source.intake;
        let mut branch = Branch { prefix: prefix.to_owned(), arm: None };
        let mut steps = self.sources_joined(&flow.more, &mut inner, &mut branch);
        steps.extend(self.steps(&flow.steps, &mut inner, &mut branch));
        self.endless = outside.0.or(self.endless.take());
        self.event_time = outside.1;
        let end = flow.steps.last().map_or(flow.source.span, |last| last.span);
        if flow.steps.last().is_some_and(ends_a_flow) {
            self.say(say::sink_in_union(end));
            return None;
        }
        let plan = self.source_plan(source, Vec::new());
        if scope.lost || inner.lost {
            self.broken |= plan.is_none();
            return None;
        }
        let columns = self.union_columns(by_name, end, scope, &mut inner)?;
        scope.ordered |= inner.ordered;
        scope.marked &= inner.marked;
        for intake in inner.intakes.iter().filter(|_| inner.open.is_some()) {
            if !scope.intakes.contains(intake) {
                scope.intakes.push(*intake);
            }
        }
        Some(UnionArm { intake, source: plan?, history: false, beside: None, flow: steps, columns })
    }

    /// The columns of the union, each with the SQL that makes it of this flow's.
    fn union_columns(
        &mut self,
        by_name: bool,
        end: Span,
        scope: &mut Scope,
        inner: &mut Scope,
    ) -> Option<Vec<(String, String)>> {
        if scope.open.is_some() != inner.open.is_some() {
            self.say(say::union_open(end, inner.open.is_some()));
            return None;
        }
        if scope.open.is_some() && !same_schema(scope, inner) {
            self.say(say_rows::union_of_schemas(end));
            return None;
        }
        if let (Some(outer), Some(own)) = (&scope.open, &inner.open)
            && outer != own
        {
            self.say(say::union_changed(end));
            return None;
        }
        if scope.open.is_some() {
            self.share_fields(end, scope, inner);
        }
        let (outer, own): (Vec<ScopeColumn>, Vec<ScopeColumn>) =
            (scope.visible().cloned().collect(), inner.visible().cloned().collect());
        let by_name = by_name || scope.open.is_some();
        if !by_name && outer.len() != own.len() {
            self.say(say::union_count(end, &inner.visible_names(), &scope.visible_names()));
            return None;
        }
        let mut columns = Vec::new();
        let mut fits = true;
        let mut timeless = Vec::new();
        let mut beside = Vec::new();
        for (index, column) in outer.iter().enumerate() {
            let same = |other: &&ScopeColumn| match scope.open.is_some() {
                true => other.name() == column.name(),
                false => same_name(other.name(), column.name()),
            };
            let found = if by_name { own.iter().find(same) } else { own.get(index) };
            let kind = TypePlan::of(&column.field);
            if found.is_none_or(|found| found.time != column.time) {
                timeless.push(column.name().to_owned());
            }
            // Of a delete of the other flow it is known only where that one knows it.
            if found.map_or(inner.keyed.is_some(), |found| found.beside_key) {
                beside.push(column.name().to_owned());
            }
            let sql = match found {
                None => format!("CAST(NULL AS {})", kind.0),
                Some(found) if TypePlan::of(&found.field) == kind || found.broken || column.broken => {
                    column_sql(self.world.planner, found.name())
                }
                Some(found) => {
                    self.say(say::union_types(end, found.name(), &TypePlan::of(&found.field).0, &kind.0));
                    fits = false;
                    continue;
                }
            };
            columns.push((column.name().to_owned(), sql));
        }
        if by_name && scope.open.is_none() {
            columns.extend(self.later_columns(&outer, own, scope));
        }
        for name in hidden_of_both(scope, inner) {
            let time = |scope: &Scope| scope.columns.iter().find(|column| column.name() == name).and_then(|c| c.time);
            if time(scope) != time(inner) {
                timeless.push(name.clone());
            }
            let sql = column_sql(self.world.planner, &name);
            columns.push((name, sql));
        }
        // What is the time of the rows of one side only is nobody's time behind the union.
        let lost = |column: &&mut ScopeColumn| timeless.iter().any(|name| name == column.name());
        scope.columns.iter_mut().filter(lost).for_each(|column| column.time = None);
        let unknown = |column: &&mut ScopeColumn| beside.iter().any(|name| name == column.name());
        scope.columns.iter_mut().filter(unknown).for_each(|column| column.beside_key = true);
        scope.keyed = scope.keyed.or(inner.keyed);
        fits.then_some(columns)
    }

    /// Columns that no flow before this one has: behind the union rows of those have NULL there.
    fn later_columns(&self, outer: &[ScopeColumn], own: Vec<ScopeColumn>, scope: &mut Scope) -> Vec<(String, String)> {
        let mut columns = Vec::new();
        for column in own {
            if outer.iter().any(|known| same_name(known.name(), column.name())) {
                continue;
            }
            let name = column.name().to_owned();
            columns.push((name.clone(), column_sql(self.world.planner, &name)));
            // It takes the place of metadata of its name.
            scope.columns.retain(|hidden| hidden.name() != name);
            scope.came_back(&name);
            let beside_key = column.beside_key || scope.keyed.is_some();
            scope.columns.push(ScopeColumn { time: None, beside_key, ..column });
        }
        columns
    }

    /// A field that is read on one side of a union of whole records is taken out on the other side too.
    fn share_fields(&mut self, span: Span, scope: &mut Scope, inner: &mut Scope) {
        let missing = |of: &Scope, there: &Scope| -> Vec<String> {
            let names = of.columns.iter().filter(|column| column.undeclared).map(|column| column.name().to_owned());
            names.filter(|name| !there.columns.iter().any(|column| column.name() == name)).collect()
        };
        for name in missing(scope, inner) {
            inner.add_undeclared(&name);
            self.field_is_read(&name, span, &inner.intakes);
        }
    }
}

/// Whole records have the same declared fields, or none of them has any: a column of one side alone would be NULL for the records of
/// the other, though they may have such a field.
fn same_schema(scope: &Scope, inner: &Scope) -> bool {
    match (scope.evolves, inner.evolves) {
        (false, false) => true,
        (true, true) => scope.visible_names() == inner.visible_names(),
        _ => false,
    }
}

/// Hidden columns that every side has, tables' aside.
fn hidden_of_both(scope: &Scope, inner: &Scope) -> Vec<String> {
    let hidden = |scope: &Scope| -> Vec<String> {
        let of_table = |name: &str| scope.tables.iter().any(|table| table.bare(name).is_some());
        let columns = scope.columns.iter().filter(|column| !column.visible && !of_table(column.name()));
        columns.map(|column| column.name().to_owned()).collect()
    };
    let own = hidden(inner);
    hidden(scope).into_iter().filter(|name| own.contains(name)).collect()
}
