//! The names of types as people write them in SQL, for messages.

use arrow::datatypes::{DataType, Field, TimeUnit};

use crate::is_json;

/// The type of `TIMESTAMP`: an instant in UTC, in microseconds.
pub const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);

/// `DECIMAL(12, 2)`, `BIGINT`, `TEXT`, …: the SQL spelling of a type.
pub fn sql_type(data_type: &DataType) -> String {
    use DataType::*;
    match data_type {
        Null => "NULL".into(),
        Boolean => "BOOLEAN".into(),
        Int8 => "TINYINT".into(),
        Int16 => "SMALLINT".into(),
        Int32 => "INT".into(),
        Int64 => "BIGINT".into(),
        UInt8 => "TINYINT UNSIGNED".into(),
        UInt16 => "SMALLINT UNSIGNED".into(),
        UInt32 => "INT UNSIGNED".into(),
        UInt64 => "BIGINT UNSIGNED".into(),
        Float16 | Float32 => "REAL".into(),
        Float64 => "DOUBLE".into(),
        Decimal32(precision, scale)
        | Decimal64(precision, scale)
        | Decimal128(precision, scale)
        | Decimal256(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        Utf8 | LargeUtf8 | Utf8View => "STRING".into(),
        Binary | LargeBinary | BinaryView | FixedSizeBinary(_) => "BYTES".into(),
        Timestamp(..) => "TIMESTAMP".into(),
        Date32 | Date64 => "DATE".into(),
        Time32(_) | Time64(_) => "TIME".into(),
        Interval(_) | Duration(_) => "INTERVAL".into(),
        List(item) | LargeList(item) | FixedSizeList(item, _) | ListView(item) | LargeListView(item) => {
            format!("{}[]", sql_type_of(item))
        }
        Struct(fields) => {
            let members: Vec<String> =
                fields.iter().map(|field| format!("{} {}", field.name(), sql_type_of(field))).collect();
            format!("STRUCT({})", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// The SQL spelling of a column's type, `JSON` for a tagged one.
pub fn sql_type_of(field: &Field) -> String {
    if is_json(field) { "JSON".into() } else { sql_type(field.data_type()) }
}
