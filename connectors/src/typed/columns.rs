//! Arrow's types as the columns here have them.
//!
//! | in the file | here |
//! |---|---|
//! | integers, BOOLEAN, DATE, REAL, DOUBLE | as they are; 16-bit floats as REAL |
//! | decimals of any width | DECIMAL of their digits |
//! | text and bytes of any encoding, dictionaries | STRING, BYTES, what they hold |
//! | timestamps of any unit, with or without a zone | TIMESTAMP, an instant in UTC; one that is between two microseconds is a bad value of its row |
//! | times of day | TIME |
//! | lists of any kind, structs | lists and structs of these |
//!
//! What gets another type here gets it without loss. Where values decide that (nanoseconds), the type stays, and the decoder judges
//! each row; inside of lists and structs it cannot, so there is no such type there.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{CastOptions, can_cast_types, cast_with_options},
    datatypes::{
        DataType, Field, Fields, IntervalUnit, Schema, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType,
    },
    error::ArrowError,
};

use super::{Column, batch};

/// An instant in UTC.
const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// The column as it is declared here; else its name and type.
pub fn ours(field: &Field) -> Column {
    let refused = || (field.name().clone(), field.data_type().to_string());
    let kind = match field.data_type() {
        DataType::Timestamp(..) => TIMESTAMP,
        DataType::Date64 => DataType::Date32,
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        other => lossless(other).ok_or_else(refused)?,
    };
    Ok(Field::new(field.name(), kind, true))
}

/// The type that holds all values of this one.
fn lossless(kind: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match kind {
        Null
        | Boolean
        | Int8
        | Int16
        | Int32
        | Int64
        | UInt8
        | UInt16
        | UInt32
        | UInt64
        | Float32
        | Float64
        | Date32
        | Time64(TimeUnit::Microsecond)
        | Interval(IntervalUnit::MonthDayNano) => kind.clone(),
        Float16 => Float32,
        Decimal32(precision, scale) | Decimal64(precision, scale) | Decimal128(precision, scale) => {
            Decimal128(*precision, *scale)
        }
        // A wide one of few digits would be read back as a narrow one.
        Decimal256(precision, _) if *precision > 38 => kind.clone(),
        Decimal256(precision, scale) => Decimal128(*precision, *scale),
        Utf8 | LargeUtf8 | Utf8View => Utf8View,
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => Binary,
        Time32(_) => Time64(TimeUnit::Microsecond),
        Timestamp(TimeUnit::Nanosecond, _) => return None,
        Timestamp(..) => TIMESTAMP,
        Dictionary(_, value) => lossless(value)?,
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            List(Arc::new(Field::new("item", lossless(item.data_type())?, true)))
        }
        Struct(members) => {
            let member = |member: &Arc<Field>| Some(Field::new(member.name(), lossless(member.data_type())?, true));
            Struct(members.iter().map(member).collect::<Option<Fields>>()?)
        }
        _ => return None,
    })
    .filter(|wanted| wanted == kind || can_cast_types(kind, wanted))
}

/// The columns in our types, as far as that loses nothing.
pub fn taken(rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let mut fields = Vec::with_capacity(rows.num_columns());
    let mut columns = Vec::with_capacity(rows.num_columns());
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        let column = column_of(column)?;
        fields.push(Field::new(field.name(), column.data_type().clone(), true));
        columns.push(column);
    }
    batch(Schema::new(fields), columns, rows.num_rows())
}

/// One column in our type.
pub fn column_of(column: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    use DataType::Timestamp;
    Ok(match column.data_type() {
        // An instant is UTC with any zone: only the label goes.
        Timestamp(_, None) => column.clone(),
        Timestamp(TimeUnit::Second, _) => {
            Arc::new(column.as_primitive::<TimestampSecondType>().clone().with_timezone_opt(None::<&str>))
        }
        Timestamp(TimeUnit::Millisecond, _) => {
            Arc::new(column.as_primitive::<TimestampMillisecondType>().clone().with_timezone_opt(None::<&str>))
        }
        Timestamp(TimeUnit::Microsecond, _) => {
            Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone_opt(None::<&str>))
        }
        Timestamp(TimeUnit::Nanosecond, _) => {
            Arc::new(column.as_primitive::<TimestampNanosecondType>().clone().with_timezone_opt(None::<&str>))
        }
        kind => match lossless(kind) {
            Some(wanted) if wanted != *kind => {
                cast_with_options(column, &wanted, &CastOptions { safe: false, ..CastOptions::default() })?
            }
            _ => column.clone(),
        },
    })
}
