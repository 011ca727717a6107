//! Places that a `CONNECTION` of a pipeline file leads to: `bus` is all that is there, `bus.orders` one of it.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use syncline_connectors::listing::Listed;

use crate::{
    command::Common,
    connections::{self, Connection},
    outcome::{Failure, Outcome},
    project,
    render::{Renderer, printed, stdout},
    world::data_folder,
};

/// A connection that the place names.
pub struct Named {
    pub connection: Connection,
    /// What of it is meant; empty: all of it.
    pub object: String,
}

impl Named {
    /// The name of its schema, unless another is wanted.
    pub fn schema(&self) -> String {
        super::word_of(&self.object.split_whitespace().next().unwrap_or_default().replace('.', "_"))
    }
}

/// The connection that a place begins with, if these files declare it.
pub fn named(place: &str, files: &PathBuf) -> Result<Option<Named>, Failure> {
    let (name, object) = place.split_once('.').unwrap_or((place, ""));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_word) || PathBuf::from(place).exists() {
        return Ok(None);
    }
    // Without pipeline files there is no connection, and the place is something else.
    let files = project::files(std::slice::from_ref(files)).unwrap_or_default();
    let found = connections::find(name, &files)?;
    Ok(found.map(|connection| Named { connection, object: object.trim().to_owned() }))
}

/// Prints what a connection leads to.
pub fn show(named: &Named, common: &Common) -> Outcome {
    let folder = data_folder(common.data.as_deref(), Some(&named.connection.file.path))?;
    let listed = named.connection.list(&folder)?;
    let rows = rows(&listed).map_err(|error| Failure::failed("cannot-print", error.to_string()))?;
    printed(Renderer::new(common.output, rows.schema(), stdout()).and_then(|mut renderer| {
        renderer.write(&rows)?;
        renderer.finish().map(drop)
    }))
}

fn rows(listed: &[Listed]) -> Result<RecordBatch, arrow::error::ArrowError> {
    let names = StringArray::from_iter_values(listed.iter().map(|one| &one.name));
    let partitions = UInt32Array::from_iter_values(listed.iter().map(|one| one.partitions));
    let records = UInt64Array::from_iter_values(listed.iter().map(|one| one.records));
    let newest: TimestampMicrosecondArray = listed.iter().map(|one| one.newest).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(names), Arc::new(partitions), Arc::new(records), Arc::new(newest)];
    let fields = [
        ("topic", DataType::Utf8),
        ("partitions", DataType::UInt32),
        ("records", DataType::UInt64),
        ("newest", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ];
    let fields: Vec<Field> = fields.into_iter().map(|(name, kind)| Field::new(name, kind, true)).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}
