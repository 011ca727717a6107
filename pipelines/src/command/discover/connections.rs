//! Places that a `CONNECTION` of a pipeline file leads to: `bus` is all that is there, `bus.orders` one of it.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array},
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use syncline_connectors::{Surroundings, list, listing::Listed};
use syncline_dsl::plan::Place;
use syncline_syntax::ast;

use crate::{
    bind::arguments,
    command::Common,
    outcome::{Exit, Failure, Outcome},
    project,
    render::{Renderer, printed, stdout},
    secrets,
    source_file::SourceFile,
    world::data_folder,
};

/// A connection that the place names.
pub struct Named {
    pub file: SourceFile,
    /// Its statement, as the file has it.
    pub text: String,
    place: Place,
    /// What of it is meant; empty: all of it.
    pub object: String,
}

/// The connection that a place begins with, if these files declare it.
pub fn named(place: &str, files: &PathBuf) -> Result<Option<Named>, Failure> {
    let (name, object) = place.split_once('.').unwrap_or((place, ""));
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if name.is_empty() || !name.chars().all(is_word) || PathBuf::from(place).exists() {
        return Ok(None);
    }
    // Without pipeline files there is no connection, and the place is something else.
    for path in project::files(std::slice::from_ref(files)).unwrap_or_default() {
        let file = SourceFile::read(&path)?;
        let (parsed, _) = syncline_syntax::parse(&file.text);
        let declared = parsed.statements.iter().find_map(|statement| match statement {
            ast::Statement::Connection(one) if one.name.text.eq_ignore_ascii_case(name) => Some(one),
            _ => None,
        });
        let Some(declared) = declared else { continue };
        let text = declared.span.of(&file.text).to_owned();
        let alone = SourceFile { path: file.path.clone(), text: format!("{text};\n") };
        let places = alone.compile().plan.connections;
        let Some((_, place)) = places.into_iter().next() else {
            return Err(Failure::usage("file-wrong", format!("{name} of {} does not compile", file.name()))
                .help(format!("syncline check {}", file.name())));
        };
        return Ok(Some(Named { file, text, place, object: object.trim().to_owned() }));
    }
    Ok(None)
}

/// Prints what a connection leads to.
pub fn show(named: &Named, common: &Common) -> Outcome {
    let folder = data_folder(common.data.as_deref(), Some(&named.file.path))?;
    let args = arguments(&named.place, &|path| secrets::text(&folder, path))
        .map_err(|error| Failure::of_line(Exit::Environment, "cannot-bind", &error.to_string()))?;
    let around = Surroundings::folder(named.file.folder());
    let (name, connector) = (&named.place.text, &named.place.connector);
    let listed = list(connector, &args, &around).ok_or_else(|| {
        Failure::usage("cannot-look", format!("what a connection to {connector} leads to cannot be listed"))
            .help(format!("name a part of it: syncline discover {name}.…"))
    })?;
    let listed = listed.map_err(|detail| {
        Failure::environment("connection-failed", format!("{name}: {detail}")).help(format!(
            "its options are in {}; `syncline connection test {name}` says who answers",
            named.file.name()
        ))
    })?;
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
