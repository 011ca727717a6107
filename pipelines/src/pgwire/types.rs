//! Types as PostgreSQL's clients know them: which one a column has, its values in the binary form, and values of parameters in both.
//!
//! A list or a struct is JSON here. The text form of every value is that of [`plain`](crate::plain).

use arrow::{
    array::{Array, ArrayRef, AsArray},
    compute::cast,
    datatypes::{DataType, Field, Float32Type, Float64Type, Int64Type, IntervalMonthDayNano, IntervalUnit, TimeUnit},
};
use syncline_analytics::ScalarValue;
use syncline_functions::is_json;

use super::{lists, refusal::Refusal};
use crate::plain::{plain, write_plain};

pub const BOOL: u32 = 16;
const BYTEA: u32 = 17;
const CHAR: u32 = 18;
const NAME: u32 = 19;
const INT8: u32 = 20;
const INT2: u32 = 21;
const INT4: u32 = 23;
pub const TEXT: u32 = 25;
const OID: u32 = 26;
const JSON: u32 = 114;
const FLOAT4: u32 = 700;
const FLOAT8: u32 = 701;
const UNKNOWN: u32 = 705;
const BPCHAR: u32 = 1042;
const VARCHAR: u32 = 1043;
const DATE: u32 = 1082;
const TIME: u32 = 1083;
const TIMESTAMP: u32 = 1114;
const TIMESTAMPTZ: u32 = 1184;
const INTERVAL: u32 = 1186;
const NUMERIC: u32 = 1700;
const UUID: u32 = 2950;
const JSONB: u32 = 3802;

/// 2000-01-01, where PostgreSQL begins to count, after 1970.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// The type of a column, and how many bytes each of its values has.
pub fn type_of(field: &Field) -> (u32, i16) {
    use DataType::*;
    if is_json(field) {
        return (JSON, -1);
    }
    match field.data_type() {
        Boolean => (BOOL, 1),
        Int8 | Int16 | UInt8 => (INT2, 2),
        Int32 | UInt16 => (INT4, 4),
        Int64 | UInt32 => (INT8, 8),
        UInt64 | Decimal32(..) | Decimal64(..) | Decimal128(..) | Decimal256(..) => (NUMERIC, -1),
        Float16 | Float32 => (FLOAT4, 4),
        Float64 => (FLOAT8, 8),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => (BYTEA, -1),
        Timestamp(_, None) => (TIMESTAMP, 8),
        Timestamp(_, Some(_)) => (TIMESTAMPTZ, 8),
        Date32 | Date64 => (DATE, 4),
        Time32(_) | Time64(_) => (TIME, 8),
        List(_) | LargeList(_) | FixedSizeList(..) | ListView(_) | LargeListView(_) | Struct(_) | Map(..) => (JSON, -1),
        Dictionary(_, value) => type_of(&Field::new("", value.as_ref().clone(), true)),
        _ => (TEXT, -1),
    }
}

/// The type that a parameter has when a question says what it has to be.
pub fn parameter_type(of: Option<&DataType>) -> u32 {
    of.map_or(TEXT, |of| type_of(&Field::new("", of.clone(), true)).0)
}

/// Appends a value in the form that was asked for; false for NULL.
pub fn write_value(column: &ArrayRef, field: &Field, row: usize, binary: bool, out: &mut Vec<u8>) -> bool {
    if !binary || column.is_null(row) || column.data_type() == &DataType::Null {
        return write_plain(column, field, row, out);
    }
    let one = column.slice(row, 1);
    let whole = |to: &DataType| cast(&one, to).ok().filter(|value| value.is_valid(0));
    let int = |to: DataType| whole(&to).and_then(|value| cast(&value, &DataType::Int64).ok());
    let int = |to: DataType| int(to).map_or(0, |value| value.as_primitive::<Int64Type>().value(0));
    match type_of(field).0 {
        BOOL => out.push(u8::from(one.as_boolean().value(0))),
        INT2 => out.extend_from_slice(&(int(DataType::Int16) as i16).to_be_bytes()),
        INT4 => out.extend_from_slice(&(int(DataType::Int32) as i32).to_be_bytes()),
        INT8 => out.extend_from_slice(&int(DataType::Int64).to_be_bytes()),
        FLOAT4 => {
            let value = whole(&DataType::Float32).map_or(0.0, |value| value.as_primitive::<Float32Type>().value(0));
            out.extend_from_slice(&value.to_be_bytes());
        }
        FLOAT8 => {
            let value = whole(&DataType::Float64).map_or(0.0, |value| value.as_primitive::<Float64Type>().value(0));
            out.extend_from_slice(&value.to_be_bytes());
        }
        DATE => {
            let days = int(DataType::Date32) as i32;
            out.extend_from_slice(&days.saturating_sub(EPOCH_DAYS).to_be_bytes());
        }
        TIME => out.extend_from_slice(&int(DataType::Time64(TimeUnit::Microsecond)).to_be_bytes()),
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = int(DataType::Timestamp(TimeUnit::Microsecond, None));
            out.extend_from_slice(&micros.saturating_sub(EPOCH_MICROS).to_be_bytes());
        }
        NUMERIC => write_numeric(&plain(column, field, row).unwrap_or_default(), out),
        BYTEA => {
            let bytes = whole(&DataType::LargeBinary);
            out.extend_from_slice(bytes.as_ref().map_or(&[][..], |bytes| bytes.as_binary::<i64>().value(0)));
        }
        // Text and JSON are the same in both forms.
        _ => return write_plain(column, field, row, out),
    }
    true
}

/// A decimal number in groups of four digits.
fn write_numeric(text: &str, out: &mut Vec<u8>) {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let before = whole.len().div_ceil(4) * 4;
    let after = fraction.len().div_ceil(4) * 4;
    let padded = format!("{whole:0>before$}{fraction:0<after$}");
    let mut groups: Vec<i16> = padded
        .as_bytes()
        .chunks(4)
        .map(|group| group.iter().fold(0, |sum, digit| sum * 10 + i16::from(digit - b'0')))
        .collect();
    let mut weight = (before / 4) as i16 - 1;
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= zeros as i16;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let sign: u16 = if negative && !groups.is_empty() { 0x4000 } else { 0 };
    out.extend_from_slice(&(groups.len() as u16).to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&(fraction.len() as u16).to_be_bytes());
    groups.iter().for_each(|group| out.extend_from_slice(&group.to_be_bytes()));
}

/// A parameter's value. `number`: which one it is, for whoever is told that it is none.
pub fn value_of(oid: u32, binary: bool, bytes: Option<&[u8]>, number: usize) -> Result<ScalarValue, Refusal> {
    let Some(kind) = kind(oid) else {
        let known = "boolean, integers, numeric, float, text, uuid, bytea, date, time, timestamp, interval, json and lists are known";
        return Err(Refusal::error(
            "0A000",
            format!("parameter ${number} has a type (oid {oid}) that is not known here"),
        )
        .hint(known));
    };
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(&kind).map_err(|error| Refusal::error("XX000", error.to_string()));
    };
    let value = match lists::element_of(oid) {
        Some(element) => of_list(element, binary, bytes, number),
        None if binary => of_binary(oid, bytes),
        None => of_text(oid, &kind, bytes),
    };
    value.ok_or_else(|| {
        let form = if binary { "binary value" } else { "text" };
        Refusal::error(
            "22P02",
            format!("parameter ${number}: the {form} is no {}", syncline_functions::sql_type(&kind)),
        )
    })
}

/// A list of values, each read as one of its type.
fn of_list(element: u32, binary: bool, bytes: &[u8], number: usize) -> Option<ScalarValue> {
    let one = |bytes: Option<&[u8]>| value_of(element, binary, bytes, number).ok();
    let values: Option<Vec<ScalarValue>> = match binary {
        true => lists::binaries(bytes, element)?.into_iter().map(one).collect(),
        false => {
            let texts = lists::texts(std::str::from_utf8(bytes).ok()?)?;
            texts.iter().map(|text| one(text.as_ref().map(String::as_bytes))).collect()
        }
    };
    lists::list(&values?, &unsaid(element))
}

fn kind(oid: u32) -> Option<DataType> {
    if let Some(element) = lists::element_of(oid) {
        return Some(DataType::new_list(kind(element)?, true));
    }
    Some(match oid {
        TIME => DataType::Time64(TimeUnit::Microsecond),
        INTERVAL => DataType::Interval(IntervalUnit::MonthDayNano),
        BOOL => DataType::Boolean,
        INT2 => DataType::Int16,
        INT4 => DataType::Int32,
        INT8 | OID => DataType::Int64,
        FLOAT4 => DataType::Float32,
        FLOAT8 => DataType::Float64,
        NUMERIC => DataType::Decimal128(38, 10),
        BYTEA => DataType::Binary,
        DATE => DataType::Date32,
        TIMESTAMP | TIMESTAMPTZ => DataType::Timestamp(TimeUnit::Microsecond, None),
        0 | TEXT | VARCHAR | BPCHAR | CHAR | NAME | UNKNOWN | JSON | JSONB | UUID => DataType::Utf8,
        _ => return None,
    })
}

fn of_text(oid: u32, kind: &DataType, bytes: &[u8]) -> Option<ScalarValue> {
    let text = std::str::from_utf8(bytes).ok()?;
    match oid {
        BOOL => match text.trim().to_ascii_lowercase().as_str() {
            "t" | "true" | "on" | "yes" | "y" | "1" => Some(ScalarValue::Boolean(Some(true))),
            "f" | "false" | "off" | "no" | "n" | "0" => Some(ScalarValue::Boolean(Some(false))),
            _ => None,
        },
        BYTEA => {
            let digits = text.strip_prefix("\\x")?;
            let byte = |index| u8::from_str_radix(digits.get(index..index + 2)?, 16).ok();
            let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
            Some(ScalarValue::Binary(Some(bytes?)))
        }
        NUMERIC => decimal(text.trim()),
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = syncline_functions::instant_of(text.trim().as_bytes())?;
            Some(ScalarValue::TimestampMicrosecond(Some(micros), None))
        }
        _ if kind == &DataType::Utf8 => Some(ScalarValue::Utf8(Some(text.to_owned()))),
        _ => {
            let value = ScalarValue::Utf8(Some(text.trim().to_owned())).cast_to(kind).ok()?;
            (!value.is_null()).then_some(value)
        }
    }
}

/// With as many digits after the point as it has.
fn decimal(text: &str) -> Option<ScalarValue> {
    let scale = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    let kind = DataType::Decimal128(38, i8::try_from(scale).ok().filter(|scale| *scale <= 38)?);
    let value = ScalarValue::Utf8(Some(text.to_owned())).cast_to(&kind).ok()?;
    (!value.is_null()).then_some(value)
}

fn of_binary(oid: u32, bytes: &[u8]) -> Option<ScalarValue> {
    Some(match oid {
        BOOL => match bytes {
            [0] => ScalarValue::Boolean(Some(false)),
            [1] => ScalarValue::Boolean(Some(true)),
            _ => return None,
        },
        INT2 => ScalarValue::Int16(Some(i16::from_be_bytes(bytes.try_into().ok()?))),
        INT4 => ScalarValue::Int32(Some(i32::from_be_bytes(bytes.try_into().ok()?))),
        INT8 => ScalarValue::Int64(Some(i64::from_be_bytes(bytes.try_into().ok()?))),
        OID => ScalarValue::Int64(Some(i64::from(u32::from_be_bytes(bytes.try_into().ok()?)))),
        FLOAT4 => ScalarValue::Float32(Some(f32::from_be_bytes(bytes.try_into().ok()?))),
        FLOAT8 => ScalarValue::Float64(Some(f64::from_be_bytes(bytes.try_into().ok()?))),
        NUMERIC => decimal(&numeric(bytes)?)?,
        BYTEA => ScalarValue::Binary(Some(bytes.to_vec())),
        DATE => {
            let days = i32::from_be_bytes(bytes.try_into().ok()?);
            ScalarValue::Date32(Some(days.checked_add(EPOCH_DAYS)?))
        }
        TIMESTAMP | TIMESTAMPTZ => {
            let micros = i64::from_be_bytes(bytes.try_into().ok()?);
            ScalarValue::TimestampMicrosecond(Some(micros.checked_add(EPOCH_MICROS)?), None)
        }
        TIME => ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(bytes.try_into().ok()?))),
        INTERVAL => {
            let (micros, days) = bytes.split_first_chunk::<8>()?;
            let (days, months) = days.split_first_chunk::<4>()?;
            let nanos = i64::from_be_bytes(*micros).checked_mul(1000)?;
            let (days, months) = (i32::from_be_bytes(*days), i32::from_be_bytes(months.try_into().ok()?));
            ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(months, days, nanos)))
        }
        UUID => {
            let digits: String = <&[u8; 16]>::try_from(bytes).ok()?.iter().map(|byte| format!("{byte:02x}")).collect();
            let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
            ScalarValue::Utf8(Some(parts.join("-")))
        }
        JSONB => ScalarValue::Utf8(Some(String::from_utf8(bytes.strip_prefix(&[1])?.to_vec()).ok()?)),
        _ => ScalarValue::Utf8(Some(String::from_utf8(bytes.to_vec()).ok()?)),
    })
}

/// The digits of a binary numeric.
fn numeric(bytes: &[u8]) -> Option<String> {
    let shorts: Option<Vec<i16>> = bytes.chunks(2).map(|two| Some(i16::from_be_bytes(two.try_into().ok()?))).collect();
    let shorts = shorts?;
    let [count, weight, sign, scale, groups @ ..] = shorts.as_slice() else { return None };
    // What has more digits than a DECIMAL is none here, and is not spelled out.
    let sane =
        (-10..=10).contains(weight) && (0..=38).contains(scale) && groups.len() == usize::try_from(*count).ok()?;
    if !sane || ![0, 0x4000].contains(sign) || groups.iter().any(|group| !(0..10_000).contains(group)) {
        return None;
    }
    let group =
        |place: i16| usize::try_from(weight - place).ok().and_then(|index| groups.get(index)).copied().unwrap_or(0);
    let whole: String = (0..=(*weight).max(0)).rev().map(|place| format!("{:04}", group(place))).collect();
    let fraction: String = (1..=scale / 4 + 1).map(|place| format!("{:04}", group(-place))).collect();
    let sign = if *sign == 0 { "" } else { "-" };
    Some(format!("{sign}{whole}.{}", &fraction[..*scale as usize]).trim_end_matches('.').to_owned())
}

/// What a parameter is while nobody has said its value: NULL, of its type.
pub fn unsaid(oid: u32) -> ScalarValue {
    ScalarValue::try_from(&kind(oid).unwrap_or(DataType::Utf8)).unwrap_or(ScalarValue::Null)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Int64Array, TimestampMicrosecondArray, UInt64Array};

    use super::*;

    fn binary(column: ArrayRef) -> Vec<u8> {
        let mut out = vec![];
        assert!(write_value(&column, &Field::new("c", column.data_type().clone(), true), 0, true, &mut out));
        out
    }

    #[test]
    fn a_decimal_goes_out_and_comes_back_with_every_digit() {
        for (digits, scale, text) in [
            (950, 2, "9.50"),
            (0, 2, "0.00"),
            (-5, 3, "-0.005"),
            (12_345_678_901_234_567_890_123_456_789_012_345_678, 10, "1234567890123456789012345678.9012345678"),
            (10_000, 0, "10000"),
            (-100_000_000, 4, "-10000.0000"),
        ] {
            let column = Decimal128Array::from(vec![digits]).with_precision_and_scale(38, scale).unwrap();
            let sent = binary(Arc::new(column));
            let back = value_of(NUMERIC, true, Some(&sent), 1).unwrap();
            assert_eq!(back, ScalarValue::Decimal128(Some(digits), 38, scale), "{text}: {sent:?}");
            assert_eq!(back, value_of(NUMERIC, false, Some(text.as_bytes()), 1).unwrap());
        }
        assert_eq!(binary(Arc::new(UInt64Array::from(vec![u64::MAX])))[..8], [0, 5, 0, 4, 0, 0, 0, 0]);
    }

    #[test]
    fn instants_are_counted_from_2000() {
        let noon = 946_728_000_000_000;
        assert_eq!(binary(Arc::new(TimestampMicrosecondArray::from(vec![noon]))), 43_200_000_000_i64.to_be_bytes());
        let back = value_of(TIMESTAMP, true, Some(&43_200_000_000_i64.to_be_bytes()), 1).unwrap();
        assert_eq!(back, ScalarValue::TimestampMicrosecond(Some(noon), None));
        assert_eq!(value_of(TIMESTAMPTZ, false, Some(b"2000-01-01 14:00:00+02"), 1).unwrap(), back);
        assert_eq!(binary(Arc::new(Int64Array::from(vec![-2]))), (-2_i64).to_be_bytes());
    }

    #[test]
    fn times_ids_intervals_and_lists_are_values_too() {
        let id = "00112233-4455-6677-8899-aabbccddeeff";
        let bytes: Vec<u8> = (0..16).map(|byte| byte * 0x11).collect();
        let [one, other] =
            [(true, &bytes[..]), (false, id.as_bytes())].map(|(binary, bytes)| value_of(UUID, binary, Some(bytes), 1));
        assert_eq!((one.unwrap(), other.unwrap()), (ScalarValue::from(id), ScalarValue::from(id)));
        let second = ScalarValue::Time64Microsecond(Some(1_000_000));
        assert_eq!(value_of(TIME, true, Some(&1_000_000_i64.to_be_bytes()), 1).unwrap(), second);
        assert_eq!(value_of(TIME, false, Some(b"00:00:01"), 1).unwrap(), second);
        let day = [&0_i64.to_be_bytes()[..], &1_i32.to_be_bytes(), &0_i32.to_be_bytes()].concat();
        let one_day = ScalarValue::IntervalMonthDayNano(Some(IntervalMonthDayNano::new(0, 1, 0)));
        assert_eq!(value_of(INTERVAL, true, Some(&day), 1).unwrap(), one_day);
        assert_eq!(value_of(INTERVAL, false, Some(b"1 day"), 1).unwrap(), one_day);
        let ints = [ScalarValue::Int64(Some(1)), ScalarValue::Int64(None)];
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&ints, &DataType::Int64));
        assert_eq!(value_of(1016, false, Some(b"{1,NULL}"), 1).unwrap(), list);
        let decimals = [100, 250].map(|digits| ScalarValue::Decimal128(Some(digits), 38, 2));
        let list = ScalarValue::List(ScalarValue::new_list_nullable(&decimals, &DataType::Decimal128(38, 2)));
        assert_eq!(value_of(1231, false, Some(b"{1,2.50}"), 1).unwrap(), list);
        assert_eq!(value_of(1016, false, Some(b"{x}"), 1).unwrap_err().code, "22P02");
        assert!(value_of(1016, false, None, 1).unwrap().is_null());
    }

    #[test]
    fn what_is_no_value_of_its_type_is_refused_and_told_which_it_is() {
        for (oid, binary, bytes) in [
            (INT4, false, &b"x"[..]),
            (INT4, true, b"\0"),
            (BOOL, true, b"\x02"),
            (TEXT, true, b"\xff"),
            (BYTEA, false, b"\\x0"),
            (NUMERIC, true, b"\0\x01\x7f\xff\0\0\0\0\0\x01"),
            (TIMESTAMP, false, b"yesterday"),
        ] {
            let refused = value_of(oid, binary, Some(bytes), 3).unwrap_err();
            assert!(refused.code == "22P02" && refused.message.starts_with("parameter $3"), "{refused:?}");
        }
        assert_eq!(value_of(600, false, Some(b"(1,2)"), 1).unwrap_err().code, "0A000");
        assert!(value_of(INT4, true, None, 1).unwrap().is_null());
    }
}
