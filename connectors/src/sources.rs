//! What is read: sources and keyed readers, as a pipeline asks for them. Nothing outside is touched until the engine calls their `open`.

use std::sync::Arc;

use syncline_engine::{
    lookup::KeyedReader,
    source::{Source, SourceError},
};

use crate::{
    file, ipc, kafka,
    keyset::KeysetSource,
    objects, parquet, postgres, pull,
    records::TextFormat,
    registry::connector,
    spec::{Args, Arguments, ConnectorError, Surroundings},
    sqlite,
    typed::{Column, FileKind, Pruning, TypedSource, Wanted},
};

/// What a pipeline asks of a source.
#[derive(Clone, Copy)]
pub struct SourceRequest<'a> {
    pub args: &'a Args,
    pub around: &'a Surroundings,
    /// Go on when all is read; of a source that never ends: read on for ever.
    pub follow: bool,
    /// What the records of a text are.
    pub format: &'a TextFormat,
    /// Of a source that has columns: those that are read; else all.
    pub columns: Option<&'a [String]>,
    /// Of a table, whatever else is read: it has to have these columns.
    pub asked: Asked<'a>,
    /// And what need not be read.
    pub pruning: Option<&'a Arc<Pruning>>,
    /// Its records have to lie where their keys belong.
    pub by_key: bool,
    /// Of a table: all of it, as of one moment, and nothing is kept of how far it was read; else in chunks by its key.
    pub whole: bool,
}

impl<'a> SourceRequest<'a> {
    /// All columns of all that is there now; of a text, lines of JSON.
    pub fn new(args: &'a Args, around: &'a Surroundings) -> Self {
        let (format, asked) = (&TextFormat::Json, Asked::default());
        Self { args, around, follow: false, format, columns: None, asked, pruning: None, by_key: false, whole: false }
    }
}

/// A source, not opened yet.
pub fn open_source(name: &str, request: SourceRequest) -> Result<Box<dyn Source>, ConnectorError> {
    let connector = connector(name)?;
    let SourceRequest { args, around, follow, .. } = request;
    let arguments = Arguments::checked(connector, args)?;
    match name {
        "file" => {
            let packing = file::packing(&arguments);
            let reading = file::Reading { format: request.format.clone(), packing, follow };
            let path = arguments.text("path");
            if objects::is_address(path) {
                return Ok(Box::new(objects::ObjectSource::new(path, &arguments, reading)?));
            }
            Ok(Box::new(file::FileSource::new(path, around, reading)?))
        }
        "http_get" => {
            let reading = file::Reading { format: request.format.clone(), packing: None, follow };
            Ok(Box::new(pull::PullSource::new(&arguments, around, reading)?))
        }
        "kafka" => {
            let source = kafka::KafkaSource::new(&arguments, around, request.format, !follow)?;
            Ok(Box::new(kafka::Patient::new(source.by_key(request.by_key), &arguments, around, !follow)?))
        }
        "sqlite" if request.whole => {
            let SourceRequest { asked, columns, .. } = request;
            Ok(Box::new(sqlite::SqliteTable::new(&arguments, around, asked, columns.is_none())))
        }
        "sqlite" => {
            let SourceRequest { asked, columns, .. } = request;
            let called = format!("{}, table {}", arguments.text("path"), arguments.text("table"));
            let table = sqlite::SqliteChunks::new(&arguments, around, asked, columns.is_none());
            Ok(Box::new(KeysetSource::new(table, called)))
        }
        "postgres" => {
            let table = postgres::PostgresRows::new(&arguments, &request)?;
            let called = table.called();
            Ok(Box::new(KeysetSource::new(table, called)))
        }
        _ if kind_of(name).is_some() => Ok(Box::new(typed_source(name, &arguments, request)?)),
        _ if connector.source.is_some() => Err(ConnectorError::FedByTheServer { name: name.to_owned() }),
        _ => Err(ConnectorError::NotASource { name: name.to_owned() }),
    }
}

/// What a table is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// Columns of the table: those of a key, in the order of its parts, or those that are read.
    pub columns: &'a [String],
    /// Columns that the `SCHEMA` declares BOOLEAN, and as lists: a place that has no such type keeps them as something else.
    pub booleans: &'a [String],
    pub lists: &'a [String],
}

/// Whom to ask for rows by key; none where a source is read whole and kept by it.
pub fn open_lookup(
    name: &str,
    args: &Args,
    around: &Surroundings,
    asked: Asked,
) -> Result<Option<Box<dyn KeyedReader>>, ConnectorError> {
    let connector = connector(name)?;
    let arguments = Arguments::checked(connector, args)?;
    Ok(match name {
        "sqlite" => Some(Box::new(sqlite::SqliteReader::new(&arguments, around, asked))),
        _ => None,
    })
}

/// The kind of the files of a source that says its own columns.
fn kind_of(name: &str) -> Option<Arc<dyn FileKind>> {
    match name {
        "parquet" => Some(Arc::new(parquet::ParquetFiles)),
        "arrow" => Some(Arc::new(ipc::ArrowFiles)),
        _ => None,
    }
}

fn typed_source(name: &str, arguments: &Arguments, request: SourceRequest) -> Result<TypedSource, ConnectorError> {
    let kind = kind_of(name).ok_or_else(|| ConnectorError::NotASource { name: name.to_owned() })?;
    let wanted = Wanted { columns: request.columns.map(<[String]>::to_vec), pruning: request.pruning.cloned() };
    TypedSource::new(arguments.text("path"), arguments, request.around, kind, wanted)
}

/// The columns of a source that says them itself, as [`TypedSource::shape`] gives them. This looks at its first file.
pub fn shape(name: &str, args: &Args, around: &Surroundings) -> Result<Vec<Column>, ShapeError> {
    let arguments = Arguments::checked(connector(name)?, args)?;
    if name == "kafka" {
        return kafka::shape(&arguments, around);
    }
    Ok(typed_source(name, &arguments, SourceRequest::new(args, around))?.shape()?)
}

/// Why columns cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    #[error(transparent)]
    Source(#[from] SourceError),
}
