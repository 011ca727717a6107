//! JOIN: more columns for each row, from the rows of a table that is read whole, or of a second source that never ends; LOOKUP: from
//! the one row that has its key.
//!
//! The condition is taken apart at its ANDs: an equality of the two sides is a key by which the table is kept, the rest is judged on
//! each pair. The two sides of a key are made one type here, so that equal values are equal bytes. What two endless sides say about
//! their times is taken out of the condition first: see `bound`.

mod bound;
mod lookup;

use datafusion::arrow::datatypes::{DataType, Field};
use sqlparser::ast::{BinaryOperator, Expr, Spanned};
use syncline_functions::{is_json, sql_type, sql_type_of};
use syncline_syntax::{Span, ast};

use self::bound::Times;
use super::{Branch, Made, finished};
use crate::{
    duration,
    expression::{Reading, column_sql},
    message::{source as say_source, steps as say, streams as say_streams, values as say_values},
    plan::{JoinPlan, Step, StepKind},
    scope::{Joined, Scope, ScopeColumn},
    source::kind_span,
    walk::Walk,
};

/// What the parts of a condition came to.
#[derive(Default)]
struct Condition {
    keys: Vec<(String, String)>,
    /// The table's side of each key as it is written, without a cast.
    its: Vec<String>,
    rest: Vec<String>,
    times: Times,
    broken: bool,
}

impl Walk<'_> {
    /// `FROM a JOIN b …`: the first steps.
    pub(super) fn sources_joined(
        &mut self,
        more: &[ast::MoreSource],
        scope: &mut Scope,
        branch: &mut Branch,
    ) -> Vec<Step> {
        let mut steps = Vec::new();
        for more in more {
            match more {
                ast::MoreSource::Comma(source) => self.say(say_source::comma(source.span)),
                ast::MoreSource::Join(join) => match self.join(join, join.span, scope, branch) {
                    Made::Step(kind, id) => steps.push(finished(*kind, id, join.span, scope)),
                    Made::Nothing => {}
                    Made::Lost => scope.lost = true,
                },
            }
        }
        steps
    }

    pub(super) fn join(&mut self, join: &ast::Join, keyword: Span, scope: &mut Scope, branch: &Branch) -> Made {
        let left = match join.kind {
            ast::JoinKind::Inner => false,
            ast::JoinKind::Left | ast::JoinKind::Lookup => true,
            ast::JoinKind::Right => return self.no_such_join(keyword, "RIGHT"),
            ast::JoinKind::Full => return self.no_such_join(keyword, "FULL"),
            ast::JoinKind::Cross => return self.no_such_join(keyword, "CROSS"),
        };
        let lookup = join.kind == ast::JoinKind::Lookup;
        let id = self.id(&branch.prefix, if lookup { "lookup" } else { "join" });
        let (source, table) = if lookup { self.intake_by_key(&join.source) } else { self.intake_joined(&join.source) };
        let Some(alias) = &join.source.alias else {
            self.say(say::join_alias(kind_span(&join.source)));
            return Made::Lost;
        };
        if scope.is_alias(&alias.text) || scope.joined(&alias.text).is_some() {
            self.say(say::join_alias_twice(alias.span, &alias.text));
            return Made::Lost;
        }
        let endless = source.endless;
        if source.stream.is_some() && endless.is_none() {
            self.say(say_streams::as_table(kind_span(&join.source), kind_span(&join.source).of(self.world.source)));
            return Made::Lost;
        }
        if let (true, Some(endless)) = (lookup, endless) {
            self.say(say_source::lookup_follow(endless));
            return Made::Lost;
        }
        if let (Some(refresh), Some(_)) = (&join.source.refresh, endless) {
            self.say(say_source::refresh(refresh.span));
        }
        let refresh = if lookup { &join.source.cache } else { &join.source.refresh };
        let refresh = refresh.as_ref().and_then(|period| self.period(period));
        let intake = source.intake;
        let lost = table.lost;
        let Some(plan) = self.source_plan(source, Vec::new()) else { return Made::Lost };
        let joined = Joined { alias: alias.text.clone(), intake, open: table.open.is_some() && !table.evolves, lost };
        scope.tables.push(joined.clone());
        let columns: Vec<ScopeColumn> = (table.columns.iter())
            .filter(|column| column.visible || endless.is_some())
            .map(|column| ScopeColumn {
                visible: false,
                undeclared: false,
                time: column.time.filter(|_| endless.is_some()),
                beside_key: scope.keyed.is_some(),
                ..column.renamed(&joined.column(column.name()))
            })
            .collect();
        scope.columns.extend(columns);
        let condition = self.join_condition(join, keyword, &joined, endless.is_some(), scope);
        if condition.broken || lost {
            return Made::Lost;
        }
        let bound = match endless {
            Some(endless) => {
                let Some(bound) = self.bound(&condition.times, join, (keyword, endless), &joined, scope) else {
                    return Made::Lost;
                };
                self.endless = self.endless.or(Some(endless));
                Some(Box::new(bound))
            }
            None => None,
        };
        let asked = if lookup { Some(self.asked(join, &condition, &joined, scope)) } else { None };
        let residual = (!condition.rest.is_empty()).then(|| condition.rest.join(" AND "));
        let of_table = |column: &&ScopeColumn| joined.bare(column.name()).is_some();
        let columns = scope.columns.iter().filter(of_table).map(|column| column.name().to_owned()).collect();
        let plan = JoinPlan {
            intake,
            table: plan,
            alias: joined.alias,
            left,
            keys: condition.keys,
            residual,
            columns,
            refresh,
            lookup: asked.unwrap_or_default(),
            groups: false,
            bound,
        };
        if plan.bound.is_some() {
            bound::leave(scope);
        }
        Made::step(StepKind::Join(plan), id)
    }

    fn no_such_join(&mut self, keyword: Span, word: &str) -> Made {
        self.say(say::join_kind(keyword, word));
        // Its table was not met: what is read of it says nothing.
        Made::Lost
    }

    fn period(&mut self, written: &ast::Duration) -> Option<u64> {
        match duration::microseconds(&written.text) {
            Ok(0) => self.say(say_values::no_length(written.span)),
            Ok(micros) => return Some(micros),
            Err(why) => self.say(say_values::not_a_duration(written.span, &why)),
        }
        None
    }

    fn join_condition(
        &mut self,
        join: &ast::Join,
        keyword: Span,
        table: &Joined,
        endless: bool,
        scope: &mut Scope,
    ) -> Condition {
        let mut condition = Condition::default();
        let span = match &join.on {
            None => {
                self.say(say::join_without_condition(keyword, lookup::word_of(join)));
                condition.broken = true;
                return condition;
            }
            Some(ast::JoinOn::Using(columns)) => {
                for name in &columns.names {
                    self.using_column(name, table, scope, &mut condition);
                }
                columns.span
            }
            Some(ast::JoinOn::On(on)) => {
                let mut parts = Vec::new();
                conjuncts(&on.ast, &mut parts);
                for part in parts {
                    if endless && self.time_part(&self.part_of(part, on), table, scope, &mut condition.times) {
                        continue;
                    }
                    self.join_part(part, on, table, scope, &mut condition);
                }
                on.span
            }
        };
        if condition.keys.is_empty() && !condition.broken {
            self.say(say::join_without_key(span, &table.alias, lookup::word_of(join)));
            condition.broken = true;
        }
        condition
    }

    fn using_column(&mut self, name: &ast::Ident, table: &Joined, scope: &mut Scope, condition: &mut Condition) {
        let left = self.column(&name.text, name.span, scope);
        let right = self.joined_column(table, &name.text, name.span, scope);
        let (Some(left), Some(right)) = (left, right) else {
            condition.broken = true;
            return;
        };
        let side = |name: &str| {
            let field = scope.columns.iter().find(|column| column.name() == name).map(|column| column.field.clone());
            field.map(|field| (column_sql(self.world.planner, name), field))
        };
        let (Some(left), Some(right)) = (side(&left), side(&right)) else { return };
        self.key_pair((left.0, &left.1, name.span), (right.0, &right.1, name.span), condition);
    }

    /// One part of the condition: a key, or something to judge.
    fn join_part(
        &mut self,
        part: &Expr,
        whole: &ast::SqlExpr,
        table: &Joined,
        scope: &mut Scope,
        condition: &mut Condition,
    ) {
        if let Expr::BinaryOp { left, op: BinaryOperator::Eq, right } = part {
            let (left, right) = (self.part_of(left, whole), self.part_of(right, whole));
            let readings = (self.read(&left, scope), self.read(&right, scope));
            let (Some(one), Some(other)) = readings else {
                condition.broken = true;
                return;
            };
            let key = match (self.side_of(&one, table), self.side_of(&other, table)) {
                (Some(false), Some(true)) => Some(((one, left.span), (other, right.span))),
                (Some(true), Some(false)) => Some(((other, right.span), (one, left.span))),
                _ => None,
            };
            if let Some(((own, at), (its, there))) = key {
                self.key_pair((own.sql, own.typed.field(), at), (its.sql, its.typed.field(), there), condition);
                return;
            }
        }
        let part = self.part_of(part, whole);
        match self.condition(&part, scope, "ON") {
            Some(sql) => condition.rest.push(format!("({sql})")),
            None => condition.broken = true,
        }
    }

    fn part_of(&self, part: &Expr, whole: &ast::SqlExpr) -> ast::SqlExpr {
        let span = self.place_of(part.span(), whole.span);
        ast::SqlExpr { ast: part.clone(), span, text: span.of(self.world.source).to_owned() }
    }

    /// Whether an expression reads the table alone (`true`) or the row alone; `None` for both, and for constants.
    fn side_of(&self, reading: &Reading, table: &Joined) -> Option<bool> {
        let columns = reading.typed.columns();
        let of_table = columns.iter().filter(|column| table.bare(column).is_some()).count();
        match of_table {
            0 if columns.is_empty() => None,
            0 => Some(false),
            count if count == columns.len() => Some(true),
            _ => None,
        }
    }

    /// Two expressions as a key, made one type.
    fn key_pair(&mut self, own: (String, &Field, Span), its: (String, &Field, Span), condition: &mut Condition) {
        let kinds = (sql_type_of(own.1), sql_type_of(its.1));
        let to = |sql: String, from: &str, kind: &str| match from == kind {
            true => sql,
            // An integer that has more digits than a decimal with this scale can have is equal to none, and so NULL.
            false if kind.starts_with("DECIMAL") && digits(from).is_some() => format!("TRY_CAST({sql} AS {kind})"),
            false => format!("CAST({sql} AS {kind})"),
        };
        condition.its.push(its.0.clone());
        match common_type((own.1, &kinds.0), (its.1, &kinds.1)) {
            Some(None) => condition.keys.push((own.0, its.0)),
            Some(Some(kind)) => condition.keys.push((to(own.0, &kinds.0, &kind), to(its.0, &kinds.1, &kind))),
            None => {
                self.say(say::join_types((own.2, &kinds.0), (its.2, &kinds.1)));
                condition.broken = true;
            }
        }
    }
}

/// The type as which two values are compared; `Some(None)`: as they are. `None`: they are never equal.
fn common_type(own: (&Field, &str), its: (&Field, &str)) -> Option<Option<String>> {
    let decimal = |side: (&Field, &str)| side.1.starts_with("DECIMAL");
    let integer = |side: (&Field, &str)| side.0.data_type().is_integer();
    let float = |side: (&Field, &str)| matches!(side.1, "DOUBLE" | "REAL");
    let number = |side| decimal(side) || integer(side) || float(side);
    match (is_json(own.0), is_json(its.0)) {
        (true, true) => return Some(None),
        (true, false) => return Some(Some(its.1.to_owned())),
        (false, true) => return Some(Some(own.1.to_owned())),
        (false, false) => {}
    }
    match (own.1, its.1) {
        (one, other) if one == other => Some(None),
        _ if integer(own) && integer(its) || decimal(own) && decimal(its) => Some(None),
        _ if number(own) && number(its) && (float(own) || float(its)) => Some(Some("DOUBLE".to_owned())),
        _ if number(own) && number(its) => Some(Some(exact_type(own.0.data_type(), its.0.data_type()))),
        ("DATE", "TIMESTAMP") | ("TIMESTAMP", "DATE") => Some(Some("TIMESTAMP".to_owned())),
        _ => None,
    }
}

/// The type that has all digits of an integer and a decimal, as far as one can.
fn exact_type(own: &DataType, its: &DataType) -> String {
    let parts = |kind: &DataType| match kind {
        DataType::Decimal32(all, scale)
        | DataType::Decimal64(all, scale)
        | DataType::Decimal128(all, scale)
        | DataType::Decimal256(all, scale) => (i16::from(*all) - i16::from(*scale), i16::from(*scale)),
        integer => (digits(&sql_type(integer)).unwrap_or(MOST_DIGITS), 0),
    };
    let ((own, own_scale), (its, its_scale)) = (parts(own), parts(its));
    let scale = own_scale.max(its_scale);
    format!("DECIMAL({}, {scale})", (own.max(its) + scale).min(MOST_DIGITS))
}

/// How many a decimal can have.
const MOST_DIGITS: i16 = 38;

/// How many an integer of this type can have.
fn digits(kind: &str) -> Option<i16> {
    Some(match kind {
        "TINYINT" | "TINYINT UNSIGNED" => 3,
        "SMALLINT" | "SMALLINT UNSIGNED" => 5,
        "INT" | "INT UNSIGNED" => 10,
        "BIGINT" => 19,
        "BIGINT UNSIGNED" => 20,
        _ => return None,
    })
}

/// The parts of a condition between its ANDs.
pub(crate) fn conjuncts<'e>(expr: &'e Expr, parts: &mut Vec<&'e Expr>) {
    match expr {
        Expr::Nested(inner) => conjuncts(inner, parts),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            conjuncts(left, parts);
            conjuncts(right, parts);
        }
        part => parts.push(part),
    }
}
