//! Values as text without a type beside it: the form in which PostgreSQL writes them. CSV, and answers over PostgreSQL's protocol, are
//! made of it, so the same rows are the same bytes by every way out.
//!
//! | type | written as |
//! |---|---|
//! | text | itself |
//! | JSON, lists, structs | JSON |
//! | booleans | `t`, `f` |
//! | integers, decimals | exact, with every digit of their scale |
//! | floats | the fewest digits that read back as the same: `0.1`, `1e+20`, `NaN`, `Infinity` |
//! | instants | `2026-11-20 10:00:00.25`; with a zone `2026-11-20 10:00:00.25+00` |
//! | dates, times | `2026-11-20`, `10:00:00` |
//! | bytes | `\x00ff` |

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{DataType, Field, Float16Type, Float32Type, Float64Type},
};
use syncline_functions::token_of;

/// Appends a value; false, and nothing, for NULL.
pub fn write_plain(column: &ArrayRef, field: &Field, row: usize, out: &mut Vec<u8>) -> bool {
    use DataType::{Binary, BinaryView, Boolean, Date32, Date64, Dictionary, FixedSizeBinary, Float16, Float32};
    use DataType::{Float64, LargeBinary, LargeUtf8, Null, Timestamp, Utf8, Utf8View};
    // A column of nothing but NULL keeps no marks for them.
    if column.is_null(row) || column.data_type() == &Null {
        return false;
    }
    match column.data_type() {
        Utf8 => out.extend_from_slice(column.as_string::<i32>().value(row).as_bytes()),
        Utf8View => out.extend_from_slice(column.as_string_view().value(row).as_bytes()),
        LargeUtf8 => out.extend_from_slice(column.as_string::<i64>().value(row).as_bytes()),
        Boolean => out.push(if column.as_boolean().value(row) { b't' } else { b'f' }),
        Binary => write_hex(column.as_binary::<i32>().value(row), out),
        LargeBinary => write_hex(column.as_binary::<i64>().value(row), out),
        BinaryView => write_hex(column.as_binary_view().value(row), out),
        FixedSizeBinary(_) => write_hex(column.as_fixed_size_binary().value(row), out),
        Float16 => write_float(f64::from(column.as_primitive::<Float16Type>().value(row)), 6, out),
        Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            // The shortest digits of the narrow type, not of the same value in the wide one.
            write_digits(&format!("{value:e}"), 6, out);
        }
        Float64 => write_float(column.as_primitive::<Float64Type>().value(row), 15, out),
        Timestamp(_, zone) => write_moment(&token(column, field, row), zone.is_some(), out),
        Date32 | Date64 => write_moment(&token(column, field, row), false, out),
        Dictionary(..) => {
            let Some(dictionary) = column.as_any_dictionary_opt() else { return false };
            let key = dictionary.normalized_keys()[row];
            return write_plain(dictionary.values(), field, key, out);
        }
        _ => out.extend_from_slice(unquoted(&token(column, field, row)).as_bytes()),
    }
    true
}

/// The same as a text of its own.
pub fn plain(column: &ArrayRef, field: &Field, row: usize) -> Option<String> {
    let mut out = vec![];
    write_plain(column, field, row, &mut out).then(|| String::from_utf8_lossy(&out).into_owned())
}

fn token(column: &ArrayRef, field: &Field, row: usize) -> String {
    let mut out = vec![];
    token_of(column, field, row, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn unquoted(token: &str) -> String {
    let text = token.starts_with('"').then(|| serde_json::from_str::<String>(token).ok()).flatten();
    text.unwrap_or_else(|| token.to_owned())
}

fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.extend([byte >> 4, byte & 15].map(|digit| b"0123456789abcdef"[digit as usize]));
    }
}

fn write_float(value: f64, digits: i32, out: &mut Vec<u8>) {
    write_digits(&format!("{value:e}"), digits, out);
}

/// Rust's shortest digits (`-1.25e-7`) as PostgreSQL writes them: plain while the exponent is from -4 to below `digits`.
fn write_digits(shortest: &str, digits: i32, out: &mut Vec<u8>) {
    let Some((mantissa, exponent)) = shortest.split_once('e') else {
        let name = match shortest {
            "inf" => "Infinity",
            "-inf" => "-Infinity",
            other => other,
        };
        return out.extend_from_slice(name.as_bytes());
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    out.extend_from_slice(sign.as_bytes());
    if !(-4..digits).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return out.extend_from_slice(format!("{mantissa}e{sign}{:02}", exponent.abs()).as_bytes());
    }
    let all = mantissa.replace('.', "");
    match usize::try_from(exponent) {
        Err(_) => {
            let zeros = "0".repeat((-exponent - 1) as usize);
            out.extend_from_slice(format!("0.{zeros}{all}").as_bytes());
        }
        Ok(whole) if all.len() <= whole + 1 => {
            let zeros = "0".repeat(whole + 1 - all.len());
            out.extend_from_slice(format!("{all}{zeros}").as_bytes());
        }
        Ok(whole) => out.extend_from_slice(format!("{}.{}", &all[..=whole], &all[whole + 1..]).as_bytes()),
    }
}

/// `"2026-11-20T10:00:00Z"` as `2026-11-20 10:00:00`; years before the first count backwards, as `0044-03-15 BC`.
fn write_moment(token: &str, zoned: bool, out: &mut Vec<u8>) {
    let text = token.trim_matches('"').trim_end_matches('Z').replacen('T', " ", 1);
    let (sign, rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text.as_str()),
    };
    let (year, after) = rest.split_once('-').unwrap_or((rest, ""));
    let year: i64 = year.parse().map_or(0, |year: i64| if sign { -year } else { year });
    let (shown, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
    let zone = if zoned { "+00" } else { "" };
    out.extend_from_slice(format!("{shown:04}-{after}{zone}{era}").as_bytes());
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{
            BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int64Array, ListArray,
            NullArray, StringArray, TimestampMicrosecondArray, TimestampNanosecondArray,
        },
        datatypes::Int32Type,
    };
    use syncline_functions::json_field;

    use super::*;

    fn all(column: ArrayRef) -> Vec<Option<String>> {
        let field = Field::new("c", column.data_type().clone(), true);
        (0..column.len()).map(|row| plain(&column, &field, row)).collect()
    }

    fn texts(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn values_are_written_as_postgresql_writes_them() {
        assert_eq!(all(Arc::new(BooleanArray::from(vec![true, false]))), texts(&["t", "f"]));
        assert_eq!(all(Arc::new(Int64Array::from(vec![i64::MIN, 7]))), texts(&["-9223372036854775808", "7"]));
        let decimals = Decimal128Array::from(vec![950, -5]).with_precision_and_scale(12, 2).unwrap();
        assert_eq!(all(Arc::new(decimals)), texts(&["9.50", "-0.05"]));
        assert_eq!(all(Arc::new(BinaryArray::from(vec![&b"\x00\xff"[..], b""]))), texts(&["\\x00ff", "\\x"]));
        assert_eq!(all(Arc::new(StringArray::from(vec!["a \"b\",\n", ""]))), texts(&["a \"b\",\n", ""]));
        let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), None])]);
        assert_eq!(all(Arc::new(list)), texts(&["[1,null]"]));
        assert_eq!(all(Arc::new(NullArray::new(1))), [None]);
        assert_eq!(all(Arc::new(StringArray::from(vec![None::<&str>]))), [None]);
    }

    #[test]
    fn json_is_itself_with_its_quotes() {
        let column: ArrayRef = Arc::new(StringArray::from(vec!["\"a\"", "{\"b\": 1}", "null"]));
        let field = json_field("j");
        let shown: Vec<_> = (0..3).map(|row| plain(&column, &field, row)).collect();
        assert_eq!(shown, texts(&["\"a\"", "{\"b\": 1}", "null"]));
    }

    #[test]
    fn moments_have_a_space_and_a_zone_only_where_the_type_has_one() {
        let moments =
            vec![1_795_168_800_250_000, 1_795_168_800_000_001, -62_135_596_800_000_001, 253_402_300_800_000_000];
        let plain = [
            "2026-11-20 10:00:00.25",
            "2026-11-20 10:00:00.000001",
            "0001-12-31 23:59:59.999999 BC",
            "10000-01-01 00:00:00",
        ];
        assert_eq!(all(Arc::new(TimestampMicrosecondArray::from(moments))), texts(&plain));
        let zoned = TimestampNanosecondArray::from(vec![1_795_168_800_000_000_000]).with_timezone("Europe/Berlin");
        assert_eq!(all(Arc::new(zoned)), texts(&["2026-11-20 10:00:00+00"]));
        assert_eq!(all(Arc::new(Date32Array::from(vec![0, -719_529]))), texts(&["1970-01-01", "0002-12-31 BC"]));
    }

    #[test]
    fn floats_have_the_fewest_digits() {
        let wide =
            [0.1, 1.0, -2.5, 1e14, 1e15, 123_456_789.125, 0.0001, 0.00001, 1.5e-7, -0.0, f64::NAN, f64::NEG_INFINITY];
        let shown = [
            "0.1",
            "1",
            "-2.5",
            "100000000000000",
            "1e+15",
            "123456789.125",
            "0.0001",
            "1e-05",
            "1.5e-07",
            "-0",
            "NaN",
            "-Infinity",
        ];
        assert_eq!(all(Arc::new(Float64Array::from(wide.to_vec()))), texts(&shown));
        let narrow = vec![0.1_f32, 100_000.0, 1_000_000.0, 16_777_216.0, f32::INFINITY];
        let shown = ["0.1", "100000", "1e+06", "1.6777216e+07", "Infinity"];
        assert_eq!(all(Arc::new(Float32Array::from(narrow))), texts(&shown));
    }
}
