//! Files of records, JSON or CSV, packed or not, as a source and as a sink.

#[cfg(test)]
mod csv_tests;
mod cursor;
mod find;
#[cfg(test)]
mod growing_tests;
#[cfg(test)]
mod packed_tests;
mod resume;
mod sink;
#[cfg(test)]
mod sink_tests;
mod source;
#[cfg(test)]
mod source_tests;
mod tail;

pub use cursor::unread_since;
pub(crate) use find::{Found, OPTIONS, Wanted, pattern};
#[cfg(test)]
pub(crate) use sink::text_parts;
pub(crate) use sink::{as_folder, is_folder, sink};
pub use source::{FileSource, Reading};

use crate::{
    objects::STORE,
    records::{Packing, packing},
    spec::{Argument, ArgumentKind, Arguments},
    staged::parts::{PART_ROWS, PART_SIZE, PART_TIME},
};

pub(crate) const ARGUMENTS: &[Argument] = &[
    Argument {
        name: "path",
        kind: ArgumentKind::Text,
        required: true,
        positional: true,
        help: "One file, a pattern of files to read (`*`, `?`, `[a-z]`, `**`), or a folder to write to, taken from the pipeline file's folder.",
        example: "'events/*.ndjson'",
    },
    Argument {
        name: "compression",
        kind: ArgumentKind::Choice(&packing::WORDS),
        required: false,
        positional: false,
        help: "`gzip`, `zstd` or `none`. Without it the ending of each name says: `.gz`, `.zst`.",
        example: "'gzip'",
    },
    STORE,
    PART_ROWS,
    PART_SIZE,
    PART_TIME,
];

/// What `compression` says, if it is given.
pub(crate) fn packing(arguments: &Arguments) -> Option<Option<Packing>> {
    Packing::of_word(arguments.text("compression"))
}
