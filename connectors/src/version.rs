//! Versions as bytes that compare like the values they stand for.
//!
//! Numbers of every type share one order, so that `SEQUENCE BY` may change from BIGINT to DECIMAL without losing the versions that a
//! database holds. A finite number is `0.d₁d₂… × 10^e` with `d₁ ≠ 0`: sign, exponent, digits, an end that is below every digit; for
//! negative numbers all but the sign is inverted.

use std::borrow::Cow;

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{
        DataType, Field, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
        TimestampSecondType,
    },
};
use syncline_functions::{is_json, token_of};

/// A decimal number of any length, without leading or trailing zeros.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: Vec<u8>,
    exponent: i64,
}

impl Decimal {
    /// A JSON number, or what `{:e}` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        // An exponent of more digits than fit is as far away as any.
        let far = if exponent.starts_with('-') { FARTHEST_EXPONENT.saturating_neg() } else { FARTHEST_EXPONENT };
        let exponent =
            exponent.parse::<i64>().map_or(far, |exponent| exponent.clamp(-FARTHEST_EXPONENT, FARTHEST_EXPONENT));
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
            return Some(Self { negative: false, digits: Vec::new(), exponent: 0 });
        };
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        let exponent = exponent + whole.len() as i64 - first as i64;
        Some(Self { negative, digits: digits[first..=last].to_vec(), exponent })
    }

    pub fn digits(&self) -> usize {
        self.digits.len()
    }

    /// Digits after the point; fewer than none where the number ends in zeros before it.
    pub fn places(&self) -> i64 {
        if self.digits.is_empty() { i64::MIN } else { self.digits.len() as i64 - self.exponent }
    }

    /// The number, where it is a whole one of up to 38 digits.
    pub fn whole(&self) -> Option<i128> {
        let zeros = u32::try_from(self.exponent - self.digits.len() as i64);
        let zeros = if self.digits.is_empty() { 0 } else { zeros.ok()? };
        let digits = self
            .digits
            .iter()
            .try_fold(0i128, |sum, digit| sum.checked_mul(10)?.checked_add(i128::from(digit - b'0')))?;
        let whole = digits.checked_mul(10i128.checked_pow(zeros)?)?;
        Some(if self.negative { -whole } else { whole })
    }

    /// The number in units of its last of so many places, where it has no more of them, and no more digits than `most`.
    pub fn unscaled(&self, places: i64, most: usize) -> Option<String> {
        if self.digits.is_empty() {
            return Some("0".to_owned());
        }
        let zeros = usize::try_from(self.exponent - self.digits.len() as i64 + places).ok()?;
        if self.digits.len() + zeros > most {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        Some(format!("{sign}{}{}", String::from_utf8_lossy(&self.digits), "0".repeat(zeros)))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if self.digits.is_empty() {
            return out.push(ZERO);
        }
        out.push(if self.negative { NEGATIVE } else { POSITIVE });
        let start = out.len();
        out.extend_from_slice(&((self.exponent as u64) ^ (1 << 63)).to_be_bytes());
        out.extend_from_slice(&self.digits);
        out.push(0);
        if self.negative {
            out[start..].iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

const FARTHEST_EXPONENT: i64 = 1 << 40;
const NEGATIVE: u8 = 1;
const ZERO: u8 = 2;
const POSITIVE: u8 = 3;

/// What kind of value follows; values of two kinds compare by their kind. Part of what databases hold: never changed.
const BOOLEAN: u8 = 0x10;
const NUMBER: u8 = 0x20;
const INSTANT: u8 = 0x30;
const TEXT: u8 = 0x40;
const BYTES: u8 = 0x50;

/// The version of a row, or `None` where it has none: NULL, or not a number.
pub fn version(column: &ArrayRef, field: &Field, row: usize) -> Option<Vec<u8>> {
    if column.is_null(row) {
        return None;
    }
    let mut out = Vec::new();
    match column.data_type() {
        DataType::Timestamp(unit, _) => {
            out.push(INSTANT);
            Decimal::parse(&nanos(column, *unit, row).to_string())?.encode(&mut out);
        }
        _ => {
            let mut token = Vec::new();
            token_of(column, field, row, &mut token);
            of_token(std::str::from_utf8(&token).ok()?, column.data_type(), is_json(field), &mut out)?;
        }
    }
    Some(out)
}

fn nanos(column: &ArrayRef, unit: TimeUnit, row: usize) -> i128 {
    let (value, nanos) = match unit {
        TimeUnit::Second => (column.as_primitive::<TimestampSecondType>().value(row), 1_000_000_000),
        TimeUnit::Millisecond => (column.as_primitive::<TimestampMillisecondType>().value(row), 1_000_000),
        TimeUnit::Microsecond => (column.as_primitive::<TimestampMicrosecondType>().value(row), 1_000),
        TimeUnit::Nanosecond => (column.as_primitive::<TimestampNanosecondType>().value(row), 1),
    };
    value as i128 * nanos
}

fn of_token(token: &str, data_type: &DataType, json: bool, out: &mut Vec<u8>) -> Option<()> {
    match token.as_bytes().first()? {
        b'-' | b'0'..=b'9' => {
            out.push(NUMBER);
            Decimal::parse(token)?.encode(out);
        }
        b't' | b'f' => out.extend_from_slice(&[BOOLEAN, (token == "true") as u8]),
        b'"' if data_type.is_floating() && !json => {
            // Infinities; what is not a number has no place in an order.
            out.push(NUMBER);
            match token {
                r#""Infinity""# => out.push(POSITIVE + 1),
                r#""-Infinity""# => out.push(NEGATIVE - 1),
                _ => return None,
            }
        }
        b'"' => {
            out.push(TEXT);
            out.extend_from_slice(string(token).as_bytes());
        }
        _ => {
            out.push(BYTES);
            out.extend_from_slice(token.as_bytes());
        }
    }
    Some(())
}

/// What a string token says. One that is no text (half of a surrogate pair) stays a token.
pub fn string(token: &str) -> Cow<'_, str> {
    match token.get(1..token.len().saturating_sub(1)) {
        Some(body) if !body.contains('\\') => Cow::Borrowed(body),
        _ => serde_json::from_str::<String>(token).map_or(Cow::Borrowed(token), Cow::Owned),
    }
}

/// A part of a key that is a number, as the bytes of its value: equal exactly where the numbers are.
pub fn number_part(text: &str, out: &mut Vec<u8>) {
    match Decimal::parse(text) {
        Some(number) => {
            out.push(NUMBER);
            number.encode(out);
        }
        None => sized(NUMBER, text.as_bytes(), out),
    }
}

pub fn text_part(text: &[u8], out: &mut Vec<u8>) {
    sized(TEXT, text, out);
}

pub fn bytes_part(bytes: &[u8], out: &mut Vec<u8>) {
    sized(BYTES, bytes, out);
}

fn sized(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// What the database holds of a key.
pub struct Known {
    pub version: Option<Vec<u8>>,
    pub place: Option<i64>,
    pub deleted: bool,
}

impl Known {
    /// At equal versions the later place wins, which is the row at hand; but a delete stays.
    pub fn is_newer_than(&self, version: &[u8], deletes: bool) -> bool {
        match self.version.as_deref() {
            None => false,
            Some(known) if known == version => self.deleted && !deletes,
            Some(known) => known > version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    use arrow::array::{Float64Array, StringViewArray, TimestampMicrosecondArray};
    use proptest::prelude::*;
    use syncline_functions::json_field;

    fn of_json(token: &str) -> Vec<u8> {
        let column: ArrayRef = Arc::new(StringViewArray::from(vec![token]));
        version(&column, &json_field("v"), 0).unwrap()
    }

    #[test]
    fn versions_of_numbers_compare_as_numbers() {
        let ordered = [
            "-1e9", "-10.5", "-10", "-9", "-0.05", "-0.04", "0", "1e-9", "0.09", "0.1", "9", "9.5", "10", "10.05",
            "1e2", "1e400",
        ];
        for pair in ordered.windows(2) {
            assert!(of_json(pair[0]) < of_json(pair[1]), "{pair:?}");
        }
        for (one, other) in [("1", "1.0"), ("1e2", "100"), ("-0", "0.000"), ("0.10", "1e-1")] {
            assert_eq!(of_json(one), of_json(other), "{one} {other}");
        }
    }

    #[test]
    fn versions_of_instants_and_floats_compare_as_such() {
        let instants: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![-5, 0, 5, 1_000_000, 1_000_001]));
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, -1e300, 0.1, 1e300, f64::INFINITY]));
        for column in [instants, floats] {
            let field = Field::new("v", column.data_type().clone(), true);
            let versions: Vec<_> = (0..5).map(|row| version(&column, &field, row).unwrap()).collect();
            assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
        }
        let nan: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN]));
        assert_eq!(version(&nan, &Field::new("v", DataType::Float64, true), 0), None);
    }

    proptest! {
        #[test]
        fn any_two_integers_compare_alike(a: i64, b: i64) {
            prop_assert_eq!(of_json(&a.to_string()).cmp(&of_json(&b.to_string())), a.cmp(&b));
        }

        #[test]
        fn any_two_decimals_compare_alike(a in -10_000_000i64..10_000_000, b in -10_000_000i64..10_000_000, scale in 0u32..6) {
            let text = |value: i64| {
                let (sign, value, power) = (if value < 0 { "-" } else { "" }, value.abs(), 10i64.pow(scale));
                format!("{sign}{}.{:0width$}", value / power, value % power, width = scale.max(1) as usize)
            };
            prop_assert_eq!(of_json(&text(a)).cmp(&of_json(&text(b))), a.cmp(&b), "{} {}", text(a), text(b));
        }
    }
}
