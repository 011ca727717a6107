//! What the condition of a JOIN of two endless sides says about their times.
//!
//! A part of it that compares times is read as `its time - own time` beside a length: both sides of the comparison are sums of the
//! two times and of intervals, so `p.at BETWEEN o.at AND o.at + INTERVAL '1 hour'`, `p.at >= o.at - INTERVAL '5 minutes'` and
//! `abs(p.at - o.at) <= INTERVAL '1 minute'` are all the same to it. The times are the records' own: by them rows are late, and what
//! is kept of a side is let go. Other columns of type TIMESTAMP are compared pair by pair, as everything else.

use sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectNamePart, UnaryOperator,
};
use syncline_syntax::{Span, ast};

use crate::{
    duration,
    expression::column_sql,
    message::steps as say,
    plan::BoundPlan,
    scope::{Joined, Scope, ScopeColumn},
    types::{RECORD_TIME, TIMESTAMP, metadata_field},
    values::interval,
    walk::Walk,
};

/// How far apart the times may be, as far as it is said; and the columns that said it.
#[derive(Clone, Debug, Default)]
pub(super) struct Times {
    least: Option<i64>,
    most: Option<i64>,
    columns: Option<(String, String)>,
}

/// `own * own time + its * its time + micros`.
#[derive(Clone, Debug, Default)]
struct Sum {
    own: Vec<String>,
    its: Vec<String>,
    own_count: i64,
    its_count: i64,
    micros: i64,
}

impl Sum {
    fn plus(mut self, other: Sum, sign: i64) -> Option<Sum> {
        self.own.extend(other.own);
        self.its.extend(other.its);
        self.own_count += sign * other.own_count;
        self.its_count += sign * other.its_count;
        self.micros = self.micros.checked_add(other.micros.checked_mul(sign)?)?;
        Some(self)
    }
}

/// Behind the join a row has the later of the two times, and no mark of its own partition.
pub(super) fn leave(scope: &mut Scope) {
    scope.marked = false;
    // Of deletes nothing goes through it.
    scope.keyed = None;
    scope.columns.iter_mut().for_each(|column| (column.time, column.beside_key) = (None, false));
    let is_visible = |column: &ScopeColumn| column.visible && column.name() == RECORD_TIME;
    if scope.columns.iter().any(is_visible) {
        return;
    }
    scope.columns.retain(|column| column.name() != RECORD_TIME);
    let time = ScopeColumn { time: Some(0), ..ScopeColumn::hidden(metadata_field(RECORD_TIME)) };
    scope.columns.push(time);
}

impl Walk<'_> {
    /// Takes a part of the condition that bounds the times. False: it says something else.
    pub(super) fn time_part(
        &mut self,
        part: &ast::SqlExpr,
        table: &Joined,
        scope: &mut Scope,
        times: &mut Times,
    ) -> bool {
        // A name that is not there is said when the part is read for what else it may be.
        let said = self.said.len();
        let broken = self.broken;
        let Some(resolved) = self.resolve(part, scope, None) else {
            self.said.truncate(said);
            self.broken = broken;
            return false;
        };
        let sides = Sides { table, scope };
        let Some(found) = sides.comparisons(&resolved) else { return false };
        let columns = found.iter().find_map(|(sum, _)| Some((sum.own.first()?.clone(), sum.its.first()?.clone())));
        let same = |sum: &Sum| {
            columns.as_ref().is_some_and(|(own, its)| {
                sum.own.iter().all(|name| name == own) && sum.its.iter().all(|name| name == its)
            })
        };
        let earlier = times.columns.is_none() || times.columns == columns;
        if !earlier || !found.iter().all(|(sum, _)| same(sum)) {
            return false;
        }
        times.columns = columns;
        for (sum, limit) in found {
            times.limit(&sum, limit);
        }
        // An equality is a key as well.
        !matches!(resolved, Expr::BinaryOp { op: BinaryOperator::Eq, .. })
    }

    /// The bound that the parts make together. `None`: they do not; that has been said.
    pub(super) fn bound(
        &mut self,
        times: &Times,
        join: &ast::Join,
        (keyword, endless): (Span, Span),
        table: &Joined,
        scope: &Scope,
    ) -> Option<BoundPlan> {
        let condition = match &join.on {
            Some(ast::JoinOn::On(on)) => on.span,
            Some(ast::JoinOn::Using(columns)) => columns.span,
            None => keyword,
        };
        let of_table = |column: &&ScopeColumn| column.time.is_some() && table.bare(column.name()).is_some();
        let of_row = |column: &&ScopeColumn| column.time.is_some() && !is_of_tables(scope, column.name());
        let names = scope.columns.iter().find(of_row).zip(scope.columns.iter().find(of_table));
        let Some((own, its)) = names else {
            self.say(say::join_timeless(condition, endless));
            return None;
        };
        let alias = scope.alias.as_ref().map_or(String::new(), |alias| format!("{alias}."));
        let shown = (format!("{alias}{}", own.name()), its.name().to_owned());
        let (least, most) = match (times.least, times.most) {
            (Some(least), Some(most)) if least <= most => (least, most),
            (Some(_), Some(_)) => {
                self.say(say::join_never(condition, &shown));
                return None;
            }
            (least, most) => {
                let using = matches!(join.on, Some(ast::JoinOn::Using(_)));
                self.say(say::join_endless(endless, condition, (least.is_some(), most.is_some()), &shown, using));
                return None;
            }
        };
        let (own, its) = times.columns.clone()?;
        let behind = scope.columns.iter().find(|column| column.name() == own)?.time?;
        let sql = |name: &str| column_sql(self.world.planner, name);
        Some(BoundPlan { own: sql(&own), its: sql(&its), least, most, behind })
    }
}

fn is_of_tables(scope: &Scope, column: &str) -> bool {
    scope.tables.iter().any(|table| table.bare(column).is_some())
}

/// Which way a sum is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    AtMost,
    Below,
    AtLeast,
    Above,
    Zero,
}

impl Limit {
    fn of(operator: &BinaryOperator) -> Option<Self> {
        Some(match operator {
            BinaryOperator::LtEq => Self::AtMost,
            BinaryOperator::Lt => Self::Below,
            BinaryOperator::GtEq => Self::AtLeast,
            BinaryOperator::Gt => Self::Above,
            BinaryOperator::Eq => Self::Zero,
            _ => return None,
        })
    }

    fn turned(self) -> Self {
        match self {
            Self::AtMost => Self::AtLeast,
            Self::Below => Self::Above,
            Self::AtLeast => Self::AtMost,
            Self::Above => Self::Below,
            Self::Zero => Self::Zero,
        }
    }
}

impl Times {
    /// `sum` is limited by zero; it holds each time once, one of them taken away.
    fn limit(&mut self, sum: &Sum, limit: Limit) {
        let (micros, limit) = if sum.its_count > 0 { (sum.micros, limit) } else { (-sum.micros, limit.turned()) };
        // its - own + micros ⋈ 0; times are whole microseconds.
        let zero = -micros;
        let (least, most) = match limit {
            Limit::AtMost => (None, Some(zero)),
            Limit::Below => (None, Some(zero.saturating_sub(1))),
            Limit::AtLeast => (Some(zero), None),
            Limit::Above => (Some(zero.saturating_add(1)), None),
            Limit::Zero => (Some(zero), Some(zero)),
        };
        let tighter = |one: Option<i64>, other: Option<i64>, choose: fn(i64, i64) -> i64| match (one, other) {
            (Some(one), Some(other)) => Some(choose(one, other)),
            (one, other) => one.or(other),
        };
        self.least = tighter(self.least, least, i64::max);
        self.most = tighter(self.most, most, i64::min);
    }
}

struct Sides<'s> {
    table: &'s Joined,
    scope: &'s Scope,
}

impl Sides<'_> {
    /// The comparisons that a condition makes of the two times; `None`: it is about something else.
    fn comparisons(&self, condition: &Expr) -> Option<Vec<(Sum, Limit)>> {
        let found = match condition {
            Expr::Nested(inner) => return self.comparisons(inner),
            Expr::Between { expr, negated: false, low, high } => {
                vec![
                    (self.sum(expr)?.plus(self.sum(low)?, -1)?, Limit::AtLeast),
                    (self.sum(expr)?.plus(self.sum(high)?, -1)?, Limit::AtMost),
                ]
            }
            Expr::BinaryOp { left, op, right } => {
                let limit = Limit::of(op)?;
                match (absolute(left), absolute(right)) {
                    (Some(inside), None) => self.around(inside, right, limit)?,
                    (None, Some(inside)) => self.around(inside, left, limit.turned())?,
                    _ => vec![(self.sum(left)?.plus(self.sum(right)?, -1)?, limit)],
                }
            }
            _ => return None,
        };
        let both = |(sum, _): &(Sum, Limit)| sum.own_count * sum.its_count == -1;
        found.iter().all(both).then_some(found)
    }

    /// `abs(inside)` beside a length.
    fn around(&self, inside: &Expr, length: &Expr, limit: Limit) -> Option<Vec<(Sum, Limit)>> {
        if !matches!(limit, Limit::AtMost | Limit::Below) {
            return None;
        }
        let (inside, length) = (self.sum(inside)?, self.sum(length)?);
        Some(vec![(inside.clone().plus(length.clone(), -1)?, limit), (inside.plus(length, 1)?, limit.turned())])
    }

    fn sum(&self, expr: &Expr) -> Option<Sum> {
        match expr {
            Expr::Nested(inner) => self.sum(inner),
            Expr::BinaryOp { left, op: BinaryOperator::Plus, right } => self.sum(left)?.plus(self.sum(right)?, 1),
            Expr::BinaryOp { left, op: BinaryOperator::Minus, right } => self.sum(left)?.plus(self.sum(right)?, -1),
            Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Sum::default().plus(self.sum(expr)?, -1),
            Expr::Identifier(name) => {
                let column = self.scope.columns.iter().find(|column| column.name() == name.value)?;
                column.time.filter(|_| *column.field.data_type() == TIMESTAMP)?;
                Some(match self.table.bare(&name.value) {
                    Some(_) => Sum { its: vec![name.value.clone()], its_count: 1, ..Sum::default() },
                    None => Sum { own: vec![name.value.clone()], own_count: 1, ..Sum::default() },
                })
            }
            Expr::Interval(_) => {
                let text = interval(expr)?;
                let (sign, length) =
                    text.trim().strip_prefix('-').map_or((1, text.trim()), |length| (-1, length.trim()));
                let micros = i64::try_from(duration::microseconds(length).ok()?).ok()?;
                Some(Sum { micros: sign * micros, ..Sum::default() })
            }
            _ => None,
        }
    }
}

/// What stands in `abs(…)`.
fn absolute(expr: &Expr) -> Option<&Expr> {
    let Expr::Function(function) = expr else { return None };
    let ([ObjectNamePart::Identifier(name)], FunctionArguments::List(list)) = (&function.name.0[..], &function.args)
    else {
        return None;
    };
    match &list.args[..] {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(inside))] if name.value.eq_ignore_ascii_case("abs") => Some(inside),
        _ => None,
    }
}
