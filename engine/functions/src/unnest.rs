//! `UNNEST`: one row per element of an array.
//!
//! NULL and an empty array give no row; an element `null` gives a row that is NULL. A JSON value that is no array fails its row. The
//! elements of a JSON array are JSON, and views of the same payload.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, UInt32Array},
    compute::{cast, take},
    datatypes::{DataType, Field},
};
use syncline_record::Reason;

use crate::{ExprError, RowFailure, is_json, shown, sql_type_of, token, view};

/// The elements of a batch's arrays, in order.
#[derive(Clone, Debug)]
pub struct Unnested {
    /// Element → the row that it comes from; ascending.
    pub rows: UInt32Array,
    /// As long as `rows`.
    pub elements: ArrayRef,
    /// Rows that hold no array, in order.
    pub failed: Vec<RowFailure>,
}

/// The field of the elements of a JSON or list column.
pub fn element_field(field: &Field) -> Result<Field, ExprError> {
    match field.data_type() {
        _ if is_json(field) => Ok(field.clone()),
        DataType::List(item) => Ok(item.as_ref().clone().with_name(field.name()).with_nullable(true)),
        _ => {
            let left = sql_type_of(field);
            Err(ExprError::TypeMismatch { message: format!("{left} has no elements"), left: Some(left), right: None })
        }
    }
}

/// Takes the arrays of a column apart. `field` is the column's; of a type without elements there are none. `written` says what the
/// column is, to who reads of a value that is no array.
pub fn unnest(column: &ArrayRef, field: &Field, written: &str) -> Unnested {
    match field.data_type() {
        _ if is_json(field) => unnest_json(column, written),
        DataType::List(_) => unnest_list(column),
        other => Unnested {
            rows: UInt32Array::from(Vec::<u32>::new()),
            elements: arrow::array::new_empty_array(other),
            failed: Vec::new(),
        },
    }
}

fn unnest_json(column: &ArrayRef, written: &str) -> Unnested {
    let column = cast(column, &DataType::Utf8View).expect("a JSON column is text");
    let tokens = column.as_string_view();
    let (mut rows, mut ranges, mut failed) = (Vec::new(), Vec::new(), Vec::new());
    for row in (0..tokens.len()).filter(|row| tokens.is_valid(*row)) {
        let token = tokens.value(row).as_bytes();
        if token.first() != Some(&b'[') {
            let detail = format!("{written}: {} is not an array", shown::value(tokens.value(row)));
            failed.push(RowFailure { row: row as u32, reason: Reason::new("cast", detail) });
        }
        for element in token::elements(token) {
            let start = element.as_ptr() as usize - token.as_ptr() as usize;
            rows.push(row as u32);
            ranges.push(start..start + element.len());
        }
    }
    let rows = UInt32Array::from(rows);
    let owners = take(tokens, &rows, None).expect("rows of the column");
    let elements = view::parts(owners.as_string_view(), |index, token| {
        Some(&token[ranges[index].clone()]).filter(|element| *element != b"null")
    });
    Unnested { rows, elements: Arc::new(elements), failed }
}

fn unnest_list(column: &ArrayRef) -> Unnested {
    let lists = column.as_list::<i32>();
    let (mut rows, mut places) = (Vec::new(), Vec::new());
    for row in (0..lists.len()).filter(|row| lists.is_valid(*row)) {
        for place in lists.value_offsets()[row]..lists.value_offsets()[row + 1] {
            rows.push(row as u32);
            places.push(place as u32);
        }
    }
    let elements = take(lists.values(), &UInt32Array::from(places), None).expect("places inside the list");
    Unnested { rows: UInt32Array::from(rows), elements, failed: Vec::new() }
}
