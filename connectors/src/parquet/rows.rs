//! Rows in the shape in which Parquet files hold them.

use std::{collections::HashMap, sync::Arc};

use arrow::{
    array::{ArrayRef, AsArray, RecordBatch, UInt32Array, new_null_array},
    compute::{cast, take},
    datatypes::{
        DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
        TimestampNanosecondType, TimestampSecondType,
    },
    error::ArrowError,
};
use parquet::{arrow::ArrowWriter, errors::ParquetError};
use syncline_functions::{is_json, json_texts};

use super::sink::Parts;
use crate::spec::ConnectorError;

const UTC: &str = "UTC";

/// The columns of the files. `schema`: the columns of the rows; hidden ones stay out.
pub fn kept_schema(schema: &Schema, parts: Parts) -> Result<SchemaRef, ConnectorError> {
    let visible = schema.fields().iter().filter(|field| !field.name().starts_with("__"));
    let fields: Vec<FieldRef> = visible.map(|field| Arc::new(kept(field))).collect();
    for field in &fields {
        if parts == Parts::Parquet && !can_keep(field) {
            let (column, found) = (field.name().clone(), field.data_type().to_string());
            return Err(ConnectorError::CannotKeep { connector: "parquet".to_owned(), column, found });
        }
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Some types have a Parquet schema and no writer: only writing tells.
fn can_keep(field: &FieldRef) -> bool {
    let schema = Arc::new(Schema::new(vec![field.clone()]));
    let row = RecordBatch::try_new(schema.clone(), vec![new_null_array(field.data_type(), 1)]);
    let written = row.map_err(ParquetError::from).and_then(|row| {
        let mut writer = ArrowWriter::try_new(std::io::sink(), schema, None)?;
        writer.write(&row)?;
        writer.close()
    });
    written.is_ok()
}

fn kept(field: &Field) -> Field {
    let data_type = match field.data_type() {
        // A view keeps the whole payload that it points into, and would write it.
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::Timestamp(unit, _) => DataType::Timestamp(*unit, Some(UTC.into())),
        other => other.clone(),
    };
    let kept = field.clone().with_data_type(data_type).with_nullable(true);
    // Their text is kept, not their tokens: what is read back is no longer JSON by its type.
    if is_json(field) { kept.with_metadata(HashMap::new()) } else { kept }
}

/// The rows at `which`, with the columns and types of `schema`.
pub fn kept_rows(rows: &RecordBatch, which: &[u32], schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let given = rows.schema();
    let some = (which.len() < rows.num_rows()).then(|| UInt32Array::from(which.to_vec()));
    let columns = schema.fields().iter().map(|field| {
        let missing = || ArrowError::SchemaError(format!("the rows have no column {}", field.name()));
        let (index, source) = given.column_with_name(field.name()).ok_or_else(missing)?;
        let column = rows.column(index);
        let mut taken = some.as_ref().map_or_else(|| Ok(column.clone()), |which| take(column, which, None))?;
        if let Some(tokens) = taken.as_string_view_opt().filter(|_| is_json(source)) {
            taken = Arc::new(json_texts(tokens));
        }
        as_kept(taken, field.data_type())
    });
    RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
}

fn as_kept(column: ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == wanted {
        return Ok(column);
    }
    // Instants without a zone are UTC already: only the label changes.
    Ok(match (column.data_type(), wanted) {
        (DataType::Timestamp(TimeUnit::Second, _), DataType::Timestamp(TimeUnit::Second, _)) => {
            Arc::new(column.as_primitive::<TimestampSecondType>().clone().with_timezone(UTC))
        }
        (DataType::Timestamp(TimeUnit::Millisecond, _), DataType::Timestamp(TimeUnit::Millisecond, _)) => {
            Arc::new(column.as_primitive::<TimestampMillisecondType>().clone().with_timezone(UTC))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            Arc::new(column.as_primitive::<TimestampMicrosecondType>().clone().with_timezone(UTC))
        }
        (DataType::Timestamp(TimeUnit::Nanosecond, _), DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
            Arc::new(column.as_primitive::<TimestampNanosecondType>().clone().with_timezone(UTC))
        }
        _ => cast(&column, wanted)?,
    })
}
