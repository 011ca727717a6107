//! Parquet files as a source: only the row groups and columns that are wanted are read.

use std::{io, sync::Arc};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, statistics::StatisticsConverter,
        },
    },
    errors::ParquetError,
    file::{
        reader::{ChunkReader, Length},
        statistics::Statistics,
    },
};

use crate::typed::{
    Contents, FileKind, Piece, Pieces, ROWS, Trouble, Wanted,
    pruning::Range,
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

    fn read(&self, bytes: &Arc<dyn Ranges>, wanted: &Wanted, from: u64) -> Result<Contents, Trouble> {
        let footer = footer(bytes)?;
        let pruning = wanted.pruning.as_deref().filter(|pruning| pruning.fits(footer.schema()));
        let mut stretches = Vec::new();
        let mut before = 0;
        for (group, metadata) in footer.metadata().row_groups().iter().enumerate() {
            let rows = metadata.num_rows().max(0) as u64;
            let skip = from.saturating_sub(before).min(rows);
            before += rows;
            if skip == rows {
                continue;
            }
            let none = pruning.is_some_and(|pruning| pruning.none_passes(rows, |column| range(&footer, group, column)));
            stretches.push(if none { Stretch::LeftOut(rows - skip) } else { Stretch::Group { group, skip } });
        }
        let wanted = |field: &Field| wanted.columns.as_ref().is_none_or(|columns| columns.contains(field.name()));
        let fields = footer.schema().fields().iter().enumerate();
        let roots: Vec<usize> = fields.filter(|(_, field)| wanted(field)).map(|(root, _)| root).collect();
        let mask = ProjectionMask::roots(footer.parquet_schema(), roots);
        let bytes = bytes.clone();
        let pieces = stretches.into_iter().flat_map(move |stretch| -> Pieces {
            let (group, skip) = match stretch {
                Stretch::LeftOut(rows) => return Box::new(std::iter::once(Ok(Piece::LeftOut(rows)))),
                Stretch::Group { group, skip } => (group, skip),
            };
            let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(Chunks(bytes.clone()), footer.clone())
                .with_batch_size(ROWS)
                .with_projection(mask.clone())
                .with_row_groups(vec![group])
                .with_offset(skip as usize)
                .build();
            match reader {
                Err(error) => Box::new(std::iter::once(Err(trouble(error)))),
                Ok(reader) => {
                    Box::new(reader.map(|batch| batch.map(Piece::Rows).map_err(|error| trouble(error.into()))))
                }
            }
        });
        Ok(Contents { pieces: Box::new(pieces), rows: Some(before) })
    }
}

/// A row group, or what is left out of one.
enum Stretch {
    Group { group: usize, skip: u64 },
    LeftOut(u64),
}

/// What the footer knows of a column in a row group. Floats it does not know: NaN is in no statistics.
fn range(footer: &ArrowReaderMetadata, group: usize, column: &str) -> Option<Range> {
    let group = footer.metadata().row_group(group);
    let field = footer.schema().field_with_name(column).ok()?;
    if field.data_type().is_floating() || field.data_type().is_nested() {
        return None;
    }
    let converter = StatisticsConverter::try_new(column, footer.schema(), footer.parquet_schema()).ok()?;
    let statistics = group.column(converter.parquet_column_index()?).statistics()?;
    // Old writers compared signed where they should not have.
    if statistics.is_min_max_deprecated() || matches!(statistics, Statistics::Int96(_)) {
        return None;
    }
    Some(Range {
        lowest: converter.row_group_mins([group]).ok(),
        highest: converter.row_group_maxes([group]).ok(),
        nulls: statistics.null_count_opt(),
    })
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
