//! Rows as lines of JSON or as CSV, packed or not: into a folder of parts, or into one file.
//!
//! A packed part waits as plain text, which can be cut back to any line after a crash, and is packed in one go when it is full. So a
//! part is one archive that every reader takes, and packs as well as it can.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter},
    path::Path,
};

use arrow::array::RecordBatch;
use syncline_engine::sink::{SinkError, StagedSink};
use syncline_functions::csv::CsvWriter;
use syncline_record::RowFailure;

use crate::{
    SinkRequest,
    records::Packing,
    rowtext::RowText,
    spec::{Arguments, ConnectorError},
    staged::{
        Format, Names, Staged, Target,
        parts::{Full, PartNames, hidden_name, path_safe, remove, trouble},
    },
};

/// A staged sink of text.
pub(crate) fn sink(arguments: &Arguments, request: &SinkRequest) -> Result<Box<dyn StagedSink>, ConnectorError> {
    let written = arguments.text("path");
    let path = request.around.path(written);
    let folder = is_folder(written, &path);
    let by_name = if folder { None } else { Packing::of_name(written) };
    let packing = super::packing(arguments).unwrap_or(by_name);
    let names = match path.file_name().and_then(|name| name.to_str()).filter(|_| !folder) {
        Some(name) => {
            if request.endless {
                return Err(ConnectorError::NeedsFolder {
                    path: written.to_owned(),
                    because: "it would only appear at the end of a pipeline that never ends",
                    fix: as_folder(written),
                });
            }
            let writer = format!("{name}.{}-{}", path_safe(request.pipeline), path_safe(request.step.as_str()));
            Names::Single { name: name.to_owned(), hidden: hidden_name(&writer) }
        }
        None => Names::Parts(PartNames::new(request.pipeline, request.step, ending(request, packing))),
    };
    let target = Target::of(written, names, arguments, request)?;
    let text = match &request.csv {
        None => Text::Json(RowText::new(&request.schema)),
        Some(dialect) => Text::Csv(CsvWriter::new(&request.schema, dialect.clone())),
    };
    let full = Full::default().said(arguments)?;
    Ok(Box::new(Staged::new(target, full, TextParts { text, packing })))
}

/// What the names of parts end with.
fn ending(request: &SinkRequest, packing: Option<Packing>) -> String {
    let format = match &request.csv {
        None => "ndjson",
        Some(dialect) if dialect.delimiter == b'\t' => "tsv",
        Some(_) => "csv",
    };
    match packing {
        None => format.to_owned(),
        Some(packing) => format!("{format}.{}", packing.ending()),
    }
}

/// `out/`, or a folder that is there.
pub(crate) fn is_folder(written: &str, path: &Path) -> bool {
    written.is_empty() || written.ends_with('/') || path.is_dir()
}

/// The folder that the user may have meant: `out/x.ndjson` → `out/x/`.
pub(crate) fn as_folder(written: &str) -> String {
    format!("{}/", Path::new(written).with_extension("").display())
}

/// Parts of lines of JSON.
#[cfg(test)]
pub(crate) fn text_parts(schema: &arrow::datatypes::Schema, packing: Option<Packing>) -> TextParts {
    TextParts { text: Text::Json(RowText::new(schema)), packing }
}

pub(crate) struct TextParts {
    text: Text,
    packing: Option<Packing>,
}

enum Text {
    Json(RowText),
    Csv(CsvWriter),
}

impl Format for TextParts {
    fn rewrites(&self) -> bool {
        self.packing.is_some()
    }

    fn start(&self, into: &mut Vec<u8>) -> Result<(), SinkError> {
        if let Text::Csv(writer) = &self.text {
            writer.write_header(into);
        }
        Ok(())
    }

    fn encode(
        &self,
        rows: &RecordBatch,
        which: &[u32],
        into: &mut Vec<u8>,
        failed: &mut Vec<RowFailure>,
    ) -> Result<(), SinkError> {
        match &self.text {
            Text::Json(text) => {
                let lines = text.of(rows);
                failed.extend(which.iter().filter_map(|row| lines.write(*row as usize, into).err()))
            }
            Text::Csv(writer) => which.iter().for_each(|row| writer.write_row(rows, *row as usize, into)),
        }
        Ok(())
    }

    fn reopen(&self, standing: &Path, working: &Path) -> io::Result<()> {
        let Some(packing) = self.packing else { return std::fs::copy(standing, working).map(drop) };
        let mut unpacked = packing.unpacked(BufReader::new(File::open(standing)?))?;
        io::copy(&mut unpacked, &mut File::create(working)?).map(drop)
    }

    fn finish(&self, working: &Path, finished: &Path) -> Result<(), SinkError> {
        let Some(packing) = self.packing else { return Ok(()) };
        let packed = || {
            let file = File::create(finished)?;
            packing.pack(&mut BufReader::new(File::open(working)?), BufWriter::new(&file))?;
            file.sync_all()
        };
        packed().map_err(|error| {
            // Room for the next attempt; what remains is removed at the next start.
            let _ = remove(finished);
            trouble("write", finished, &error)
        })
    }
}
