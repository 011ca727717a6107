//! The one place where a JSON value meets a place that wants another type.
//!
//! SQL's planner knows types of Arrow only, so a JSON column is text to it. This pass walks an expression from its leaves and puts a
//! conversion wherever a JSON value stands beside something typed:
//!
//! | JSON beside | becomes |
//! |---|---|
//! | `CAST`, `TRY_CAST` | `json_cast<T>`, strict or NULL |
//! | JSON, with `=` `<>` `IS DISTINCT FROM` | both canonical, so that joins and groups can hash |
//! | JSON, with `<` … | refused: two JSON values have no order; cast one side |
//! | an integer or decimal, compared | `json_cmp`, exact |
//! | another type, compared | a cast to that type |
//! | `+ - * / %` | `DECIMAL(38, 10)`, where more digits fail the row; `DOUBLE` beside a double; `TIMESTAMP` beside an interval |
//! | `/` between it and an exact number | the quotient as such a decimal, rounded; so between decimals, with the digits that Arrow gives it |
//! | `LIKE`, `~`, `\|\|` | text |
//! | `AND`, `OR`, `NOT`, a condition | `BOOLEAN` |
//! | a function | the first of text, decimal, double, bigint, timestamp, boolean that the function takes as such |
//! | arrays and structs that are made of it | JSON |
//! | branches of `CASE`, `coalesce`, … | the type of the typed branch; all JSON: JSON |
//!
//! Typed casts that can fail become strict functions too. An audit (`audit`) afterwards lets no JSON value slip
//! through as mere text.

mod calls;
mod compared;
mod zones;

pub(crate) use calls::padded;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::{
    common::{
        DFSchema, Result, ScalarValue, plan_err,
        tree_node::{Transformed, TreeNode},
    },
    logical_expr::{Between, BinaryExpr, Case, Cast, Expr, ExprSchemable, Operator, TryCast, expr::InList, lit},
};

use crate::{
    convert,
    functions::{JsonFunction, Op, call, called},
    guard::{is_bytes, is_fallible_cast},
    is_json,
    mismatch::mismatch,
    sql_type, sql_type_of,
    sqltype::TIMESTAMP,
};

/// What arithmetic on JSON numbers is done in: exact, 28 digits before the point and 10 after it.
pub const NUMBER: DataType = DataType::Decimal128(38, 10);

/// Types and untypes the expressions over one schema.
pub struct Typer<'a> {
    pub schema: &'a DFSchema,
}

/// `expr` as what its place asks for: strictly, and a number without rounding.
pub fn json_to(expr: Expr, to: &DataType) -> Expr {
    if is_text(to) {
        let text = call(Op::Text, false, vec![expr]);
        return if *to == DataType::Utf8View { text } else { Expr::Cast(Cast::new(Box::new(text), to.clone())) };
    }
    let op = if matches!(to, DataType::Decimal128(..)) { Op::Exact(to.clone()) } else { Op::Cast(to.clone()) };
    call(op, true, vec![expr])
}

pub fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

fn is_exact_number(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Decimal128(..))
}

/// A literal that is not NULL.
fn is_value(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if !value.is_null())
}

fn binary(left: Expr, op: Operator, right: Expr) -> Expr {
    Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
}

/// Types that a function may not leave when it coerces an argument: a number must not become text unasked.
#[derive(PartialEq)]
enum Family {
    Text,
    Integer,
    Decimal,
    Float,
    Time,
    Boolean,
    Other,
}

fn family(data_type: &DataType) -> Family {
    use DataType::*;
    match data_type {
        Utf8 | LargeUtf8 | Utf8View => Family::Text,
        Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => Family::Decimal,
        Float16 | Float32 | Float64 => Family::Float,
        Timestamp(..) | Date32 | Date64 => Family::Time,
        Boolean => Family::Boolean,
        other if other.is_integer() => Family::Integer,
        _ => Family::Other,
    }
}

impl Typer<'_> {
    pub fn type_all(&self, expr: Expr) -> Result<Expr> {
        Ok(expr.transform_up(|node| self.node(node))?.data)
    }

    pub fn is_json(&self, expr: &Expr) -> bool {
        // No operator gives JSON, and its type is looked for at the bottom of what may be a long chain.
        !matches!(expr, Expr::BinaryExpr(_)) && self.field(expr).is_some_and(|field| is_json(&field))
    }

    fn field(&self, expr: &Expr) -> Option<FieldRef> {
        expr.to_field(self.schema).ok().map(|(_, field)| field)
    }

    fn type_of(&self, expr: &Expr) -> DataType {
        expr.get_type(self.schema).unwrap_or(DataType::Null)
    }

    /// `expr` in the type `to`, if it is JSON; else as it is.
    fn to(&self, expr: Expr, to: &DataType) -> Expr {
        if self.is_json(&expr) { json_to(expr, to) } else { expr }
    }

    fn boxed_to(&self, expr: Expr, to: &DataType) -> Box<Expr> {
        Box::new(self.to(expr, to))
    }

    /// One node, whose operands are typed.
    pub fn node(&self, expr: Expr) -> Result<Transformed<Expr>> {
        let boolean = DataType::Boolean;
        Ok(Transformed::yes(match expr {
            Expr::Cast(Cast { expr, field }) => self.cast(*expr, field, true)?,
            Expr::TryCast(TryCast { expr, field }) => self.cast(*expr, field, false)?,
            Expr::BinaryExpr(node) => self.binary(node)?,
            Expr::Not(x) => Expr::Not(self.boxed_to(*x, &boolean)),
            Expr::IsTrue(x) => Expr::IsTrue(self.boxed_to(*x, &boolean)),
            Expr::IsFalse(x) => Expr::IsFalse(self.boxed_to(*x, &boolean)),
            Expr::IsNotTrue(x) => Expr::IsNotTrue(self.boxed_to(*x, &boolean)),
            Expr::IsNotFalse(x) => Expr::IsNotFalse(self.boxed_to(*x, &boolean)),
            Expr::IsUnknown(x) => Expr::IsUnknown(self.boxed_to(*x, &boolean)),
            Expr::IsNotUnknown(x) => Expr::IsNotUnknown(self.boxed_to(*x, &boolean)),
            Expr::Negative(x) => self.negative(*x),
            Expr::Like(mut like) => {
                like.expr = self.boxed_to(*like.expr, &DataType::Utf8View);
                like.pattern = self.boxed_to(*like.pattern, &DataType::Utf8View);
                Expr::Like(like)
            }
            Expr::Between(between) if [&between.expr, &between.low, &between.high].iter().any(|x| self.is_json(x)) => {
                let low = self.binary(BinaryExpr::new(between.expr.clone(), Operator::GtEq, between.low))?;
                let high = self.binary(BinaryExpr::new(between.expr, Operator::LtEq, between.high))?;
                negated(low.and(high), between.negated)
            }
            Expr::Between(Between { expr, negated, low, high }) => {
                let mut bounds = [low, high];
                let expr = Box::new(self.compared_with(*expr, &mut bounds)?);
                let [low, high] = bounds;
                Expr::Between(Between { expr, negated, low, high })
            }
            Expr::InList(list) if self.is_json(&list.expr) || list.list.iter().any(|item| self.is_json(item)) => {
                self.in_list(list)?
            }
            Expr::InList(InList { expr, list, negated }) => {
                let mut items: Vec<Box<Expr>> = list.into_iter().map(Box::new).collect();
                let expr = Box::new(self.compared_with(*expr, &mut items)?);
                Expr::InList(InList { expr, list: items.into_iter().map(|item| *item).collect(), negated })
            }
            Expr::Case(case) => self.case(case)?,
            Expr::ScalarFunction(function) => self.function(function)?,
            other => return Ok(Transformed::no(other)),
        }))
    }

    fn cast(&self, expr: Expr, target: FieldRef, strict: bool) -> Result<Expr> {
        let to = target.data_type();
        if let DataType::Timestamp(_, Some(zone)) = to {
            return self.at_zone(expr, zone, strict);
        }
        let Some(from) = self.field(&expr) else { return Ok(cast_as_is(expr, target, strict)) };
        if is_json(&target) {
            return Ok(match from.data_type() {
                _ if is_json(&from) => expr,
                DataType::Null => Expr::Cast(Cast::new_from_field(Box::new(expr), target)),
                from if is_text(from) => call(Op::Parse, strict, vec![expr]),
                _ => call(Op::Of, false, vec![expr]),
            });
        }
        if is_json(&from) {
            return Ok(match () {
                _ if is_text(to) => json_to(expr, to),
                _ if convert::takes(to) => call(Op::Cast(to.clone()), strict, vec![expr]),
                _ => {
                    return mismatch(
                        format!("JSON has no cast to {}", sql_type(to)),
                        Some("JSON"),
                        Some(&sql_type(to)),
                    );
                }
            });
        }
        let from = from.data_type();
        Ok(match () {
            _ if is_text(from) && !to.is_nested() && convert::takes(to) && !is_text(to) => {
                call(Op::TextCast(to.clone()), strict, vec![expr])
            }
            // Seconds, milliseconds, microseconds and days are all in use, and no number says which it is.
            _ if from.is_numeric() && matches!(to, DataType::Timestamp(..) | DataType::Date32) => {
                return plan_err!(
                    "a number is no {} until its unit is known: to_timestamp_seconds(…), to_timestamp_millis(…) or \
                     to_timestamp_micros(…)",
                    sql_type(to)
                );
            }
            _ if !arrow::compute::can_cast_types(from, to) => {
                return plan_err!("{} has no cast to {}", sql_type(from), sql_type(to));
            }
            _ if is_fallible_cast(from, to) => call(Op::RowCast(to.clone()), strict, vec![expr]),
            _ => cast_as_is(expr, target, strict),
        })
    }

    /// `-x`, which overflows like `0 - x` where `x` is an integer.
    fn negative(&self, expr: Expr) -> Expr {
        let expr = self.to(expr, &NUMBER);
        let zero = match self.type_of(&expr) {
            to if to.is_integer() => ScalarValue::new_zero(&to).ok(),
            _ => None,
        };
        match (expr, zero) {
            // A literal keeps its sign, so that the smallest integer can be written.
            (expr @ Expr::Literal(..), _) | (expr, None) => Expr::Negative(Box::new(expr)),
            (expr, Some(zero)) => binary(lit(zero), Operator::Minus, expr),
        }
    }

    /// Whether it is a JSON value in its canonical form.
    pub fn is_norm(expr: &Expr) -> bool {
        called(expr).is_some_and(|function| function.op == Op::Norm)
    }

    pub fn binary(&self, node: BinaryExpr) -> Result<Expr> {
        use Operator::*;
        let (left, op, right) = (*node.left, node.op, *node.right);
        let (json_left, json_right) = (self.is_json(&left), self.is_json(&right));
        if Self::is_norm(&left) && Self::is_norm(&right) {
            return Ok(binary(left, op, right));
        }
        if !(json_left || json_right) {
            let (left, right) = self.operands(left, op, right)?;
            return Ok(if op == Divide { self.quotient(left, right) } else { binary(left, op, right) });
        }
        let other = self.type_of(if json_left { &right } else { &left });
        let both = json_left && json_right;
        match op {
            Eq | NotEq | IsDistinctFrom | IsNotDistinctFrom if both => {
                Ok(binary(call(Op::Norm, false, vec![left]), op, call(Op::Norm, false, vec![right])))
            }
            Lt | LtEq | Gt | GtEq if both => mismatch("two JSON values have no order", Some("JSON"), Some("JSON")),
            IsDistinctFrom | IsNotDistinctFrom
                if is_exact_number(&other) && is_value(if json_left { &right } else { &left }) =>
            {
                let (json, number) = if json_left { (left, right) } else { (right, left) };
                Ok(binary(call(Op::Compare, true, vec![json, number]), op, lit(0i8)))
            }
            Eq | NotEq | Lt | LtEq | Gt | GtEq if is_exact_number(&other) => {
                let (json, number, op) =
                    if json_left { (left, right, op) } else { (right, left, op.swap().unwrap_or(op)) };
                Ok(binary(call(Op::Compare, true, vec![json, number]), op, lit(0i8)))
            }
            Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom => {
                let to = if is_exact_number(&other) { NUMBER } else { self.castable(&other, op)? };
                Ok(binary(self.to(left, &to), op, self.to(right, &to)))
            }
            Plus | Minus | Multiply | Divide | Modulo => {
                let to = match &other {
                    _ if both => NUMBER,
                    DataType::Null => NUMBER,
                    DataType::Interval(_) | DataType::Duration(_) => TIMESTAMP,
                    other if is_text(other) => NUMBER,
                    other if is_exact_number(other) => NUMBER,
                    other => self.castable(other, op)?,
                };
                if op == Divide && (both || is_exact_number(&other)) {
                    return Ok(call(Op::Quotient(NUMBER), true, vec![self.number(left)?, self.number(right)?]));
                }
                Ok(binary(self.to(left, &to), op, self.to(right, &to)))
            }
            And | Or => Ok(binary(self.to(left, &DataType::Boolean), op, self.to(right, &DataType::Boolean))),
            StringConcat | LikeMatch | ILikeMatch | NotLikeMatch | NotILikeMatch | RegexMatch | RegexIMatch
            | RegexNotMatch | RegexNotIMatch => {
                Ok(binary(self.to(left, &DataType::Utf8View), op, self.to(right, &DataType::Utf8View)))
            }
            BitwiseAnd | BitwiseOr | BitwiseXor | BitwiseShiftLeft | BitwiseShiftRight => {
                Ok(binary(self.to(left, &DataType::Int64), op, self.to(right, &DataType::Int64)))
            }
            op => mismatch(format!("{op} does not take JSON"), Some("JSON"), Some(&sql_type(&other))),
        }
    }

    /// `left / right`, neither of them JSON: rounded where one of them is a decimal, and the other one or an integer.
    pub(crate) fn quotient(&self, left: Expr, right: Expr) -> Expr {
        let types = [self.type_of(&left), self.type_of(&right)];
        let exact = types.iter().all(is_exact_number) && !types.iter().all(DataType::is_integer);
        let divided = binary(left.clone(), Operator::Divide, right.clone());
        match self.type_of(&divided) {
            to @ DataType::Decimal128(..) if exact => call(Op::Quotient(to), true, vec![left, right]),
            _ => divided,
        }
    }

    /// JSON or an exact number as a [`NUMBER`].
    fn number(&self, expr: Expr) -> Result<Expr> {
        match self.type_of(&expr) {
            to if to == NUMBER && !self.is_json(&expr) => Ok(expr),
            _ if self.is_json(&expr) => Ok(json_to(expr, &NUMBER)),
            _ => self.cast(expr, Field::new("", NUMBER, true).into(), true),
        }
    }

    /// The type that a JSON value takes beside `other`.
    fn castable(&self, other: &DataType, op: Operator) -> Result<DataType> {
        match other {
            DataType::Null => Ok(DataType::Utf8View),
            _ if is_text(other) => Ok(DataType::Utf8View),
            _ if convert::takes(other) => Ok(other.clone()),
            _ => {
                mismatch(format!("JSON {op} {} has no meaning", sql_type(other)), Some("JSON"), Some(&sql_type(other)))
            }
        }
    }

    /// `x IN (a, b)` is `x = a OR x = b`: exact for numbers of any kind, and the items may be of different types.
    fn in_list(&self, list: InList) -> Result<Expr> {
        let all_text = |item: &Expr| is_text(&self.type_of(item)) && !self.is_json(item);
        if list.list.iter().all(all_text) {
            let expr = self.boxed_to(*list.expr, &DataType::Utf8View);
            return Ok(Expr::InList(InList { expr, ..list }));
        }
        let mut any = lit(false);
        for (index, item) in list.list.into_iter().enumerate() {
            let equal = self.binary(BinaryExpr::new(list.expr.clone(), Operator::Eq, Box::new(item)))?;
            any = if index == 0 { equal } else { any.or(equal) };
        }
        Ok(negated(any, list.negated))
    }

    fn case(&self, mut case: Case) -> Result<Expr> {
        let any_json = |case: &Case| {
            case.expr.as_ref().is_some_and(|x| self.is_json(x))
                || case.when_then_expr.iter().any(|(when, _)| self.is_json(when))
        };
        if case.expr.is_some() && any_json(&case) {
            let operand = case.expr.take();
            for (when, _) in &mut case.when_then_expr {
                if let Some(operand) = &operand {
                    let equal = BinaryExpr::new(operand.clone(), Operator::Eq, when.clone());
                    **when = self.binary(equal)?;
                }
            }
        } else if let Some(operand) = case.expr.take() {
            let mut operand = *operand;
            for (when, _) in &mut case.when_then_expr {
                (operand, **when) = self.compared(operand, std::mem::take(when.as_mut()))?;
            }
            case.expr = Some(Box::new(operand));
        } else {
            for (when, _) in &mut case.when_then_expr {
                **when = self.to(*when.clone(), &DataType::Boolean);
            }
        }
        let branches: Vec<&Expr> =
            case.when_then_expr.iter().map(|(_, then)| &**then).chain(case.else_expr.as_deref()).collect();
        let Some(wanted) = self.common(&branches)? else { return Ok(Expr::Case(case)) };
        for (_, then) in &mut case.when_then_expr {
            *then = self.branch(then.clone(), &wanted);
        }
        case.else_expr = case.else_expr.map(|branch| self.branch(branch, &wanted));
        Ok(match wanted {
            Wanted::Json => call(Op::Tag, false, vec![Expr::Case(case)]),
            Wanted::Typed(_) => Expr::Case(case),
        })
    }

    fn branch(&self, branch: Box<Expr>, wanted: &Wanted) -> Box<Expr> {
        match wanted {
            Wanted::Json => branch,
            Wanted::Typed(to) => self.boxed_to(*branch, to),
        }
    }

    /// What values of several places, some of them JSON, are together. `None`: none of them is JSON.
    fn common(&self, places: &[&Expr]) -> Result<Option<Wanted>> {
        if !places.iter().any(|place| self.is_json(place)) {
            return Ok(None);
        }
        let typed = places.iter().filter(|place| !self.is_json(place)).map(|place| self.type_of(place));
        let Some(to) = typed.into_iter().find(|to| *to != DataType::Null) else { return Ok(Some(Wanted::Json)) };
        // An integer beside JSON must not swallow 9.5.
        let to = if is_exact_number(&to) { NUMBER } else { to };
        if !is_text(&to) && !convert::takes(&to) {
            return mismatch(
                format!("JSON beside {} has no common type", sql_type(&to)),
                Some("JSON"),
                Some(&sql_type(&to)),
            );
        }
        Ok(Some(Wanted::Typed(to)))
    }
}

/// What several places are together.
enum Wanted {
    Json,
    Typed(DataType),
}

fn negated(expr: Expr, negated: bool) -> Expr {
    if negated { Expr::Not(Box::new(expr)) } else { expr }
}

fn cast_as_is(expr: Expr, target: FieldRef, strict: bool) -> Expr {
    let expr = Box::new(expr);
    if strict {
        Expr::Cast(Cast::new_from_field(expr, target))
    } else {
        Expr::TryCast(TryCast::new_from_field(expr, target))
    }
}
