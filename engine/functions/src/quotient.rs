//! The division of exact numbers, of which one is JSON or a decimal: the last digit is rounded, half away from zero.
//!
//! Beside JSON a quotient has ten digits behind the point; of decimals it has as many as Arrow gives it, four more than the dividend. Arrow
//! cuts the rest off, and multiplies before it divides in 128 bits: a dividend that is long enough has no quotient there.

use std::borrow::Cow;

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    compute::cast,
    datatypes::{DataType, Decimal128Type, i256},
};
use datafusion::common::Result;
use syncline_record::Reason;

use crate::{failures, sql_type};

/// Any integer as a decimal.
const INTEGER: DataType = DataType::Decimal128(20, 0);

/// `left / right` as `to`, row by row: decimals, or integers. A row without an answer is NULL and reported.
pub fn quotients(left: &ArrayRef, right: &ArrayRef, to: &DataType) -> Result<Decimal128Array> {
    let (left, right) = (decimals(left)?, decimals(right)?);
    let digits = i32::from(scale(to)) - i32::from(scale(left.data_type())) + i32::from(scale(right.data_type()));
    let power = i256::from_i128(10).checked_pow(digits.max(0) as u32);
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let one = |row: usize| {
        if left.is_null(row) || right.is_null(row) {
            return None;
        }
        let answer = quotient(left.value(row), right.value(row), power, to);
        answer.map_err(|reason| failures::report(row as u32, reason)).ok()
    };
    let made: Decimal128Array = (0..left.len()).map(one).collect();
    Ok(made.with_data_type(to.clone()))
}

fn decimals(values: &ArrayRef) -> Result<Cow<'_, ArrayRef>> {
    Ok(match values.data_type() {
        DataType::Decimal128(..) => Cow::Borrowed(values),
        _ => Cow::Owned(cast(values, &INTEGER)?),
    })
}

fn scale(data_type: &DataType) -> i8 {
    if let DataType::Decimal128(_, scale) = data_type { *scale } else { 0 }
}

/// `power`: what the dividend is multiplied with for the quotient to have the digits of `to`. `None`: more than 256 bits hold.
fn quotient(left: i128, right: i128, power: Option<i256>, to: &DataType) -> Result<i128, Reason> {
    if right == 0 {
        return Err(Reason::new("division-by-zero", "division by zero"));
    }
    let wide = |number: i128| i256::from_i128(number);
    let divided = |dividend: i256| {
        let divisor = wide(right);
        let (whole, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
        let away = wide(if (left < 0) == (right < 0) { 1 } else { -1 });
        let half = rest.wrapping_abs().wrapping_mul(wide(2)) >= divisor.wrapping_abs();
        if half { whole.wrapping_add(away) } else { whole }.to_i128()
    };
    let precision = if let DataType::Decimal128(precision, _) = to { *precision } else { 38 };
    let fits = |number: &i128| number.unsigned_abs() < 10u128.pow(u32::from(precision));
    let dividend = power.and_then(|power| wide(left).checked_mul(power));
    let answer = dividend.and_then(divided).filter(fits);
    answer.ok_or_else(|| Reason::new("overflow", format!("does not fit a {}", sql_type(to))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::typer::NUMBER;

    /// 10 to the digits behind the point of [`NUMBER`].
    const ONE: i128 = 10_000_000_000;

    #[test]
    fn the_last_digit_is_rounded_and_no_dividend_is_too_long() {
        let nines = 10i128.pow(38) - 1;
        for (left, right, expected) in [
            (10 * ONE, 7 * ONE, Ok(14_285_714_286)),
            (-10 * ONE, 7 * ONE, Ok(-14_285_714_286)),
            (ONE, -2 * ONE, Ok(-ONE / 2)),
            (1, 2 * ONE, Ok(1)),
            (-1, 2 * ONE, Ok(-1)),
            (1, 3 * ONE, Ok(0)),
            (nines, nines, Ok(ONE)),
            (nines, ONE, Ok(nines)),
            (0, -5, Ok(0)),
            (nines, ONE - 1, Err("overflow")),
            (0, 0, Err("division-by-zero")),
        ] {
            assert_eq!(
                quotient(left, right, Some(i256::from_i128(ONE)), &NUMBER).map_err(|reason| reason.slug.to_string()),
                expected.map_err(str::to_owned)
            );
        }
    }
}
