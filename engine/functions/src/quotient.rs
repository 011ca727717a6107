//! The division of numbers of which one is JSON: ten digits behind the point, the last one rounded, half away from zero.
//!
//! Arrow gives a quotient four digits more than the dividend has, cuts the rest off, and multiplies before it divides in 128 bits: `10 / n` had
//! four digits, and a dividend from 1.7e14 on none at all.

use arrow::{
    array::{Array, ArrayRef, AsArray, Decimal128Array},
    datatypes::{Decimal128Type, i256},
};
use syncline_record::Reason;

use crate::{failures, sql_type, typer::NUMBER};

/// 10 to the digits behind the point of [`NUMBER`].
const ONE: i128 = 10_000_000_000;

/// `left / right`, row by row, both of them [`NUMBER`]s. A row without an answer is NULL and reported.
pub fn quotients(left: &ArrayRef, right: &ArrayRef) -> Decimal128Array {
    let (left, right) = (left.as_primitive::<Decimal128Type>(), right.as_primitive::<Decimal128Type>());
    let one = |row: usize| {
        if left.is_null(row) || right.is_null(row) {
            return None;
        }
        let answer = quotient(left.value(row), right.value(row));
        answer.map_err(|reason| failures::report(row as u32, reason)).ok()
    };
    let made: Decimal128Array = (0..left.len()).map(one).collect();
    made.with_data_type(NUMBER)
}

fn quotient(left: i128, right: i128) -> Result<i128, Reason> {
    if right == 0 {
        return Err(Reason::new("division-by-zero", "division by zero"));
    }
    let wide = |number: i128| i256::from_i128(number);
    let (dividend, divisor) = (wide(left).wrapping_mul(wide(ONE)), wide(right));
    let (whole, rest) = (dividend.wrapping_div(divisor), dividend.wrapping_rem(divisor));
    let away = i256::from_i128(if (left < 0) == (right < 0) { 1 } else { -1 });
    let half = rest.wrapping_abs().wrapping_mul(wide(2)) >= divisor.wrapping_abs();
    let rounded = if half { whole.wrapping_add(away) } else { whole };
    let fits = |number: &i128| number.unsigned_abs() < 10u128.pow(38);
    rounded
        .to_i128()
        .filter(fits)
        .ok_or_else(|| Reason::new("overflow", format!("does not fit a {}", sql_type(&NUMBER))))
}

#[cfg(test)]
mod tests {
    use super::*;

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
                quotient(left, right).map_err(|reason| reason.slug.to_string()),
                expected.map_err(str::to_owned)
            );
        }
    }
}
