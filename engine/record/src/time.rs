//! Instants as the engine keeps them.

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// "No record yet": the watermark of a partition that has shown none.
pub const NO_WATERMARK: Micros = i64::MIN;
