//! Conditions of a question as a place may take them: a column beside what is known before the first row.
//!
//! They may be wider than what was asked, never narrower. What is asked in another way is left to the question itself.

use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use datafusion::{
    common::ScalarValue,
    logical_expr::{BinaryExpr, Cast, Expr, Operator, TryCast},
};
use syncline_engine::tables::{Condition, Is, Literal};
use syncline_functions::is_json;

/// The condition of a filter; `None` where it is not as simple.
pub fn condition(filter: &Expr, schema: &Schema) -> Option<Condition> {
    match filter {
        // `id IN (1, 2)` comes as this too.
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let (left, right) = (condition(left, schema)?, condition(right, schema)?);
            match (left.is, right.is) {
                (Is::OneOf(mut one), Is::OneOf(other)) if left.column == right.column => {
                    one.extend(other);
                    Some(Condition { column: left.column, is: Is::OneOf(one) })
                }
                _ => None,
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (column, op, value) = match column(left, schema) {
                Some(column) => (column, *op, &**right),
                None => (column(right, schema)?, op.swap()?, &**left),
            };
            let field = schema.field(column);
            let is = match op {
                Operator::Eq => Is::OneOf(vec![literal(value, field, Side::Both)?]),
                Operator::Gt | Operator::GtEq => Is::AtLeast(ordered(literal(value, field, Side::Below)?)?),
                Operator::Lt | Operator::LtEq => Is::AtMost(ordered(literal(value, field, Side::Above)?)?),
                _ => return None,
            };
            Some(Condition { column, is })
        }
        Expr::InList(list) if !list.negated => {
            let column = column(&list.expr, schema)?;
            let field = schema.field(column);
            let one_of = list.list.iter().map(|value| literal(value, field, Side::Both)).collect::<Option<_>>()?;
            Some(Condition { column, is: Is::OneOf(one_of) })
        }
        _ => None,
    }
}

/// A column as it is, or its times in a finer unit: their order is the same.
fn column(expr: &Expr, schema: &Schema) -> Option<usize> {
    let is_time = |data_type: &DataType| matches!(data_type, DataType::Timestamp(..));
    let (column, cast) = match expr {
        Expr::Column(column) => (column, None),
        Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field }) => match &**expr {
            Expr::Column(column) => (column, Some(field.data_type())),
            _ => return None,
        },
        _ => return None,
    };
    let index = schema.index_of(&column.name).ok()?;
    let field = schema.field(index);
    let fits = match cast {
        None => !is_json(field),
        Some(DataType::Timestamp(unit, _)) => {
            is_time(field.data_type()) && matches!(unit, TimeUnit::Microsecond | TimeUnit::Nanosecond)
        }
        Some(_) => false,
    };
    fits.then_some(index)
}

/// A text is before another one by rules that each place has for itself.
fn ordered(literal: Literal) -> Option<Literal> {
    Some(literal).filter(|literal| !matches!(literal, Literal::Text(_)))
}

/// Where a value between two that can be said goes.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Below,
    Above,
    /// Nowhere.
    Both,
}

fn literal(expr: &Expr, field: &Field, side: Side) -> Option<Literal> {
    let Expr::Literal(value, _) = expr else { return None };
    match (field.data_type(), value) {
        (DataType::Utf8 | DataType::Utf8View, value) => match value {
            ScalarValue::Utf8(Some(text)) | ScalarValue::LargeUtf8(Some(text)) | ScalarValue::Utf8View(Some(text)) => {
                Some(Literal::Text(text.clone()))
            }
            _ => None,
        },
        (integer, value) if integer.is_integer() => match value.data_type().is_integer() {
            true => match value.cast_to(&DataType::Int64).ok()? {
                ScalarValue::Int64(Some(number)) => Some(Literal::Integer(number)),
                _ => None,
            },
            false => None,
        },
        (DataType::Date32, ScalarValue::Date32(Some(day))) => Some(Literal::Day(*day)),
        (DataType::Timestamp(TimeUnit::Microsecond, _), value) => {
            let (time, per) = match value {
                ScalarValue::TimestampSecond(Some(time), _) => (time.checked_mul(1_000_000)?, 1),
                ScalarValue::TimestampMillisecond(Some(time), _) => (time.checked_mul(1_000)?, 1),
                ScalarValue::TimestampMicrosecond(Some(time), _) => (*time, 1),
                ScalarValue::TimestampNanosecond(Some(time), _) => (*time, 1_000),
                _ => return None,
            };
            let between = time.rem_euclid(per) != 0;
            match side {
                Side::Both if between => None,
                Side::Above if between => Some(Literal::Time(time.div_euclid(per) + 1)),
                _ => Some(Literal::Time(time.div_euclid(per))),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::{cast, col, lit};
    use syncline_functions::json_field;

    use super::*;

    fn told(filter: &Expr) -> Option<(usize, Is)> {
        let time = DataType::Timestamp(TimeUnit::Microsecond, None);
        let schema = Schema::new(vec![
            Field::new("id", DataType::Int32, true),
            Field::new("name", DataType::Utf8, true),
            Field::new("at", time, true),
            json_field("value"),
        ]);
        condition(filter, &schema).map(|condition| (condition.column, condition.is))
    }

    #[test]
    fn a_column_beside_a_literal_is_told_and_may_be_wider() {
        use Literal::*;
        assert_eq!(told(&col("id").eq(lit(7i64))), Some((0, Is::OneOf(vec![Integer(7)]))));
        assert_eq!(told(&lit(7i32).gt(col("id"))), Some((0, Is::AtMost(Integer(7)))));
        assert_eq!(
            told(&col("id").in_list(vec![lit(7i64), lit(8i8)], false)),
            Some((0, Is::OneOf(vec![Integer(7), Integer(8)])))
        );
        assert_eq!(told(&col("name").eq(lit("ada"))), Some((1, Is::OneOf(vec![Text("ada".into())]))));
        let both = col("id").eq(lit(7i64)).or(col("id").eq(lit(8i64)));
        assert_eq!(told(&both), Some((0, Is::OneOf(vec![Integer(7), Integer(8)]))));
        let nanos = |time| lit(ScalarValue::TimestampNanosecond(Some(time), Some("+00:00".into())));
        let finer = cast(col("at"), DataType::Timestamp(TimeUnit::Nanosecond, Some("+00:00".into())));
        assert_eq!(told(&finer.clone().gt(nanos(1_500))), Some((2, Is::AtLeast(Time(1)))));
        assert_eq!(told(&finer.clone().lt(nanos(1_500))), Some((2, Is::AtMost(Time(2)))));
        assert_eq!(told(&finer.clone().eq(nanos(2_000))), Some((2, Is::OneOf(vec![Time(2)]))));
        assert_eq!(told(&finer.eq(nanos(1_500))), None);
    }

    #[test]
    fn what_a_place_may_see_in_another_way_is_not_told() {
        for filter in [
            col("name").gt(lit("ada")),
            col("id").not_eq(lit(7i64)),
            col("id").eq(lit(1.5)),
            col("id").eq(lit(7i64)).or(col("name").eq(lit("ada"))),
            col("id").eq(lit(7i64)).or(col("id").gt(lit(8i64))),
            col("id").eq(col("name")),
            col("id").eq(lit(ScalarValue::Int64(None))),
            col("id").in_list(vec![lit(7i64)], true),
            col("value").eq(lit("ada")),
            cast(col("id"), DataType::Utf8).eq(lit("7")),
            cast(col("at"), DataType::Timestamp(TimeUnit::Second, None))
                .gt(lit(ScalarValue::TimestampSecond(Some(1), None))),
        ] {
            assert_eq!(told(&filter), None, "{filter}");
        }
    }
}
