//! A column that is filled value by value from texts, numbers and bytes of a place; what does not fit is told in words.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Decimal256Builder, Float32Builder,
        Float64Builder, Int16Builder, Int32Builder, Int64Builder, StringBuilder, StringViewBuilder,
        Time64MicrosecondBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, TimeUnit, i256},
};
use syncline_functions::{instant_of, is_json, sql_type};

use crate::version::Decimal;

/// The type of a point in time in questions: an instant in UTC, as everywhere here.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

pub enum Column {
    Bool(BooleanBuilder),
    Small(Int16Builder),
    Int(Int32Builder),
    Big(Int64Builder),
    Real(Float32Builder),
    Double(Float64Builder),
    Number(Decimal128Builder, u8, i8),
    Wide(Decimal256Builder, u8, i8),
    Text(StringBuilder),
    Json(StringViewBuilder),
    Bytes(BinaryBuilder),
    Instant(TimestampMicrosecondBuilder),
    Day(Date32Builder),
    Time(Time64MicrosecondBuilder),
}

impl Column {
    pub fn of(field: &Field) -> Self {
        match field.data_type() {
            _ if is_json(field) => Self::Json(StringViewBuilder::new()),
            DataType::Boolean => Self::Bool(BooleanBuilder::new()),
            DataType::Int16 => Self::Small(Int16Builder::new()),
            DataType::Int32 => Self::Int(Int32Builder::new()),
            DataType::Int64 => Self::Big(Int64Builder::new()),
            DataType::Float32 => Self::Real(Float32Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            to @ DataType::Decimal128(precision, scale) => {
                Self::Number(Decimal128Builder::new().with_data_type(to.clone()), *precision, *scale)
            }
            to @ DataType::Decimal256(precision, scale) => {
                Self::Wide(Decimal256Builder::new().with_data_type(to.clone()), *precision, *scale)
            }
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Timestamp(..) => Self::Instant(TimestampMicrosecondBuilder::new()),
            DataType::Date32 => Self::Day(Date32Builder::new()),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::new()),
            _ => Self::Text(StringBuilder::new()),
        }
    }

    pub fn null(&mut self) {
        match self {
            Self::Bool(values) => values.append_null(),
            Self::Small(values) => values.append_null(),
            Self::Int(values) => values.append_null(),
            Self::Big(values) => values.append_null(),
            Self::Real(values) => values.append_null(),
            Self::Double(values) => values.append_null(),
            Self::Number(values, ..) => values.append_null(),
            Self::Wide(values, ..) => values.append_null(),
            Self::Text(values) => values.append_null(),
            Self::Json(values) => values.append_null(),
            Self::Bytes(values) => values.append_null(),
            Self::Instant(values) => values.append_null(),
            Self::Day(values) => values.append_null(),
            Self::Time(values) => values.append_null(),
        }
    }

    /// A value as a text says it. The error is what the value is not.
    pub fn text(&mut self, text: &str) -> Result<(), String> {
        let no = |what: &str| format!("is no {what}");
        match self {
            Self::Bool(values) => values.append_value(match text {
                "t" | "true" | "1" => true,
                "f" | "false" | "0" => false,
                _ => return Err(no("BOOLEAN")),
            }),
            Self::Small(values) => values.append_value(text.parse().map_err(|_| no("SMALLINT"))?),
            Self::Int(values) => values.append_value(text.parse().map_err(|_| no("INT"))?),
            Self::Big(values) => values.append_value(text.parse().map_err(|_| no("BIGINT"))?),
            Self::Real(values) => values.append_value(text.parse().map_err(|_| no("REAL"))?),
            Self::Double(values) => values.append_value(text.parse().map_err(|_| no("DOUBLE"))?),
            Self::Number(values, precision, scale) => {
                let number = unscaled(text, *precision, *scale).and_then(|digits| digits.parse().ok());
                values.append_value(number.ok_or_else(|| unfit(&DataType::Decimal128(*precision, *scale)))?);
            }
            Self::Wide(values, precision, scale) => {
                let number = unscaled(text, *precision, *scale).and_then(|digits| i256::from_string(&digits));
                values.append_value(number.ok_or_else(|| unfit(&DataType::Decimal256(*precision, *scale)))?);
            }
            Self::Text(values) => values.append_value(text),
            Self::Json(values) => match text.trim_ascii() {
                "null" => values.append_null(),
                token => values.append_value(token),
            },
            Self::Bytes(values) => values.append_value(text.as_bytes()),
            Self::Instant(values) => {
                values.append_value(
                    instant_of(text.as_bytes()).ok_or_else(|| no("TIMESTAMP between the years 0 and 9999"))?,
                );
            }
            Self::Day(values) => values.append_value(day(text).ok_or_else(|| no("DATE between the years 0 and 9999"))?),
            Self::Time(values) => values.append_value(time(text).ok_or_else(|| no("TIME of a day"))?),
        }
        Ok(())
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        match self {
            Self::Bytes(values) => values.append_value(bytes),
            _ => self.null(),
        }
    }

    /// For columns of these types; NULL in others.
    pub fn integer(&mut self, number: i64) {
        match self {
            Self::Big(values) => values.append_value(number),
            Self::Instant(values) => values.append_value(number),
            Self::Double(values) => values.append_value(number as f64),
            _ => self.null(),
        }
    }

    pub fn double(&mut self, number: f64) {
        match self {
            Self::Double(values) => values.append_value(number),
            _ => self.null(),
        }
    }

    pub fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Bool(values) => Arc::new(values.finish()),
            Self::Small(values) => Arc::new(values.finish()),
            Self::Int(values) => Arc::new(values.finish()),
            Self::Big(values) => Arc::new(values.finish()),
            Self::Real(values) => Arc::new(values.finish()),
            Self::Double(values) => Arc::new(values.finish()),
            Self::Number(values, ..) => Arc::new(values.finish()),
            Self::Wide(values, ..) => Arc::new(values.finish()),
            Self::Text(values) => Arc::new(values.finish()),
            Self::Json(values) => Arc::new(values.finish()),
            Self::Bytes(values) => Arc::new(values.finish()),
            Self::Instant(values) => Arc::new(values.finish()),
            Self::Day(values) => Arc::new(values.finish()),
            Self::Time(values) => Arc::new(values.finish()),
        }
    }
}

/// The digits of a number, counted in units of its last place; `None` where it has more of them than it may.
fn unscaled(text: &str, precision: u8, scale: i8) -> Option<String> {
    Decimal::parse(text)?.unscaled(i64::from(scale), usize::from(precision))
}

fn unfit(to: &DataType) -> String {
    format!("is no number that {} holds", sql_type(to))
}

/// Days since 1970.
fn day(text: &str) -> Option<i32> {
    let micros = instant_of(text.as_bytes()).filter(|_| text.len() == "2026-11-20".len())?;
    i32::try_from(micros.div_euclid(DAY)).ok()
}

/// Microseconds since midnight.
fn time(text: &str) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b':' | b'.'));
    instant_of(format!("1970-01-01T{text}Z").as_bytes()).filter(|micros| plain && (0..DAY).contains(micros))
}

/// In microseconds.
const DAY: i64 = 86_400_000_000;

#[cfg(test)]
mod tests {
    use arrow::util::display::array_value_to_string;
    use syncline_functions::json_field;

    use super::*;

    fn told(field: Field, text: &str) -> String {
        let mut column = Column::of(&field);
        match column.text(text) {
            Err(wrong) => wrong,
            Ok(()) => array_value_to_string(&column.finish(), 0).unwrap(),
        }
    }

    #[test]
    fn what_a_type_cannot_hold_is_told_and_nothing_is_rounded() {
        let of = |to: DataType, text: &str| told(Field::new("a", to, true), text);
        let money = DataType::Decimal128(6, 2);
        let unfit = "is no number that DECIMAL(6, 2) holds";
        for (text, expected) in [
            ("9.50", "9.50"),
            ("-9999.99", "-9999.99"),
            ("1e3", "1000.00"),
            ("0.000", "0.00"),
            ("10000", unfit),
            ("0.001", unfit),
            ("NaN", unfit),
        ] {
            assert_eq!(of(money.clone(), text), expected, "{text}");
        }
        let wide = "123456789012345678901234567890123456789012.5";
        assert_eq!(of(DataType::Decimal256(50, 1), wide), wide);
        assert_eq!(of(DataType::Int16, "32768"), "is no SMALLINT");
        assert_eq!(of(DataType::Float64, "0.1"), "0.1");
        assert_eq!(of(TIMESTAMP, "2026-11-20 10:00:00.5+00"), "2026-11-20T10:00:00.500");
        assert_eq!(of(TIMESTAMP, "infinity"), "is no TIMESTAMP between the years 0 and 9999");
        assert_eq!(of(DataType::Date32, "2026-11-20"), "2026-11-20");
        assert_eq!(of(DataType::Date32, "0044-03-15 BC"), "is no DATE between the years 0 and 9999");
        let clock = DataType::Time64(TimeUnit::Microsecond);
        assert_eq!(of(clock.clone(), "10:00:00.25"), "10:00:00.250");
        assert_eq!(of(clock, "24:00:00"), "is no TIME of a day");
        assert_eq!(told(json_field("a"), " {\"b\": 1.0} "), "{\"b\": 1.0}");
        assert_eq!(told(json_field("a"), "null"), "");
    }
}
