//! Rows that were expected beside rows that are there.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, StringViewArray},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema},
};
use datafusion::common::DFSchema;
use syncline_connectors::{Args, records::TextFormat};
use syncline_functions::{
    Planner, Projection, Unknown,
    csv::{CsvDecoder, Dialect, Header},
    fingerprints, is_json, json_field, token_of, validate,
};

use super::table::{Row, Table};
use crate::sample;

/// Rows shown of each kind of difference; the rest is a number.
const SHOWN: usize = 10;

/// Compares with rows of constant SQL. Order does not count, how often a row is there does.
pub fn rows(table: &Table, expected: &[Vec<String>], planner: &Planner) -> Result<Vec<String>, String> {
    let mut wanted = vec![];
    for row in expected {
        let tokens: Result<Row, String> = row
            .iter()
            .zip(table.schema.fields())
            .map(|(sql, field)| constant(sql, field, planner).map_err(|error| format!("{sql}: {error}")))
            .collect();
        wanted.push(tokens?);
    }
    Ok(differences(table, wanted))
}

/// Compares with the records of a fixture: JSON objects by column name, or CSV by its header.
pub fn file(table: &Table, path: &str, folder: &Path) -> Result<Vec<String>, String> {
    let format = sample::format_of(path, None);
    let records =
        sample::read(&Args::texts(&[path]), folder, &format, usize::MAX).map_err(|error| error.to_string())?;
    match (&format, &records.names) {
        (TextFormat::Csv { dialect, .. }, Some(names)) => csv_records(table, &records.bytes, names, dialect),
        _ => json_records(table, &records.bytes),
    }
}

/// Fields have the types of the table's columns. In a JSON column a text that is a JSON document is one, and any other is a string.
fn csv_records(table: &Table, lines: &[Vec<u8>], names: &Header, dialect: &Dialect) -> Result<Vec<String>, String> {
    let fields: Vec<Field> =
        table.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect();
    let typed: Vec<Field> = fields
        .iter()
        .map(|field| if is_json(field) { Field::new(field.name(), DataType::Utf8View, true) } else { field.clone() })
        .collect();
    let (mut payload, mut spans) = (Vec::new(), Vec::new());
    for line in lines {
        let start = payload.len() as u32;
        payload.extend_from_slice(line);
        spans.push((start, payload.len() as u32));
    }
    let mut decoder = CsvDecoder::new(&typed, Unknown::Reject, true, dialect.clone(), false);
    let decoded = decoder.decode(&Buffer::from_vec(payload), &spans, Some(names));
    if let Some((row, reason)) = decoded.bad.first() {
        return Err(format!("record {}: {}", row + 1, reason.detail));
    }
    let token = |field: &Field, column: &ArrayRef, row: usize| {
        if let (true, Some(texts)) = (is_json(field) && column.is_valid(row), column.as_string_view_opt())
            && validate(texts.value(row).as_bytes()).is_ok()
        {
            return texts.value(row).to_owned();
        }
        let mut token = vec![];
        token_of(column, &Field::new("value", column.data_type().clone(), true), row, &mut token);
        String::from_utf8_lossy(&token).into_owned()
    };
    let row =
        |row: usize| fields.iter().zip(&decoded.columns).map(|(field, column)| token(field, column, row)).collect();
    Ok(differences(table, (0..lines.len()).map(row).collect()))
}

fn json_records(table: &Table, lines: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let mut wanted = vec![];
    for line in lines {
        let record: BTreeMap<String, Box<serde_json::value::RawValue>> =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let whole = table.schema.fields().len() == 1 && table.schema.field(0).name().starts_with("__");
        wanted.push(match whole {
            true => vec![String::from_utf8_lossy(line).into_owned()],
            false => {
                let token = |field: &Arc<Field>| record.get(field.name()).map_or("null".into(), |raw| raw.get().into());
                table.schema.fields().iter().map(token).collect()
            }
        });
    }
    Ok(differences(table, wanted))
}

fn differences(table: &Table, wanted: Vec<Row>) -> Vec<String> {
    let mut counts: BTreeMap<Vec<u128>, (i64, Row)> = BTreeMap::new();
    for (_, row) in &table.rows {
        counts.entry(meaning(row)).or_insert((0, row.clone())).0 += 1;
    }
    for row in wanted {
        counts.entry(meaning(&row)).or_insert((0, row)).0 -= 1;
    }
    let side = |missing: bool, sign: char| {
        let rows: Vec<&(i64, Row)> =
            counts.values().filter(|(count, _)| if missing { *count < 0 } else { *count > 0 }).collect();
        let mut lines: Vec<String> = rows
            .iter()
            .take(SHOWN)
            .map(|(count, row)| {
                let times = if count.abs() > 1 { format!(" × {}", count.abs()) } else { String::new() };
                format!("{sign} ({}){times}", row.join(", "))
            })
            .collect();
        if rows.len() > SHOWN {
            lines.push(format!("{sign} … {} more", rows.len() - SHOWN));
        }
        lines
    };
    let mut lines = side(true, '-');
    lines.extend(side(false, '+'));
    if !lines.is_empty() {
        let names: Vec<&str> = table.schema.fields().iter().map(|field| field.name().as_str()).collect();
        lines.insert(0, format!("columns ({}); - expected and not there, + there and not expected", names.join(", ")));
    }
    lines
}

/// Equal JSON values have equal meanings: `1` and `1.0`, objects in any order.
fn meaning(row: &Row) -> Vec<u128> {
    let column: ArrayRef = Arc::new(StringViewArray::from_iter_values(row.iter()));
    let mut prints = vec![];
    fingerprints(&[column], &[&json_field("value")], &mut prints);
    prints
}

/// The JSON token of constant SQL in a column of this type.
fn constant(sql: &str, field: &Field, planner: &Planner) -> Result<String, String> {
    let empty = Schema::empty();
    let scope = DFSchema::try_from(empty.clone()).map_err(|error| error.to_string())?;
    let typed = planner
        .parse(sql)
        .and_then(|ast| planner.expr(&ast, &scope))
        .and_then(|typed| if is_json(field) { Ok(typed) } else { planner.cast(typed, field.data_type()) })
        .map_err(|error| error.to_string())?;
    let projection =
        Projection::new(planner, vec![("value".into(), typed)], &empty).map_err(|error| error.to_string())?;
    let one = RecordBatchOptions::new().with_row_count(Some(1));
    let one = RecordBatch::try_new_with_options(Arc::new(empty), vec![], &one).map_err(|error| error.to_string())?;
    let made = projection.apply(&one);
    if let Some(failure) = made.failed.first() {
        return Err(failure.reason.detail.clone());
    }
    let mut token = vec![];
    token_of(made.rows.column(0), made.rows.schema().field(0), 0, &mut token);
    Ok(String::from_utf8_lossy(&token).into_owned())
}
