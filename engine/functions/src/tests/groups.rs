//! Groups that are handed over and go on: what an epoch wrote is forgotten, and nothing else is.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, StringViewArray},
    datatypes::{DataType, Field},
};

use crate::groups::Aggregates;

fn columns(rows: &[(i64, &str)]) -> Vec<ArrayRef> {
    let (numbers, texts): (Vec<i64>, Vec<&str>) = rows.iter().copied().unzip();
    vec![Arc::new(Int64Array::from(numbers)), Arc::new(StringViewArray::from_iter_values(texts))]
}

/// DataFusion keeps groups of one column, of some and of many types in different structures.
#[test]
fn groups_of_any_keys_begin_anew_after_they_were_handed_over() {
    let rounds: [&[(i64, &str)]; 4] = [
        &[(1, "a text of more than twelve bytes"), (2, "b"), (1, "a text of more than twelve bytes")],
        &[(2, "b"), (3, "c")],
        &[],
        &[(3, "c"), (1, "a text of more than twelve bytes"), (2, "another of more than twelve"), (2, "b")],
    ];
    let kinds: [(usize, &[usize]); 3] = [(2, &[2, 2, 0, 4]), (1, &[2, 2, 0, 3]), (0, &[1, 1, 0, 1])];
    for (keys, expected) in kinds {
        let fields = [Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8View, true)];
        let mut groups = Aggregates::new(fields[..keys].to_vec(), &[]).unwrap().groups().unwrap();
        let handed = rounds.iter().map(|rows| {
            if !rows.is_empty() {
                groups.update(&columns(rows)[..keys], rows.len()).unwrap();
            }
            groups.states().unwrap().num_rows()
        });
        assert_eq!(handed.collect::<Vec<_>>(), expected, "{keys} keys");
    }
}
