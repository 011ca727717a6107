//! Rows that were expected beside rows that are there.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewArray},
    datatypes::{Field, Schema},
};
use datafusion::common::DFSchema;
use syncline_functions::{Planner, Projection, fingerprints, is_json, json_field, token_of};

use super::table::{Row, Table};

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

/// Compares with records of a fixture: JSON objects by column name.
pub fn records(table: &Table, lines: &[Vec<u8>]) -> Result<Vec<String>, String> {
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
