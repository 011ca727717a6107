//! Rows into parts that become Parquet files.

use std::{
    error::Error,
    fs::File,
    io::{self, BufReader, BufWriter},
    path::Path,
};

use arrow::{
    array::RecordBatch,
    datatypes::SchemaRef,
    error::ArrowError,
    ipc::{
        reader::StreamReader,
        writer::{FileWriter, StreamWriter},
    },
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use syncline_engine::sink::{SinkError, StagedSink};
use syncline_record::RowFailure;

use super::rows::{kept_rows, kept_schema};
use crate::{
    SinkRequest,
    file::{as_folder, is_folder},
    spec::{Arguments, ConnectorError},
    staged::{
        Format, Names, Staged, Target,
        parts::{Full, PartNames, remove, trouble},
    },
};

/// One row group, which is what readers split work by.
const ROWS: u64 = 1_000_000;

/// What the parts of rows with types become when they are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parts {
    Parquet,
    /// Arrow's file format.
    Arrow,
}

impl Parts {
    /// What their names end in, and the connector's name.
    pub fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }
}

/// A staged sink of files that say their columns.
pub(crate) fn sink(
    parts: Parts,
    arguments: &Arguments,
    request: &SinkRequest,
) -> Result<Box<dyn StagedSink>, ConnectorError> {
    let ending = parts.ending();
    let written = arguments.text("path");
    let path = request.around.path(written);
    // A name with an ending is meant as a file; one without is as good as a folder.
    if !is_folder(written, &path) && path.extension().is_some() {
        return Err(ConnectorError::NeedsFolder {
            path: written.to_owned(),
            because: match parts {
                Parts::Parquet => "Parquet files cannot be appended to",
                Parts::Arrow => "Arrow files cannot be appended to",
            },
            fix: as_folder(written),
        });
    }
    let schema = kept_schema(&request.schema, parts)?;
    let names = Names::Parts(PartNames::new(request.pipeline, request.step, ending));
    let full = Full { rows: ROWS, ..Full::default() }.said(arguments)?;
    Ok(Box::new(Staged::new(Target::of(written, names, arguments, request)?, full, ParquetParts { schema, parts })))
}

struct ParquetParts {
    schema: SchemaRef,
    parts: Parts,
}

impl Format for ParquetParts {
    fn rewrites(&self) -> bool {
        true
    }

    fn start(&self, into: &mut Vec<u8>) -> Result<(), SinkError> {
        let writer =
            StreamWriter::try_new(Vec::new(), &self.schema).map_err(|error| never("write the columns", error))?;
        // The end mark of the stream is never written: more messages follow, and the end of the file will do.
        into.extend_from_slice(writer.get_ref());
        Ok(())
    }

    fn encode(
        &self,
        rows: &RecordBatch,
        which: &[u32],
        into: &mut Vec<u8>,
        _failed: &mut Vec<RowFailure>,
    ) -> Result<(), SinkError> {
        let kept = kept_rows(rows, which, &self.schema).map_err(|error| never("take the rows", error))?;
        let mut writer =
            StreamWriter::try_new(Vec::new(), &self.schema).map_err(|error| never("write the columns", error))?;
        let start = writer.get_ref().len();
        writer.write(&kept).map_err(|error| never("write the rows", error))?;
        into.extend_from_slice(&writer.get_ref()[start..]);
        Ok(())
    }

    fn finish(&self, working: &Path, finished: &Path) -> Result<(), SinkError> {
        let rewritten = match self.parts {
            Parts::Parquet => rewrite(working, finished),
            Parts::Arrow => index(working, finished).map_err(ParquetError::from),
        };
        rewritten.map_err(|error| {
            // Room for the next attempt; what remains is removed at the next start.
            let _ = remove(finished);
            match io_error(&error) {
                Some(io) => trouble("write", finished, io),
                None => SinkError::Never(format!("cannot write {}: {error}", finished.display())),
            }
        })
    }
}

/// Reads the messages of the working file, and writes them as one Parquet file that is durable when this returns.
fn rewrite(working: &Path, finished: &Path) -> Result<(), ParquetError> {
    let reader = StreamReader::try_new(BufReader::new(File::open(working)?), None)?;
    let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default())).build();
    let mut writer = ArrowWriter::try_new(File::create(finished)?, reader.schema(), Some(properties))?;
    for batch in reader {
        writer.write(&batch?)?;
    }
    let file = writer.into_inner()?;
    Ok(file.sync_all()?)
}

/// The same as one file of Arrow's file format.
fn index(working: &Path, finished: &Path) -> Result<(), ArrowError> {
    let reader = StreamReader::try_new(BufReader::new(File::open(working)?), None)?;
    let mut writer = FileWriter::try_new(BufWriter::new(File::create(finished)?), &reader.schema())?;
    for batch in reader {
        writer.write(&batch?)?;
    }
    writer.finish()?;
    let file = writer.into_inner()?.into_inner().map_err(|error| error.into_error())?;
    Ok(file.sync_all()?)
}

/// The system's error behind one of Parquet or Arrow.
pub fn io_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    let direct = error.downcast_ref::<io::Error>();
    let external = || match error.downcast_ref::<ParquetError>()? {
        ParquetError::External(inner) => io_error(inner.as_ref()),
        _ => None,
    };
    let arrow = || match error.downcast_ref::<ArrowError>()? {
        ArrowError::IoError(_, inner) => Some(inner),
        ArrowError::ExternalError(inner) => io_error(inner.as_ref()),
        _ => None,
    };
    direct.or_else(external).or_else(arrow)
}

fn never(operation: &str, error: ArrowError) -> SinkError {
    SinkError::Never(format!("cannot {operation}: {error}"))
}
