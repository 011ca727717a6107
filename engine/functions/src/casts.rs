//! Casts between types that are no JSON, by the rules of SQL where Arrow has others.
//!
//! | from | to | here | Arrow |
//! |---|---|---|---|
//! | a decimal | an integer | the nearest, halves away from zero, as to a `DECIMAL` of no digits | cuts off what is behind the point |
//! | a float | an integer | the nearest, halves to the even one, as in PostgreSQL | the same |
//! | `DOUBLE` | `REAL` | a number beyond `REAL` has no value | is infinite |

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::{CastOptions, cast_with_options},
    datatypes::{DataType, Float32Type, Float64Type},
};
use datafusion::common::Result;

/// `values` in the type `to`; NULL where a value has none there.
pub fn cast_values(values: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    let safe = CastOptions { safe: true, ..Default::default() };
    let whole = if to.is_integer() { whole(values, &safe)? } else { None };
    let array = cast_with_options(whole.as_ref().unwrap_or(values), to, &safe)?;
    match (values.data_type(), to) {
        (DataType::Float64, DataType::Float32) => Ok(finite(values, &array)),
        _ => Ok(array),
    }
}

/// Numbers with fractions as the nearest whole ones. `None`: there are no fractions.
fn whole(values: &ArrayRef, safe: &CastOptions) -> Result<Option<ArrayRef>> {
    use DataType::*;
    let decimal = |to: DataType| Ok(Some(cast_with_options(values, &to, safe)?));
    match values.data_type() {
        Decimal32(_, scale) | Decimal64(_, scale) | Decimal128(_, scale) if *scale > 0 => decimal(Decimal128(38, 0)),
        Decimal256(_, scale) if *scale > 0 => decimal(Decimal256(76, 0)),
        Float64 => {
            Ok(Some(Arc::new(values.as_primitive::<Float64Type>().unary::<_, Float64Type>(f64::round_ties_even))))
        }
        Float32 => {
            Ok(Some(Arc::new(values.as_primitive::<Float32Type>().unary::<_, Float32Type>(f32::round_ties_even))))
        }
        _ => Ok(None),
    }
}

/// NULL where a number became infinite.
fn finite(doubles: &ArrayRef, reals: &ArrayRef) -> ArrayRef {
    let reals = reals.as_primitive::<Float32Type>();
    let doubles = doubles.as_primitive::<Float64Type>().iter();
    let kept = |(real, double): (Option<f32>, Option<f64>)| {
        real.filter(|real| !real.is_infinite() || double.is_some_and(f64::is_infinite))
    };
    Arc::new(reals.iter().zip(doubles).map(kept).collect::<arrow::array::Float32Array>())
}
