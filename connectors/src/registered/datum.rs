//! A value that has a type, whatever format it was written in, and the columns that such values become.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
        Int32Builder, Int64Builder, RecordBatch, StringViewBuilder, Time64MicrosecondBuilder,
        TimestampMicrosecondBuilder, UInt32Builder, UInt64Builder,
    },
    datatypes::{DataType, Field, Schema},
    error::ArrowError,
};
use syncline_functions::{base64, is_json, write_date, write_decimal, write_instant, write_json_string, write_time};

use crate::typed::batch;

#[derive(Clone, Debug, PartialEq)]
pub enum Datum {
    Null,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f32),
    Double(f64),
    Bytes(Vec<u8>),
    Text(String),
    /// All of its digits, and how many of them stand behind the point.
    Decimal(i128, i8),
    /// Days since 1970.
    Date(i32),
    /// Microseconds of a day.
    Time(i64),
    /// Microseconds since 1970.
    Instant(i64),
    List(Vec<Datum>),
    /// Names and values, in order. Of a name that comes twice the last counts.
    Record(Vec<(String, Datum)>),
}

const MILLION: i64 = 1_000_000;

impl Datum {
    /// As one token of JSON, in the spelling that rows have everywhere.
    pub fn write(&self, out: &mut Vec<u8>) {
        let quoted = |out: &mut Vec<u8>, write: &dyn Fn(&mut Vec<u8>)| {
            out.push(b'"');
            write(out);
            out.push(b'"');
        };
        let nanos = |micros: &i64| micros.rem_euclid(MILLION) as u32 * 1000;
        match self {
            Self::Null => out.extend_from_slice(b"null"),
            Self::Boolean(truth) => out.extend_from_slice(if *truth { b"true" } else { b"false" }),
            Self::Integer(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Unsigned(number) => out.extend_from_slice(number.to_string().as_bytes()),
            Self::Float(number) => float(*number, number.is_finite(), out),
            Self::Double(number) => float(*number, number.is_finite(), out),
            Self::Bytes(bytes) => quoted(out, &|out| base64::encode(bytes, out)),
            Self::Text(text) => write_json_string(text, out),
            Self::Decimal(digits, scale) => write_decimal(*digits, *scale, out),
            Self::Date(day) => quoted(out, &|out| write_date((*day).into(), out)),
            Self::Time(time) => quoted(out, &|out| write_time(time.div_euclid(MILLION), nanos(time), out)),
            Self::Instant(time) => quoted(out, &|out| write_instant(time.div_euclid(MILLION), nanos(time), out)),
            Self::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Self::Record(members) => {
                out.push(b'{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_json_string(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
        }
    }
}

/// JSON has no such number as infinity; as a text nothing of it is lost.
fn float<N: std::fmt::Debug + Copy>(number: N, finite: bool, out: &mut Vec<u8>) {
    let text = format!("{number:?}");
    match (finite, text.as_str()) {
        (true, text) => out.extend_from_slice(text.as_bytes()),
        (false, "inf") => out.extend_from_slice(b"\"Infinity\""),
        (false, "-inf") => out.extend_from_slice(b"\"-Infinity\""),
        (false, _) => out.extend_from_slice(b"\"NaN\""),
    }
}

/// Rows of such values on their way to columns.
pub struct Columns {
    fields: Vec<Field>,
    builders: Vec<Builder>,
    rows: usize,
}

enum Builder {
    Boolean(BooleanBuilder),
    Int32(Int32Builder),
    Int64(Int64Builder),
    UInt32(UInt32Builder),
    UInt64(UInt64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Bytes(BinaryBuilder),
    Text(StringViewBuilder),
    Decimal(Decimal128Builder, i128),
    Date(Date32Builder),
    Time(Time64MicrosecondBuilder),
    Instant(TimestampMicrosecondBuilder),
    Json(StringViewBuilder),
}

impl Columns {
    pub fn new(fields: Vec<Field>) -> Self {
        let builders = fields.iter().map(Builder::of).collect();
        Self { fields, builders, rows: 0 }
    }

    /// Adds a row; what a column of its type cannot hold is said, and the row is not added.
    pub fn push(&mut self, row: &[Datum]) -> Result<(), String> {
        for ((field, builder), value) in self.fields.iter().zip(&self.builders).zip(row) {
            if !builder.takes(value) {
                let mut token = vec![];
                value.write(&mut token);
                let token = String::from_utf8_lossy(&token).chars().take(64).collect::<String>();
                return Err(format!("{}: {token} is not a {}", field.name(), syncline_functions::sql_type_of(field)));
            }
        }
        for (builder, value) in self.builders.iter_mut().zip(row) {
            builder.append(value);
        }
        self.rows += 1;
        Ok(())
    }

    /// Adds a row of which nothing is known.
    pub fn push_nulls(&mut self) {
        self.builders.iter_mut().for_each(|builder| builder.append(&Datum::Null));
        self.rows += 1;
    }

    pub fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = self.builders.iter_mut().map(Builder::finish).collect();
        batch(Schema::new(self.fields), columns, self.rows)
    }
}

impl Builder {
    fn of(field: &Field) -> Self {
        match field.data_type() {
            _ if is_json(field) => Self::Json(StringViewBuilder::new()),
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int32 => Self::Int32(Int32Builder::new()),
            DataType::Int64 => Self::Int64(Int64Builder::new()),
            DataType::UInt32 => Self::UInt32(UInt32Builder::new()),
            DataType::UInt64 => Self::UInt64(UInt64Builder::new()),
            DataType::Float32 => Self::Float(Float32Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Binary => Self::Bytes(BinaryBuilder::new()),
            DataType::Decimal128(precision, _) => {
                let most = 10i128.checked_pow(u32::from(*precision)).unwrap_or(i128::MAX);
                Self::Decimal(Decimal128Builder::new().with_data_type(field.data_type().clone()), most)
            }
            DataType::Date32 => Self::Date(Date32Builder::new()),
            DataType::Time64(_) => Self::Time(Time64MicrosecondBuilder::new()),
            DataType::Timestamp(..) => Self::Instant(TimestampMicrosecondBuilder::new()),
            DataType::Utf8View => Self::Text(StringViewBuilder::new()),
            _ => Self::Json(StringViewBuilder::new()),
        }
    }

    fn takes(&self, value: &Datum) -> bool {
        match (self, value) {
            (_, Datum::Null) | (Self::Json(_), _) => true,
            (Self::Int32(_), Datum::Integer(number)) => i32::try_from(*number).is_ok(),
            (Self::UInt32(_), Datum::Unsigned(number)) => u32::try_from(*number).is_ok(),
            (Self::Decimal(_, most), Datum::Decimal(digits, _)) => digits.unsigned_abs() < most.unsigned_abs(),
            (Self::Boolean(_), Datum::Boolean(_))
            | (Self::Int64(_), Datum::Integer(_))
            | (Self::UInt64(_), Datum::Unsigned(_))
            | (Self::Float(_), Datum::Float(_))
            | (Self::Double(_), Datum::Double(_))
            | (Self::Bytes(_), Datum::Bytes(_))
            | (Self::Text(_), Datum::Text(_))
            | (Self::Date(_), Datum::Date(_))
            | (Self::Time(_), Datum::Time(_))
            | (Self::Instant(_), Datum::Instant(_)) => true,
            _ => false,
        }
    }

    /// Appends a value that it takes.
    fn append(&mut self, value: &Datum) {
        match (self, value) {
            (Self::Boolean(to), Datum::Boolean(truth)) => to.append_value(*truth),
            (Self::Int32(to), Datum::Integer(number)) => to.append_option(i32::try_from(*number).ok()),
            (Self::Int64(to), Datum::Integer(number)) => to.append_value(*number),
            (Self::UInt32(to), Datum::Unsigned(number)) => to.append_option(u32::try_from(*number).ok()),
            (Self::UInt64(to), Datum::Unsigned(number)) => to.append_value(*number),
            (Self::Float(to), Datum::Float(number)) => to.append_value(*number),
            (Self::Double(to), Datum::Double(number)) => to.append_value(*number),
            (Self::Bytes(to), Datum::Bytes(bytes)) => to.append_value(bytes),
            (Self::Text(to), Datum::Text(text)) => to.append_value(text),
            (Self::Decimal(to, _), Datum::Decimal(digits, _)) => to.append_value(*digits),
            (Self::Date(to), Datum::Date(day)) => to.append_value(*day),
            (Self::Time(to), Datum::Time(time)) => to.append_value(*time),
            (Self::Instant(to), Datum::Instant(time)) => to.append_value(*time),
            (Self::Json(to), value) if *value != Datum::Null => {
                let mut token = vec![];
                value.write(&mut token);
                to.append_value(String::from_utf8_lossy(&token));
            }
            (Self::Boolean(to), _) => to.append_null(),
            (Self::Int32(to), _) => to.append_null(),
            (Self::Int64(to), _) => to.append_null(),
            (Self::UInt32(to), _) => to.append_null(),
            (Self::UInt64(to), _) => to.append_null(),
            (Self::Float(to), _) => to.append_null(),
            (Self::Double(to), _) => to.append_null(),
            (Self::Bytes(to), _) => to.append_null(),
            (Self::Text(to) | Self::Json(to), _) => to.append_null(),
            (Self::Decimal(to, _), _) => to.append_null(),
            (Self::Date(to), _) => to.append_null(),
            (Self::Time(to), _) => to.append_null(),
            (Self::Instant(to), _) => to.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Boolean(from) => Arc::new(from.finish()),
            Self::Int32(from) => Arc::new(from.finish()),
            Self::Int64(from) => Arc::new(from.finish()),
            Self::UInt32(from) => Arc::new(from.finish()),
            Self::UInt64(from) => Arc::new(from.finish()),
            Self::Float(from) => Arc::new(from.finish()),
            Self::Double(from) => Arc::new(from.finish()),
            Self::Bytes(from) => Arc::new(from.finish()),
            Self::Text(from) | Self::Json(from) => Arc::new(from.finish()),
            Self::Decimal(from, _) => Arc::new(from.finish()),
            Self::Date(from) => Arc::new(from.finish()),
            Self::Time(from) => Arc::new(from.finish()),
            Self::Instant(from) => Arc::new(from.finish()),
        }
    }
}
