//! AGGREGATE … GROUP BY: from rows to a row for each group.
//!
//! An item is an expression over calls of aggregates and keys. The calls are taken out of it, so that the step computes them for
//! whole batches, and what is left is computed from their answers. A window is one of the keys: `tumble`, `hop` or `session`.

mod item;
mod window;

use datafusion::common::DFSchema;
use syncline_functions::{Aggregates, Call};
use syncline_syntax::ast;

use super::{Branch, Made};
use crate::{
    expression::{Reading, column_sql, printed, typed_name},
    message::{
        aggregate::{self as say, GroupBy},
        names as say_names,
    },
    plan::{StepKind, WindowKind, WindowPlan},
    scope::{Scope, ScopeColumn, output_field},
    walk::Walk,
};

/// A key: a column of what comes out.
struct Key {
    name: String,
    reading: Option<Reading>,
    /// The resolved text, by which an item names it.
    written: String,
    window: Option<WindowPlan>,
}

/// A call that is taken out of the items, and the column of its answers.
struct CallColumn {
    name: String,
    sql: String,
    call: Call,
}

impl Walk<'_> {
    pub(super) fn aggregate(
        &mut self,
        step: &ast::Step,
        aggregate: &ast::Aggregate,
        scope: &mut Scope,
        branch: &Branch,
    ) -> Made {
        let keys = self.group_keys(aggregate, scope);
        let mut calls: Vec<CallColumn> = Vec::new();
        let group_by = match (aggregate.group_by.last(), aggregate.items.last()) {
            (Some(key), _) => GroupBy { end: key.span.end, there: true },
            (None, item) => GroupBy { end: item.map_or(step.span.end, |item| item.span.end), there: false },
        };
        let items = aggregate.items.iter();
        let items: Vec<_> =
            items.map(|item| self.item(&item.expr, scope, (keys.as_deref(), group_by), &mut calls)).collect();
        let id = self.id(&branch.prefix, "aggregate");
        let window = keys.iter().flatten().find_map(|key| key.window.clone());
        if keys.is_some()
            && window.is_none()
            && let Some(source) = self.endless
        {
            let time = self.event_time.clone().unwrap_or_else(|| "_timestamp".to_owned());
            self.say(say::needs_window(step.span, source, &time, aggregate.group_by.first().map(|key| key.span)));
        }
        let (Some(keys), false) = (keys, items.iter().any(Option::is_none)) else { return Made::Lost };
        let Some(after) = answers(&keys, &calls) else { return Made::Lost };
        let mut outputs: Vec<(ScopeColumn, String)> =
            keys.iter().map(|key| (key.column(), column_sql(self.world.planner, &key.name))).collect();
        for (item, made) in aggregate.items.iter().zip(items.into_iter().flatten()) {
            let Some((sql, typed)) = self.item_typed(&item.expr, &made, &after) else { return Made::Lost };
            let name =
                item.name.as_ref().map_or_else(|| typed_name(&made, &item.expr, scope), |name| name.text.clone());
            let place = item.name.as_ref().map_or(item.span, |name| name.span);
            if let Some(taken) = say_names::reserved(place, &name) {
                self.say(taken);
                return Made::Lost;
            }
            if outputs.iter().any(|(column, _)| column.name() == name) {
                self.say(say_names::column_twice(place, &name, None));
                return Made::Lost;
            }
            outputs.push((ScopeColumn::visible(output_field(&name, typed.field())), sql));
        }
        self.leave(scope, step, window.as_ref(), &outputs);
        let columns = self.results(&keys, &mut calls, outputs);
        let kind = StepKind::Aggregate {
            keys: keys
                .into_iter()
                .map(|key| (key.name, key.reading.map(|reading| reading.sql).unwrap_or_default()))
                .collect(),
            window,
            calls: calls.into_iter().map(|call| (call.name, call.sql)).collect(),
            columns,
        };
        Made::step(kind, id)
    }

    /// The columns after the step. Those before it, metadata too, end here.
    fn leave(
        &self,
        scope: &mut Scope,
        step: &ast::Step,
        window: Option<&WindowPlan>,
        outputs: &[(ScopeColumn, String)],
    ) {
        let alias = scope.alias.take().map(|alias| (alias, step.span)).or(scope.ended_alias.take());
        *scope = Scope {
            columns: outputs.iter().map(|(column, _)| column.clone()).collect(),
            ended_alias: alias,
            // A session goes out long after its time, so no window can wait for it.
            marked: window
                .is_some_and(|window| window.by_record_time && !matches!(window.kind, WindowKind::Session { .. })),
            ..Scope::default()
        };
    }

    /// What is computed from the answers; nothing, where the answers are what comes out.
    fn results(
        &self,
        keys: &[Key],
        calls: &mut [CallColumn],
        outputs: Vec<(ScopeColumn, String)>,
    ) -> Vec<(String, String)> {
        let planner = self.world.planner;
        let columns: Vec<(String, String)> =
            outputs.into_iter().map(|(column, sql)| (column.name().to_owned(), sql)).collect();
        let items = &columns[keys.len()..];
        let plain = items.len() == calls.len()
            && items.iter().zip(calls.iter()).all(|((_, sql), call)| *sql == column_sql(planner, &call.name));
        if !plain {
            return columns;
        }
        for (call, (name, _)) in calls.iter_mut().zip(items) {
            call.name = name.clone();
        }
        Vec::new()
    }

    fn item_typed(
        &mut self,
        written: &ast::SqlExpr,
        made: &sqlparser::ast::Expr,
        after: &DFSchema,
    ) -> Option<(String, syncline_functions::Typed)> {
        let planner = self.world.planner;
        let Some((sql, read)) = printed(planner, made) else {
            self.say(crate::message::expressions::not_read_back(written.span));
            return None;
        };
        match planner.expr(&read, after) {
            Ok(typed) => Some((sql, typed)),
            Err(error) => {
                self.refuse(error, written, made, after);
                None
            }
        }
    }
}

/// The columns that the results are computed from.
fn answers(keys: &[Key], calls: &[CallColumn]) -> Option<DFSchema> {
    let mut fields: Vec<_> = keys.iter().map(Key::field).collect();
    let calls: Vec<(String, Call)> = calls.iter().map(|call| (call.name.clone(), call.call.clone())).collect();
    let answers = Aggregates::new(Vec::new(), &calls).ok()?.schema();
    fields.extend(answers.fields().iter().map(|field| field.as_ref().clone()));
    DFSchema::from_unqualified_fields(fields.into(), Default::default()).ok()
}

impl Key {
    /// A window goes out as a record whose time is the last instant of it.
    fn column(&self) -> ScopeColumn {
        let time = self.window.as_ref().filter(|window| window.by_record_time).and_then(|window| match window.kind {
            WindowKind::Tumble { size } | WindowKind::Hop { size, .. } => Some(size - 1),
            WindowKind::Session { .. } => None,
        });
        ScopeColumn { time, ..ScopeColumn::visible(self.field()) }
    }

    fn field(&self) -> datafusion::arrow::datatypes::Field {
        use datafusion::arrow::datatypes::Field;
        match &self.reading {
            Some(reading) => output_field(&self.name, reading.typed.field()),
            None => Field::new(&self.name, crate::types::TIMESTAMP, true),
        }
    }
}
