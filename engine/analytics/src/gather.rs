//! Rows on their way into Arrow batches, a bounded number at a time.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryBuilder, BooleanBuilder, Int64Builder, RecordBatch, StringBuilder, TimestampMicrosecondBuilder,
    },
    datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit},
};
use datafusion::error::DataFusionError;
use syncline_engine::{
    archive::{ArchiveError, rows::RowsError},
    checkpoint::ReadError,
    log::LogError,
    store::StoreError,
};
use syncline_record::Micros;

/// Rows of one batch.
const ROWS: usize = 4096;
/// Bytes of one batch: dead letters may be a megabyte each.
const BYTES: usize = 4 << 20;

/// Types of columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    Number,
    Flag,
    Time,
    Bytes,
}

/// The schema of named columns; all may be NULL.
pub fn schema(columns: &[(&str, Kind)]) -> SchemaRef {
    let kind = |kind: Kind| match kind {
        Kind::Text => DataType::Utf8,
        Kind::Number => DataType::Int64,
        Kind::Flag => DataType::Boolean,
        Kind::Time => DataType::Timestamp(TimeUnit::Microsecond, None),
        Kind::Bytes => DataType::Binary,
    };
    Arc::new(Schema::new(columns.iter().map(|(name, of)| Field::new(*name, kind(*of), true)).collect::<Vec<_>>()))
}

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    Text(&'a str),
    /// Counts of more than 2^63 do not happen; they would show as the largest number.
    Number(u64),
    Flag(bool),
    Time(Micros),
    Bytes(&'a [u8]),
    Null,
}

impl<'a> Cell<'a> {
    pub fn text(value: Option<&'a str>) -> Self {
        value.map_or(Cell::Null, Cell::Text)
    }

    pub fn number(value: Option<u64>) -> Self {
        value.map_or(Cell::Null, Cell::Number)
    }

    pub fn time(value: Option<Micros>) -> Self {
        value.map_or(Cell::Null, Cell::Time)
    }
}

/// What stops a read.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// Nobody wants more rows.
    #[error("the query is over")]
    Unwanted,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{what}: {detail}")]
    Damaged { what: String, detail: String },
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("{0}")]
    Refused(DataFusionError),
}

impl From<RowsError> for Stop {
    fn from(error: RowsError) -> Self {
        match error {
            RowsError::Log(error) => Self::Log(error),
            RowsError::Store(error) => Self::Store(error),
            RowsError::Read(error) => Self::Read(error),
            RowsError::Damaged { what, detail } => Self::Damaged { what, detail },
            RowsError::Unwanted => Self::Unwanted,
        }
    }
}

enum Column {
    Text(StringBuilder),
    Number(Int64Builder),
    Flag(BooleanBuilder),
    Time(TimestampMicrosecondBuilder),
    Bytes(BinaryBuilder),
}

/// Takes batches; false: nobody wants more.
pub type Give<'a> = dyn FnMut(RecordBatch) -> bool + 'a;

/// Collects rows and gives them on in batches.
pub struct Gather<'a> {
    schema: SchemaRef,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    give: &'a mut Give<'a>,
}

impl<'a> Gather<'a> {
    pub fn new(schema: SchemaRef, give: &'a mut Give<'a>) -> Self {
        let column = |field: &Arc<Field>| match field.data_type() {
            DataType::Int64 => Column::Number(Int64Builder::new()),
            DataType::Boolean => Column::Flag(BooleanBuilder::new()),
            DataType::Timestamp(..) => Column::Time(TimestampMicrosecondBuilder::new()),
            DataType::Binary => Column::Bytes(BinaryBuilder::new()),
            _ => Column::Text(StringBuilder::new()),
        };
        let columns = schema.fields().iter().map(column).collect();
        Self { schema, columns, rows: 0, bytes: 0, give }
    }

    /// Adds a row: one cell per column, of its type or NULL.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> Result<(), Stop> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            self.bytes += column.push(*cell);
        }
        self.rows += 1;
        if self.rows >= ROWS || self.bytes >= BYTES { self.flush() } else { Ok(()) }
    }

    /// Gives on what is left.
    pub fn flush(&mut self) -> Result<(), Stop> {
        if self.rows == 0 {
            return Ok(());
        }
        (self.rows, self.bytes) = (0, 0);
        let arrays = self.columns.iter_mut().map(Column::finish).collect();
        let batch = RecordBatch::try_new(self.schema.clone(), arrays)
            .map_err(|error| Stop::Damaged { what: "a table".to_owned(), detail: error.to_string() })?;
        if (self.give)(batch) { Ok(()) } else { Err(Stop::Unwanted) }
    }
}

impl Column {
    /// Returns the bytes that the value takes.
    fn push(&mut self, cell: Cell<'_>) -> usize {
        match (self, cell) {
            (Self::Text(column), Cell::Text(text)) => {
                column.append_value(text);
                return text.len();
            }
            (Self::Bytes(column), Cell::Bytes(bytes)) => {
                column.append_value(bytes);
                return bytes.len();
            }
            (Self::Number(column), Cell::Number(number)) => {
                column.append_value(i64::try_from(number).unwrap_or(i64::MAX))
            }
            (Self::Flag(column), Cell::Flag(flag)) => column.append_value(flag),
            (Self::Time(column), Cell::Time(time)) => column.append_value(time),
            (Self::Text(column), _) => column.append_null(),
            (Self::Bytes(column), _) => column.append_null(),
            (Self::Number(column), _) => column.append_null(),
            (Self::Flag(column), _) => column.append_null(),
            (Self::Time(column), _) => column.append_null(),
        }
        0
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.finish()),
            Self::Number(column) => Arc::new(column.finish()),
            Self::Flag(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Bytes(column) => Arc::new(column.finish()),
        }
    }
}
