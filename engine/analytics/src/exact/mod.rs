//! Integers that are right, or an error.
//!
//! DataFusion counts on from the other end when an integer does not fit its type: `9223372036854775807 + 1` is a number below zero. In a
//! question it is the error that `1 / 0` is. What is computed is what DataFusion computes, of the same types and under the same names:
//!
//! | in a question | is |
//! |---|---|
//! | `+`, `-`, `*` of integers, `-` before one | a function that looks whether it fits ([`operators`]) |
//! | `sum` of integers, of different ones too, in groups and windows | added up with 128 bits, and looked at in the end ([`sum`]) |
//!
//! A sum that fits is one whichever of its parts do not: it does not depend on the order of the rows. Decimals are not looked after here:
//! DataFusion's operators are errors where 128 bits do not hold them, its sum is not. Nor are the lengths of time (`INTERVAL`), nor the
//! arguments of table functions, which are computed before there is a plan.

mod operators;
mod sum;

use std::sync::Arc;

use arrow::{datatypes::DataType, error::ArrowError};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use syncline_functions::sql_type;

pub use operators::Checked;

/// What takes the place of operators, by the names that workers look them up by.
pub fn operators() -> Vec<Arc<ScalarUDF>> {
    operators::all().to_vec()
}

/// What takes the place of `sum`.
pub fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(sum::Exact::default())
}

/// `1 + 2 is no BIGINT`
fn unfit(what: &str, of: &DataType) -> ArrowError {
    ArrowError::ArithmeticOverflow(format!("{what} is no {}", sql_type(of)))
}
