//! From columns that have types to the declared ones.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray},
    datatypes::{DataType, Field},
};

use crate::{Decoder, Unknown, json_field, token_of};

fn given() -> RecordBatch {
    let columns: [(&str, ArrayRef); 3] = [
        ("id", Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]))),
        ("amount", Arc::new(Float64Array::from(vec![2.0, 2.5, 1e300]))),
        ("name", Arc::new(StringArray::from(vec![Some("ada"), Some("b\"c"), None]))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Each row's values as tokens, or why it is bad.
fn taken(fields: &[Field], unknown: Unknown) -> Vec<String> {
    let made = Decoder::new(fields, unknown).take(&given());
    let mut rows: Vec<String> = (0..given().num_rows())
        .map(|row| {
            let mut out = Vec::new();
            for (column, field) in made.columns.iter().zip(fields) {
                token_of(column, field, row, &mut out);
                out.push(b' ');
            }
            String::from_utf8(out).unwrap().trim_end().to_owned()
        })
        .collect();
    for (row, reason) in &made.bad {
        rows[*row as usize] = format!("{}: {}", reason.slug, reason.detail);
    }
    rows
}

#[test]
fn a_value_that_the_declared_type_cannot_hold_makes_its_row_bad() {
    let fields = [Field::new("id", DataType::Int64, true), Field::new("amount", DataType::Int64, true)];
    assert_eq!(
        taken(&fields, Unknown::Ignore),
        ["1 2", "type: amount: `2.5` is not a BIGINT", "type: amount: `1e300` is not a BIGINT"]
    );
}

#[test]
fn a_column_that_is_declared_as_json_becomes_tokens_and_an_absent_one_is_null() {
    let fields = [json_field("id"), json_field("name"), json_field("nowhere")];
    assert_eq!(taken(&fields, Unknown::Ignore), [r#"1 "ada" null"#, r#"null "b\"c" null"#, "3 null null"]);
}

#[test]
fn a_frozen_schema_takes_no_other_column_and_no_null_where_it_says_so() {
    let fields = [Field::new("id", DataType::Int64, false)];
    assert_eq!(taken(&fields, Unknown::Ignore), ["1", "missing: id is missing or null", "3"]);
    let reject = "unknown-field: `amount` is not in the schema";
    assert_eq!(taken(&fields, Unknown::Reject), [reject; 3]);
}
