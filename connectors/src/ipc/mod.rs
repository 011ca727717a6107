//! Arrow's own files: columns as they lie in memory, in the file format or as a stream.
//!
//! As a source they are typed columns: see [`crate::typed`]. Which of the two formats a file has its first bytes say. As a sink: parts
//! of the file format, which grow as a stream and get their index when they are full, as those of Parquet do.

mod source;

pub use source::ArrowFiles;
