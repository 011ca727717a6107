//! DEDUP and SHARD: the steps that look at a key.

use syncline_functions::{is_json, sql_type_of};
use syncline_syntax::{Span, ast};

use super::{ArmOf, Branch, Made};
use crate::{
    duration,
    expression::{Reading, column_sql},
    message::{names as say_names, source_key as say_key, steps as say, values as say_values},
    plan::{Arm, Keep, StepKind},
    scope::{Scope, ScopeColumn, same_name},
    types::{DERIVED_ID, RECORD_TIME, TIMESTAMP},
    walk::Walk,
};

/// Most lanes of a SHARD: each is a thread's worth of order to keep and, in a topic, a partition.
const MOST_LANES: u64 = 10_000;

impl Walk<'_> {
    pub(super) fn dedup(&mut self, step: &ast::Step, dedup: &ast::Dedup, scope: &mut Scope, branch: &Branch) -> Made {
        if let Some(strategy) = &dedup.using {
            self.say(say::using(strategy.span));
        }
        if let Some(key) = scope.keyed {
            self.say(say_key::dedup_of_deletes(step.keyword, key));
        }
        let by = self.keys(&dedup.by, scope);
        let within = dedup.within.as_ref().and_then(|written| self.length(written));
        let keep = match &dedup.keep {
            Some(ast::Keep { which: ast::KeepWhich::Last, .. }) => Keep::Last,
            _ => Keep::First,
        };
        let mut order_by = None;
        let mut compiled = by.is_some();
        if let Some(ast::Keep { by: Some(order), span, which }) = &dedup.keep {
            if *which == ast::KeepWhich::First {
                self.say(say::keep_first_by(*span));
            } else {
                order_by = self.ordered(order, scope, "KEEP LAST BY");
                compiled &= order_by.is_some();
            }
        }
        if dedup.within.is_none()
            && let Some(source) = self.endless
        {
            let end = dedup.by.last().map_or(step.keyword.end, |last| last.span.end);
            let keys: Vec<&str> = dedup.by.iter().map(|key| key.text.as_str()).collect();
            self.say(say::endless_state(Span::new(step.span.start, end), source, &keys));
        }
        // What came last is what has the latest record time, and of equals the later one.
        if keep == Keep::Last && dedup.keep.as_ref().is_some_and(|keep| keep.by.is_none()) {
            order_by = self.record_time(step, scope);
        }
        let content = by.as_ref().is_some_and(Vec::is_empty) || keep == Keep::Last;
        if content {
            self.takes_whole_records(scope);
        }
        let id = self.id(&branch.prefix, "dedup");
        let content = by.as_ref().is_some_and(Vec::is_empty);
        match by.map(|by| if content { self.content(scope) } else { by }) {
            Some(by) if compiled => Made::step(StepKind::Dedup { by, content, within, keep, order_by }, id),
            _ => Made::Nothing,
        }
    }

    /// The column that a `SCHEMA` watermarks, while it is there; else `_timestamp`.
    fn record_time(&mut self, step: &ast::Step, scope: &mut Scope) -> Option<String> {
        let declared = self.event_time.as_ref().and_then(|name| {
            let column = scope.columns.iter().find(|column| column.name() == name)?;
            (*column.field.data_type() == TIMESTAMP).then(|| name.clone())
        });
        let column = match declared {
            Some(column) => column,
            None => self.column(RECORD_TIME, step.keyword, scope)?,
        };
        Some(column_sql(self.world.planner, &column))
    }

    /// The content of a record whose columns are known: all of them. Of an open record it is the record itself.
    pub(super) fn content(&self, scope: &Scope) -> Vec<String> {
        let columns = scope.visible().filter(|_| scope.open.is_none());
        columns.map(|column| column_sql(self.world.planner, column.name())).collect()
    }

    /// The SQL of each key; `None` when one of them did not compile.
    fn keys(&mut self, written: &[ast::SqlExpr], scope: &mut Scope) -> Option<Vec<String>> {
        let readings: Vec<Option<Reading>> = written.iter().map(|key| self.read(key, scope)).collect();
        readings.into_iter().map(|reading| reading.map(|reading| reading.sql)).collect()
    }

    /// An expression whose values have an order. JSON has none: `10` and `"9"` are in no order that both sides agree on.
    pub(super) fn ordered(&mut self, written: &ast::SqlExpr, scope: &mut Scope, place: &str) -> Option<String> {
        let reading = self.read(written, scope)?;
        let field = reading.typed.field();
        if is_json(field) || field.data_type().is_nested() {
            self.say(say::no_order(written.span, place, &written.text, &sql_type_of(field)));
            return None;
        }
        Some(reading.sql)
    }

    /// A length of time that is more than nothing.
    fn length(&mut self, written: &ast::Duration) -> Option<u64> {
        match duration::microseconds(&written.text) {
            Ok(0) => self.say(say_values::no_length(written.span)),
            Ok(micros) => return Some(micros),
            Err(why) => self.say(say_values::not_a_duration(written.span, &why)),
        }
        None
    }

    pub(super) fn shard(&mut self, step: &ast::Step, shard: &ast::Shard, scope: &mut Scope, branch: &Branch) -> Made {
        let by = self.keys(&shard.by, scope);
        self.known_of_deletes(by.as_deref().unwrap_or_default(), step.keyword, "SHARD BY", scope);
        let id = self.id(&branch.prefix, "shard");
        match &shard.into {
            ast::ShardInto::Lanes(count) => {
                if count.value == 0 || count.value > MOST_LANES {
                    self.say(say::lanes(count.span, MOST_LANES));
                    return Made::Nothing;
                }
                match by {
                    Some(by) => Made::step(StepKind::Lanes { by, lanes: count.value as u32 }, id),
                    None => Made::Nothing,
                }
            }
            ast::ShardInto::Arms(arms) => {
                self.roles(step, arms);
                let (made, delete_when) = self.arms(arms, scope, branch);
                match by {
                    Some(by) => Made::step(StepKind::Arms { by, delete_when, arms: made }, id),
                    None => Made::Lost,
                }
            }
        }
    }

    /// One PRIMARY, and every arm a name of its own.
    fn roles(&mut self, step: &ast::Step, arms: &[ast::Arm]) {
        let primary: Vec<&ast::Arm> = arms.iter().filter(|arm| arm.role == ast::ArmRole::Primary).collect();
        match primary.as_slice() {
            [] => self.say(say::no_primary(step.keyword, arms)),
            [_] => {}
            [first, others @ ..] => {
                for other in others {
                    self.say(say::second_primary(&other.name, &first.name));
                }
            }
        }
        for (index, arm) in arms.iter().enumerate() {
            if let Some(first) = arms[..index].iter().find(|earlier| same_name(&earlier.name.text, &arm.name.text)) {
                self.say(say_names::declared_twice("arm", &arm.name, &first.name));
            }
        }
    }

    fn arms(&mut self, arms: &[ast::Arm], scope: &Scope, branch: &Branch) -> (Vec<Arm>, Option<String>) {
        let mut delete_when = None;
        let mut made = Vec::new();
        for arm in arms {
            let primary = arm.role == ast::ArmRole::Primary;
            let mut inside = scope.clone();
            inside.columns.push(ScopeColumn::hidden(crate::types::metadata_field(DERIVED_ID)));
            let of = ArmOf { name: arm.name.text.clone(), primary, at_shard: scope.clone(), delete_when: None };
            let mut inner = Branch { prefix: format!("{}{}/", branch.prefix, arm.name.text), arm: Some(of) };
            let flow = self.flow(&arm.flow.steps, inside, &mut inner, arm.flow.span);
            delete_when = delete_when.or(inner.arm.and_then(|arm| arm.delete_when));
            // `ids` is known once it is known which hidden columns are read: see `hidden`.
            made.push(Arm { name: arm.name.text.clone(), primary, ids: false, flow });
        }
        (made, delete_when)
    }
}
