//! Parquet files as a source: only the row groups and columns that are wanted are read.

use std::{io, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder},
    },
    errors::ParquetError,
    file::reader::{ChunkReader, Length},
};

use crate::typed::{
    Batches, FileKind, ROWS, Trouble,
    ranges::{Onward, Ranges},
};

pub struct ParquetFiles;

/// Bytes of a page header that are read ahead.
const AHEAD: usize = 8 << 10;

/// A file as Parquet's reader wants it.
struct Chunks(Arc<dyn Ranges>);

impl Length for Chunks {
    fn len(&self) -> u64 {
        self.0.size()
    }
}

impl ChunkReader for Chunks {
    type T = io::BufReader<Onward>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::with_capacity(AHEAD, Onward::new(self.0.clone(), start)))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.0.get(start, length).map_err(|error| ParquetError::External(Box::new(error)))
    }
}

impl FileKind for ParquetFiles {
    fn extension(&self) -> &'static str {
        "parquet"
    }

    fn schema(&self, bytes: &Arc<dyn Ranges>) -> Result<SchemaRef, Trouble> {
        Ok(footer(bytes)?.schema().clone())
    }

    fn read(&self, bytes: &Arc<dyn Ranges>, columns: Option<&[String]>, from: u64) -> Result<Batches, Trouble> {
        let footer = footer(bytes)?;
        let (groups, skip) = behind(&footer, from);
        let wanted = |field: &Field| columns.is_none_or(|columns| columns.contains(field.name()));
        let roots: Vec<usize> = footer
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, field)| wanted(field))
            .map(|(root, _)| root)
            .collect();
        let mask = ProjectionMask::roots(footer.parquet_schema(), roots);
        let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(bytes.clone()), footer)
            .with_batch_size(ROWS)
            .with_projection(mask)
            .with_row_groups(groups)
            .with_offset(skip)
            .build()
            .map_err(trouble)?;
        Ok(Box::new(reader.map(|batch| batch.map_err(|error| trouble(error.into())))))
    }
}

/// The row groups that hold what follows the first `from` rows, and how many rows of the first one come before.
fn behind(footer: &ArrowReaderMetadata, from: u64) -> (Vec<usize>, usize) {
    let groups = footer.metadata().row_groups();
    let mut before = 0;
    for (index, group) in groups.iter().enumerate() {
        let rows = group.num_rows().max(0) as u64;
        if from < before + rows {
            return ((index..groups.len()).collect(), (from - before) as usize);
        }
        before += rows;
    }
    (Vec::new(), 0)
}

fn footer(bytes: &Arc<dyn Ranges>) -> Result<ArrowReaderMetadata, Trouble> {
    let read = ArrowReaderMetadata::load(&Chunks(bytes.clone()), ArrowReaderOptions::new()).map_err(trouble)?;
    // Text is read as views into the pages, which copies none of it.
    let fields: Vec<Field> = read.schema().fields().iter().map(|field| viewed(field)).collect();
    let options = ArrowReaderOptions::new().with_schema(Arc::new(Schema::new(fields)));
    Ok(ArrowReaderMetadata::try_new(read.metadata().clone(), options).unwrap_or(read))
}

fn viewed(field: &Field) -> Field {
    let is_text = |kind: &DataType| matches!(kind, DataType::Utf8 | DataType::LargeUtf8);
    match field.data_type() {
        kind if is_text(kind) => field.clone().with_data_type(DataType::Utf8View),
        DataType::Dictionary(_, value) if is_text(value) => field.clone().with_data_type(DataType::Utf8View),
        _ => field.clone(),
    }
}

fn trouble(error: ParquetError) -> Trouble {
    match super::sink::io_error(&error) {
        Some(io) => Trouble::from(io::Error::new(io.kind(), crate::system_words(io))),
        None => {
            let text = error.to_string();
            Trouble::Broken(text.strip_prefix("Parquet error: ").unwrap_or(&text).to_owned())
        }
    }
}
