//! Files of JSON lines, as a source and as a sink.

mod cursor;
mod find;
mod lines;
mod resume;
mod sink;
#[cfg(test)]
mod sink_tests;
mod source;
#[cfg(test)]
mod source_tests;
mod tail;

pub use sink::FileSink;
pub(crate) use sink::{as_folder, is_folder};
pub use source::FileSource;

use crate::spec::{Argument, ArgumentKind};

pub(crate) const ARGUMENTS: &[Argument] = &[Argument {
    name: "path",
    kind: ArgumentKind::Text,
    required: true,
    positional: true,
    help: "One file, a pattern of files to read (`*`, `?`, `[a-z]`, `**`), or a folder to write to, taken from the pipeline file's folder.",
    example: "'events/*.ndjson'",
}];
