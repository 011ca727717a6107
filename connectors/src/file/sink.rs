//! Writes rows as lines of JSON: into a folder of parts, or into one file.

use std::path::Path;

use arrow::array::RecordBatch;
use serde_json::Value;
use syncline_engine::sink::{Cut, SinkError, StagedSink};
use syncline_record::{Batch, Micros, RowFailure};

use crate::{
    SinkRequest,
    rowtext::RowText,
    spec::{Arguments, ConnectorError},
    staged::{
        Format, Staged, Target,
        parts::{PartNames, hidden_name, path_safe},
    },
};

/// A staged sink of JSON lines.
pub struct FileSink(Staged<JsonLines>);

impl FileSink {
    pub(crate) fn new(arguments: &Arguments, request: &SinkRequest) -> Result<Self, ConnectorError> {
        let written = arguments.text("path");
        let path = request.around.path(written);
        let target = match (is_folder(written, &path), path.parent(), path.file_name().and_then(|name| name.to_str())) {
            (false, Some(folder), Some(name)) => {
                if request.endless {
                    return Err(ConnectorError::NeedsFolder {
                        path: written.to_owned(),
                        because: "it would only appear at the end of a pipeline that never ends",
                        fix: as_folder(written),
                    });
                }
                let writer = format!("{name}.{}-{}", path_safe(request.pipeline), path_safe(request.step.as_str()));
                Target::Single { folder: folder.to_owned(), name: name.to_owned(), hidden: hidden_name(&writer) }
            }
            _ => Target::Folder(PartNames::new(path, request.pipeline, request.step, "ndjson")),
        };
        Ok(Self(Staged::new(target, JsonLines(RowText::new(&request.schema)))))
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

struct JsonLines(RowText);

impl Format for JsonLines {
    const FULL_ROWS: u64 = u64::MAX;
    const REWRITES: bool = false;

    fn start(&self, _into: &mut Vec<u8>) -> Result<(), SinkError> {
        Ok(())
    }

    fn encode(
        &self,
        rows: &RecordBatch,
        which: &[u32],
        into: &mut Vec<u8>,
        failed: &mut Vec<RowFailure>,
    ) -> Result<(), SinkError> {
        failed.extend(which.iter().filter_map(|row| self.0.write(rows, *row as usize, into).err()));
        Ok(())
    }

    fn finish(&self, _working: &Path, _finished: &Path) -> Result<(), SinkError> {
        Ok(())
    }
}

impl StagedSink for FileSink {
    fn open(&mut self, mark: Option<&Value>) -> Result<(), SinkError> {
        self.0.open(mark)
    }

    fn write(&mut self, batch: &Batch) -> Result<Vec<RowFailure>, SinkError> {
        self.0.write(batch)
    }

    fn prepare(&mut self, cut: Cut) -> Result<Value, SinkError> {
        self.0.prepare(cut)
    }

    fn reveal(&mut self) -> Result<(), SinkError> {
        self.0.reveal()
    }

    fn is_due(&self, now: Micros) -> bool {
        self.0.is_due(now)
    }

    fn clear(&mut self) -> Result<(), SinkError> {
        self.0.clear()
    }
}
