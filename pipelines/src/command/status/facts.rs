//! The status as CSV: the plain facts of each pipeline.

use std::io::{self, Write};

use serde_json::Value;

use crate::{
    api::{facts, status::PipelineStatus},
    render::csv_field,
};

/// The plain facts of a pipeline, in the order of a CSV. Its steps have rows of their own: `SELECT * FROM steps`.
const COLUMNS: [&str; 17] = [
    "pipeline",
    "state",
    "run",
    "attempt",
    "epoch",
    "started",
    "ended",
    "last_checkpoint",
    "reason",
    "restarts",
    "next_start",
    "rows_in",
    "lag",
    "waiting",
    "state_bytes",
    "watermark",
    "balanced",
];

pub fn csv(pipelines: &[PipelineStatus], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    for pipeline in pipelines {
        let facts = facts::of_pipeline(pipeline);
        let cells = COLUMNS.map(|column| match &facts[column] {
            Value::Null => String::new(),
            Value::String(text) => csv_field(text),
            other => other.to_string(),
        });
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}
