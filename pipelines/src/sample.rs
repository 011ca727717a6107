//! Records of files, read apart from any run: what `check` compares names with, and what a test is given.

use std::path::Path;

use syncline_connectors::{
    Args, ConnectorError, SourceRequest, Surroundings,
    objects::is_address,
    open_source,
    records::{Columns, TextFormat, packing::plain_name},
};
use syncline_dsl::plan::SourcePlan;
use syncline_engine::source::{Cursors, Polled, SourceError};
use syncline_functions::csv::{self, Dialect, Header};
use syncline_record::Micros;

use crate::bind;

/// The time of rows whose time nobody asks for.
const NO_TIME: Micros = 0;

/// Records as they lie in their files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    pub bytes: Vec<Vec<u8>>,
    /// The header of the last file, where files have one.
    pub names: Option<Header>,
}

/// Why records cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// The first records, in the order of the files; `most` of them or some more.
pub fn read(args: &Args, folder: &Path, format: &TextFormat, most: usize) -> Result<Records, SampleError> {
    let around = Surroundings::folder(folder);
    let mut source = open_source("file", SourceRequest { format, ..SourceRequest::new(args, &around) })?;
    source.open(&Cursors::new(), NO_TIME)?;
    let mut records = Records::default();
    while records.bytes.len() < most {
        match source.poll(NO_TIME)? {
            Polled::Rows(rows) => {
                let origin = rows.origin;
                records.bytes.extend((0..origin.rows()).map(|row| origin.bytes_of(row).into_owned()));
                records.names = origin.names;
            }
            Polled::Idle | Polled::LeftOut(_) | Polled::Streamed(_) => {}
            Polled::Ended => break,
        }
    }
    Ok(records)
}

/// The first records of a pipeline's files as JSON texts. A file that cannot be read gives none: the run itself will say why.
pub fn texts(source: &SourcePlan, folder: &Path, most: usize) -> Vec<String> {
    let no_secret = |path: &str| Err(format!("{path} is not needed to look at a file"));
    let Ok(args) = bind::arguments(&source.place, &no_secret) else { return Vec::new() };
    // Whoever checks a file waits for no network.
    let path = args.positional.first().or(args.named.get("path")).and_then(|path| path.as_str());
    if path.is_some_and(is_address) {
        return Vec::new();
    }
    let format = bind::formats::text(source);
    let Ok(records) = read(&args, folder, &format, most) else { return Vec::new() };
    let text = |record: &Vec<u8>| match (&format, &records.names) {
        (TextFormat::Csv { dialect, .. }, Some(names)) => csv::object(names, record, dialect),
        (TextFormat::Csv { .. }, None) | (TextFormat::Registered(_), _) => None,
        (TextFormat::Json, _) => String::from_utf8(record.clone()).ok(),
    };
    records.bytes.iter().filter_map(text).take(most).collect()
}

/// What a file holds by the ending of its name; `dialect` is how CSV is written where it is said.
pub fn format_of(path: &str, dialect: Option<Dialect>) -> TextFormat {
    let name = plain_name(path).to_ascii_lowercase();
    let delimiter = if name.ends_with(".tsv") { b'\t' } else { b',' };
    if !name.ends_with(".csv") && !name.ends_with(".tsv") {
        return TextFormat::Json;
    }
    let dialect = dialect.unwrap_or(Dialect { delimiter, ..Dialect::default() });
    let columns = if dialect.header { Columns::Header } else { Columns::Numbered };
    TextFormat::Csv { dialect, columns }
}
