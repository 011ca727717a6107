//! The status for programs: instants as text and fates by their names, where the control socket has numbers.

use std::io::{self, Write};

use serde_json::{Map, Value, json};
use syncline_record::Fate;

use super::instant_text;
use crate::{
    api::status::{PipelineStatus, Status},
    render::csv_field,
};

/// Members of a pipeline, or of what a path took, that are instants.
const INSTANTS: [&str; 10] = [
    "began",
    "started",
    "ended",
    "last_checkpoint",
    "next_start",
    "watermark",
    "last",
    "last_due",
    "last_started",
    "next_due",
];

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

pub fn of(status: &Status) -> Value {
    named(json!(status))
}

pub fn of_pipeline(pipeline: &PipelineStatus) -> Value {
    named(json!(pipeline))
}

pub fn csv(pipelines: &[PipelineStatus], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", COLUMNS.join(","))?;
    for pipeline in pipelines {
        let facts = of_pipeline(pipeline);
        let cells = COLUMNS.map(|column| match &facts[column] {
            Value::Null => String::new(),
            Value::String(text) => csv_field(text),
            other => other.to_string(),
        });
        writeln!(out, "{}", cells.join(","))?;
    }
    Ok(())
}

fn named(value: Value) -> Value {
    match value {
        Value::Object(members) => Value::Object(members.into_iter().map(member).collect::<Map<_, _>>()),
        Value::Array(items) => Value::Array(items.into_iter().map(named).collect()),
        other => other,
    }
}

fn member((name, value): (String, Value)) -> (String, Value) {
    let value = match (name.as_str(), &value) {
        ("fates", Value::Array(rows)) => fates(rows),
        (name, Value::Number(micros)) if INSTANTS.contains(&name) => {
            micros.as_i64().map_or(Value::Null, |micros| Value::from(instant_text(micros)))
        }
        _ => named(value),
    };
    (name, value)
}

fn fates(rows: &[Value]) -> Value {
    let named = Fate::ALL.iter().zip(rows).map(|(fate, rows)| (fate.as_str().to_owned(), rows.clone()));
    Value::Object(named.collect())
}
