//! UNNEST, ORDER BY, LIMIT, DISTINCT: the steps after which there are other rows, or as many others.

use sqlparser::ast::{Expr, Value as SqlValue};
use syncline_syntax::{Span, ast};

use super::{Branch, Made, finished};
use crate::{
    expression::Arrays,
    message::{rows as say, source_key as say_key},
    plan::{Keep, SortKey, Step, StepKind},
    scope::Scope,
    walk::Walk,
};

impl Walk<'_> {
    /// The step that takes arrays apart, in front of the list that reads their elements.
    pub(super) fn unnest(&mut self, step: &ast::Step, arrays: Arrays, scope: &mut Scope, branch: &Branch) {
        if arrays.is_empty() {
            return;
        }
        let id = self.id(&branch.prefix, "unnest");
        let made: Vec<String> = arrays.iter().map(|(name, _)| name.clone()).collect();
        let kind = StepKind::Unnest { arrays, groups: false };
        self.before.push(finished(kind, id, step.span, scope));
        scope.columns.retain(|column| !made.iter().any(|name| name == column.name()));
    }

    /// `SELECT DISTINCT` drops rows that an earlier one was equal to, like `DEDUP` by all columns.
    pub(super) fn distinct(
        &mut self,
        step: &ast::Step,
        distinct: Span,
        select: Made,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        if let Some(source) = self.endless {
            self.say(say::distinct_endless(distinct, step.span, source));
        }
        if scope.open.as_ref().is_some_and(|open| !open.dropped.is_empty() || !open.set.is_empty()) {
            self.say(say::distinct_open(distinct));
        }
        if let Some(key) = scope.keyed {
            self.say(say_key::dedup_of_deletes(distinct, key));
        }
        let Made::Step(kind, id) = select else { return select };
        self.before.push(finished(*kind, id, step.span, scope));
        self.takes_whole_records(scope);
        let by = self.content(scope);
        let id = self.id(&branch.prefix, "distinct");
        Made::step(StepKind::Dedup { by, content: true, within: None, keep: Keep::First, order_by: None }, id)
    }

    pub(super) fn order_by(
        &mut self,
        step: &ast::Step,
        items: &[ast::OrderItem],
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        self.needs_an_end(step, "ORDER BY");
        let mut keys = Vec::new();
        for item in items {
            let sql = self.ordered(&item.expr, scope, "ORDER BY");
            let descending = item.descending.unwrap_or(false);
            // As PostgreSQL sorts: NULL is larger than any value.
            let nulls_first = item.nulls_first.unwrap_or(descending);
            keys.extend(sql.map(|sql| SortKey { sql, descending, nulls_first }));
        }
        scope.ordered = self.endless.is_none();
        let id = self.id(&branch.prefix, "order_by");
        match keys.len() == items.len() {
            true => Made::step(StepKind::Sort { keys, most: None }, id),
            false => Made::Nothing,
        }
    }

    pub(super) fn limit(
        &mut self,
        step: &ast::Step,
        count: &ast::SqlExpr,
        offset: Option<&ast::SqlExpr>,
        branch: &Branch,
    ) -> Made {
        self.needs_an_end(step, "LIMIT");
        let count = self.whole_number(count, "LIMIT");
        let offset = offset.map_or(Some(0), |offset| self.whole_number(offset, "OFFSET"));
        let id = self.id(&branch.prefix, "limit");
        match (count, offset) {
            (Some(count), Some(offset)) => Made::step(StepKind::Limit { count, offset }, id),
            _ => Made::Nothing,
        }
    }

    /// An `ORDER BY` waits for the end of all sources, those too that a `UNION` behind it or around it brings in.
    pub(super) fn orders_end(&mut self, flow: &[Step]) {
        fn orders(flow: &[Step], found: &mut Vec<Span>) {
            for step in flow {
                match &step.kind {
                    StepKind::Sort { .. } => found.push(Span::new(step.span.0, step.span.1)),
                    StepKind::Tee { flow } => orders(flow, found),
                    StepKind::Union { arms } => {
                        arms.iter().filter(|arm| !arm.source.endless).for_each(|arm| orders(&arm.flow, found));
                    }
                    _ => {}
                }
            }
        }
        let (Some(Step { kind: StepKind::Union { .. }, .. }), Some(source)) = (flow.last(), self.endless) else {
            return;
        };
        let mut found = Vec::new();
        orders(flow, &mut found);
        for order in found {
            let said = say::needs_an_end(order, source, "ORDER BY");
            if !self.said.contains(&said) {
                self.say(said);
            }
        }
    }

    fn needs_an_end(&mut self, step: &ast::Step, word: &str) {
        if let Some(source) = self.endless {
            self.say(say::needs_an_end(step.keyword, source, word));
        }
    }

    fn whole_number(&mut self, written: &ast::SqlExpr, word: &str) -> Option<u64> {
        let named = match &written.ast {
            Expr::Identifier(name) => self.world.names.value(&name.value).map(|value| &value.value.ast),
            _ => None,
        };
        let number = match named.unwrap_or(&written.ast) {
            Expr::Value(value) => match &value.value {
                SqlValue::Number(number, _) => number.to_string().parse().ok(),
                _ => None,
            },
            _ => None,
        };
        if number.is_none() {
            self.say(say::whole_number(written.span, word));
        }
        number
    }
}

/// An `ORDER BY` keeps no more rows than the `LIMIT` right behind it takes.
pub(crate) fn keep_what_is_taken(flow: &mut [Step]) {
    for index in 0..flow.len() {
        let (here, behind) = flow.split_at_mut(index + 1);
        match (&mut here[index].kind, behind.first().map(|step| &step.kind)) {
            (StepKind::Sort { most, .. }, Some(StepKind::Limit { count, offset })) => {
                *most = Some(count.saturating_add(*offset));
            }
            (StepKind::Tee { flow }, _) => keep_what_is_taken(flow),
            (StepKind::Fork { flows }, _) => flows.iter_mut().for_each(|flow| keep_what_is_taken(flow)),
            (StepKind::Union { arms }, _) => arms.iter_mut().for_each(|arm| keep_what_is_taken(&mut arm.flow)),
            (StepKind::Arms { arms, .. }, _) => arms.iter_mut().for_each(|arm| keep_what_is_taken(&mut arm.flow)),
            _ => {}
        }
    }
}
