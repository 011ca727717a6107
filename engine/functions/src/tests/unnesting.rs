//! One row per element.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::expressions::{batch, typed_batch};
use crate::*;

/// `row: token` of each element, then the failures.
fn unnested(rows: &arrow::array::RecordBatch) -> Vec<String> {
    let field = rows.schema().field(0).clone();
    let unnested = unnest(rows.column(0), &field, field.name());
    let element = element_field(&field).unwrap();
    let lines = unnested.rows.values().iter().enumerate().map(|(index, row)| {
        let mut out = format!("{row}: ").into_bytes();
        token_of(&unnested.elements, &element, index, &mut out);
        String::from_utf8(out).unwrap()
    });
    let failed = unnested.failed.iter().map(|failure| format!("{} failed: {}", failure.row, failure.reason.detail));
    lines.chain(failed).collect()
}

#[test]
fn elements_of_json_arrays_are_json() {
    let rows = batch(
        &[
            r#"{"l": [1, "two", {"name": "a long enough object"}, [3], null ]}"#,
            r#"{"l": []}"#,
            r#"{}"#,
            r#"{"l": ["x"]}"#,
            r#"{"l": {"a": 1}}"#,
        ],
        &["l"],
    );
    assert_eq!(
        unnested(&rows),
        [
            "0: 1",
            "0: \"two\"",
            "0: {\"name\": \"a long enough object\"}",
            "0: [3]",
            "0: null",
            "3: \"x\"",
            "4 failed: l: `{\"a\": 1}` is not an array",
        ]
    );
}

#[test]
fn elements_of_lists_have_the_type_of_the_list() {
    let list = DataType::List(Arc::new(Field::new("item", DataType::Int64, true)));
    let rows = typed_batch(&[r#"{"l":[1,2]}"#, r#"{"l":null}"#, r#"{"l":[null,3]}"#], &[Field::new("l", list, true)]);
    assert_eq!(unnested(&rows), ["0: 1", "0: 2", "2: null", "2: 3"]);
    assert_eq!(unnested(&rows.slice(1, 2)), ["1: null", "1: 3"]);
    let error = element_field(&Field::new("n", DataType::Int64, true)).unwrap_err();
    assert_eq!(error.to_string(), "BIGINT has no elements");
}
