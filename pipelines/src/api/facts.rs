//! The status for programs: instants as text and fates by their names, where the process and its commands have numbers.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, TimestampMicrosecondArray},
    datatypes::{DataType, Field, TimeUnit},
};
use serde_json::{Map, Value, json};
use syncline_functions::token_of;
use syncline_record::{Fate, Micros};

use super::status::{PipelineStatus, Status};

/// What only whoever foresees an end makes something of: `seconds_left` of `backfills` is that.
const COURSE: &str = "course";

/// Members of a pipeline, or of what a path took, that are instants.
const INSTANTS: [&str; 12] = [
    "began",
    "caught",
    "noted",
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

pub fn of(status: &Status) -> Value {
    named(json!(status))
}

pub fn of_pipeline(pipeline: &PipelineStatus) -> Value {
    named(json!(pipeline))
}

fn named(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            Value::Object(members.into_iter().filter(|(name, _)| name != COURSE).map(member).collect::<Map<_, _>>())
        }
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

/// RFC 3339 in UTC, as every other place shows instants.
pub fn instant_text(micros: Micros) -> String {
    let column: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![micros]));
    let field = Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, None), false);
    let mut token = vec![];
    token_of(&column, &field, 0, &mut token);
    String::from_utf8_lossy(&token).trim_matches('"').to_owned()
}
