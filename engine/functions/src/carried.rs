//! Functions of questions on their way to another process: what their name does not say goes with them as a few bytes of JSON.
//!
//! Both ends are the same build, so there is no number of a format. A function that is known by its name alone needs none of this.

use arrow::datatypes::DataType;
use datafusion::{
    common::{DataFusionError, Result, exec_datafusion_err},
    logical_expr::ScalarUDF,
};
use serde_json::{Value, json};

use crate::{
    asked::Told,
    functions::{JsonFunction, Op},
};

/// What has to be sent along; `None` for a function that its name says everything of.
pub fn carried(function: &ScalarUDF) -> Option<Vec<u8>> {
    let (told, function) = match function.inner().downcast_ref::<Told>() {
        Some(Told(function)) => (true, function),
        None => (false, function.inner().downcast_ref::<JsonFunction>()?),
    };
    let (op, of) = match &function.op {
        Op::RowCast(to) => ("row_cast", to.to_string()),
        Op::Quotient(to) => ("quotient", to.to_string()),
        Op::Zone(zone) => ("zone", zone.clone()),
        _ => return None,
    };
    let column = function.column();
    Some(
        json!({"told": told, "op": op, "of": of, "strict": function.strict, "column": column}).to_string().into_bytes(),
    )
}

/// The function that was sent.
pub fn arrived(bytes: &[u8]) -> Result<ScalarUDF> {
    let unknown = || exec_datafusion_err!("a function came that this version does not know");
    let sent: Value = serde_json::from_slice(bytes).map_err(|_| unknown())?;
    let of = sent["of"].as_str().ok_or_else(unknown)?;
    let kind = || of.parse::<DataType>().map_err(|error| DataFusionError::ArrowError(Box::new(error), None));
    let op = match sent["op"].as_str() {
        Some("row_cast") => Op::RowCast(kind()?),
        Some("quotient") => Op::Quotient(kind()?),
        Some("zone") => Op::Zone(of.to_owned()),
        _ => return Err(unknown()),
    };
    let strict = sent["strict"].as_bool().ok_or_else(unknown)?;
    let function = JsonFunction::new(op, strict, sent["column"].as_str().map(str::to_owned));
    Ok(match sent["told"].as_bool() {
        Some(true) => ScalarUDF::new_from_impl(Told(function)),
        _ => ScalarUDF::new_from_impl(function),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_arrives_as_it_left() {
        let ops = [
            Op::RowCast(DataType::Int64),
            Op::Quotient(DataType::Decimal128(38, 6)),
            Op::Zone("Europe/Berlin".to_owned()),
        ];
        for op in ops {
            for strict in [true, false] {
                let function = JsonFunction::new(op.clone(), strict, Some("total".to_owned()));
                for sent in [ScalarUDF::new_from_impl(Told(function.clone())), ScalarUDF::new_from_impl(function)] {
                    let bytes = carried(&sent).expect("its name does not say all of it");
                    assert_eq!(arrived(&bytes).expect("the same build"), sent);
                }
            }
        }
    }

    #[test]
    fn what_is_no_function_is_an_error() {
        for bytes in [&b""[..], b"{", br#"{"op": "row_cast", "of": "Nothing", "strict": true}"#] {
            assert!(arrived(bytes).is_err());
        }
    }
}
