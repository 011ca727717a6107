//! Text beside something typed, in a comparison.
//!
//! A text that stands in the expression is a value of the type beside it, as in PostgreSQL: `at > '2026-01-01'`. One that has no
//! such value is a mistake on every row, and known at once. A text that a row holds is no number unless it is cast: read as a number
//! it fails on some rows, and the number read as text has the order of text, where '10' comes before '9'.

use arrow::array::StringViewArray;

use super::*;
use crate::{convert::Manner, shown};

/// Operators that compare two values.
fn compares(op: Operator) -> bool {
    use Operator::*;
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

impl Typer<'_> {
    /// Two operands, neither of them JSON.
    pub(super) fn operands(&self, left: Expr, op: Operator, right: Expr) -> Result<(Expr, Expr)> {
        if compares(op) { self.compared(left, right) } else { Ok((left, right)) }
    }

    /// Two sides that are compared, neither of them JSON.
    pub(super) fn compared(&self, left: Expr, right: Expr) -> Result<(Expr, Expr)> {
        let (of_left, of_right) = (self.type_of(&left), self.type_of(&right));
        Ok(match (is_text(&of_left), is_text(&of_right)) {
            (true, false) => (beside(left, &of_left, &of_right)?, right),
            (false, true) => {
                let right = beside(right, &of_right, &of_left)?;
                (left, right)
            }
            _ => (left, right),
        })
    }

    /// `expr` and the values that it is compared with one after the other.
    pub(super) fn compared_with(&self, expr: Expr, others: &mut [Box<Expr>]) -> Result<Expr> {
        let mut expr = expr;
        for other in others {
            let (left, right) = self.compared(expr, std::mem::take(other.as_mut()))?;
            (expr, **other) = (left, right);
        }
        Ok(expr)
    }
}

/// A text as a side of a comparison with a value of the type `other`.
fn beside(text: Expr, own: &DataType, other: &DataType) -> Result<Expr> {
    let number = is_exact_number(other) || other.is_floating();
    match &text {
        Expr::Literal(value, _) => match value.try_as_str().flatten() {
            Some(written) if convert::takes(other) && !other.is_nested() => literal(written, other),
            _ => Ok(text),
        },
        _ if number => {
            let (own, other) = (sql_type(own), sql_type(other));
            mismatch(format!("{own} and {other} do not fit together"), Some(&own), Some(&other))
        }
        _ => Ok(text),
    }
}

fn literal(written: &str, other: &DataType) -> Result<Expr> {
    // A decimal is not rounded to the digits of the column that it is compared with.
    let (to, manner) = match other {
        DataType::Decimal128(..) => (&NUMBER, Manner::Exact),
        DataType::Float32 => (&DataType::Float64, Manner::Text),
        other => (other, Manner::Text),
    };
    let read = convert::convert(&StringViewArray::from(vec![written.trim()]), to, manner);
    if !read.bad.is_empty() {
        let other = sql_type(other);
        return mismatch(format!("{} is no {other}", shown::value(written)), Some("STRING"), Some(&other));
    }
    Ok(Expr::Literal(ScalarValue::try_from_array(&read.array, 0)?, None))
}
