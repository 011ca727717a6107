//! Key bytes are a promise to other producers; fingerprints are equal exactly for equal values.

use std::{collections::HashSet, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
        StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    },
    datatypes::Field,
};
use proptest::prelude::*;

use crate::*;

fn field_of(column: &ArrayRef) -> Field {
    Field::new("k", column.data_type().clone(), true)
}

fn json(tokens: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringViewArray::from(tokens.to_vec()))
}

fn bytes(columns: &[ArrayRef], fields: &[&Field]) -> Vec<Option<String>> {
    let keys = Keys::of(columns, fields);
    assert_eq!(keys.len(), columns[0].len());
    (0..keys.len()).map(|row| keys.get(row).map(|key| String::from_utf8(key.to_vec()).unwrap())).collect()
}

fn single(column: ArrayRef) -> Vec<Option<String>> {
    let field = field_of(&column);
    bytes(&[column], &[&field])
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some(text.to_string())).collect()
}

#[test]
fn the_bytes_of_one_column() {
    let decimals = Decimal128Array::from(vec![950, -5, 10_000, 0]).with_precision_and_scale(12, 2).unwrap();
    let instants = TimestampMicrosecondArray::from(vec![1_763_632_800_000_000, 1_763_632_800_250_000, -1]);
    assert_eq!(single(Arc::new(Int64Array::from(vec![42, -7]))), some(&["42", "-7"]));
    assert_eq!(single(Arc::new(StringArray::from(vec!["a\"b", "é", ""]))), some(&["a\"b", "é", ""]));
    assert_eq!(single(Arc::new(decimals)), some(&["9.5", "-0.05", "100", "0"]));
    assert_eq!(
        single(Arc::new(instants)),
        some(&["2025-11-20T10:00:00Z", "2025-11-20T10:00:00.25Z", "1969-12-31T23:59:59.999999Z"])
    );
    assert_eq!(single(Arc::new(Date32Array::from(vec![0]))), some(&["1970-01-01"]));
    assert_eq!(single(Arc::new(BooleanArray::from(vec![true, false]))), some(&["true", "false"]));
    assert_eq!(single(Arc::new(Float64Array::from(vec![0.5, 2.0]))), some(&["0.5", "2"]));
    assert_eq!(single(Arc::new(Int64Array::from(vec![Some(1), None]))), [Some("1".to_owned()), None]);
}

#[test]
fn the_bytes_of_json() {
    let tokens = [
        Some("\"ada\""),
        Some("\"a\\\"\\u0062\""),
        Some("1"),
        Some("1.0"),
        Some("1e2"),
        Some("true"),
        Some("{\"b\": 1.0, \"a\": [ 2 ]}"),
        None,
    ];
    let wanted = ["ada", "a\"b", "1", "1", "100", "true", "{\"a\":[2],\"b\":1}"];
    let mut wanted = some(&wanted);
    wanted.push(None);
    assert_eq!(bytes(&[json(&tokens)], &[&json_field("k")]), wanted);
}

#[test]
fn several_columns_are_a_json_array() {
    let decimals = Decimal128Array::from(vec![Some(950), Some(1), Some(1)]).with_precision_and_scale(12, 2).unwrap();
    let columns: [ArrayRef; 4] = [
        json(&[Some("1.0"), Some("\"x\""), None]),
        Arc::new(StringArray::from(vec!["a\"b", "", "c"])),
        Arc::new(decimals),
        Arc::new(TimestampMillisecondArray::from(vec![0, 1, 2])),
    ];
    let fields = [json_field("j"), field_of(&columns[1]), field_of(&columns[2]), field_of(&columns[3])];
    assert_eq!(
        bytes(&columns, &fields.each_ref()),
        [
            Some(r#"[1,"a\"b",9.5,"1970-01-01T00:00:00Z"]"#.to_owned()),
            Some(r#"["x","",0.01,"1970-01-01T00:00:00.001Z"]"#.to_owned()),
            None
        ]
    );
}

fn prints(columns: &[ArrayRef], fields: &[&Field]) -> Vec<u128> {
    let mut out = vec![7];
    fingerprints(columns, fields, &mut out);
    assert_eq!(out.len(), columns[0].len());
    out
}

fn json_print(token: &str) -> u128 {
    prints(&[json(&[Some(token)])], &[&json_field("k")])[0]
}

#[test]
fn json_values_are_equal_when_they_mean_the_same() {
    for alike in [
        vec!["1", "1.0", "1e0", "10e-1", "100E-2", "1.000000000000000000000000000000000000000000"],
        vec!["0", "-0", "0.0", "0e9", "-0.00"],
        vec!["\"a\"", "\"\\u0061\""],
        vec![
            "{\"a\":1,\"b\":2}",
            "{ \"b\" : 2.0 , \"a\" : 1 }",
            "{\"a\":9,\"b\":2,\"a\":1}",
            "{\"\\u0061\":1,\"b\":2}",
        ],
        vec!["[1,[2]]", "[ 1.0, [ 2 ] ]"],
        vec!["\"/\"", "\"\\/\""],
    ] {
        for token in &alike {
            assert_eq!(json_print(token), json_print(alike[0]), "{token}");
        }
    }
    let different = [
        "1",
        "\"1\"",
        "1.1",
        "-1",
        "true",
        "\"true\"",
        "[1]",
        "[1,2]",
        "[2,1]",
        "{\"a\":1}",
        "{\"a\":\"1\"}",
        "{\"b\":1}",
        "{}",
        "[]",
        "\"\"",
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        "1e400",
        "1e401",
        "[[1],2]",
        "[1,[2]]",
    ];
    let prints: HashSet<u128> = different.iter().map(|token| json_print(token)).collect();
    assert_eq!(prints.len(), different.len());
}

#[test]
fn the_family_of_the_type_is_in_the_fingerprint_and_its_width_is_not() {
    let print = |column: ArrayRef| {
        let field = field_of(&column);
        prints(&[column], &[&field])[0]
    };
    let decimal = |mantissa: i128, scale: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![mantissa]).with_precision_and_scale(20, scale).unwrap())
    };
    assert_eq!(print(Arc::new(Int64Array::from(vec![5]))), print(Arc::new(Int32Array::from(vec![5]))));
    assert_eq!(print(decimal(50, 1)), print(decimal(500, 2)));
    assert_eq!(print(Arc::new(StringArray::from(vec!["x"]))), print(Arc::new(StringViewArray::from(vec!["x"]))));
    assert_eq!(
        print(Arc::new(TimestampMillisecondArray::from(vec![5]))),
        print(Arc::new(TimestampMicrosecondArray::from(vec![5000])))
    );
    let families = [
        print(Arc::new(Int64Array::from(vec![5]))),
        print(decimal(5, 0)),
        print(Arc::new(Float64Array::from(vec![5.0]))),
        print(Arc::new(StringArray::from(vec!["5"]))),
        json_print("5"),
        json_print("\"5\""),
    ];
    assert_eq!(families.iter().collect::<HashSet<_>>().len(), families.len());
}

#[test]
fn nulls_are_named_and_columns_do_not_run_into_each_other() {
    let text = |values: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(values)) };
    let columns = [
        text(vec![Some("ab"), Some("a"), None, Some("ab"), None]),
        text(vec![Some("c"), Some("bc"), Some("c"), None, Some("c")]),
    ];
    let fields = [field_of(&columns[0]), field_of(&columns[1])];
    let mut out = Vec::new();
    let nulls = fingerprints(&columns, &fields.each_ref(), &mut out).unwrap();
    assert_eq!(nulls.iter().collect::<Vec<_>>(), [true, true, false, false, false]);
    assert_eq!(out[..4].iter().collect::<HashSet<_>>().len(), 4);
    assert_eq!(out[2], out[4], "NULL groups with NULL");
    assert_eq!(
        fingerprints(&columns[..1].iter().map(|c| c.slice(0, 2)).collect::<Vec<_>>(), &[&fields[0]], &mut out),
        None
    );
}

/// As deep as a record may be, on a thread's ordinary stack.
#[test]
fn the_deepest_value_has_a_fingerprint() {
    let nested = |inner: &str| format!("{}{inner}{}", "[{\"a\":".repeat(499), "}]".repeat(499));
    assert_eq!(validate(nested("1").as_bytes()), Ok(()));
    assert_eq!(json_print(&nested("1")), json_print(&nested("1.0")));
    assert_ne!(json_print(&nested("1")), json_print(&nested("2")));
}

/// The numbers of the state's format: a change here orphans every stored key.
#[test]
fn fingerprints_are_what_they_were() {
    assert_eq!(
        [format!("{:032x}", json_print("1")), format!("{:032x}", json_print("\"ada\""))],
        ["1a269fe5fd0048108b3b92f140bc40a5", "59e342831fadff40497c59c7196fac7a"]
    );
}

proptest! {
    #[test]
    fn decimals_of_json_have_one_fingerprint(mantissa in any::<i64>(), zeros in 0usize..12, shift in 0u32..10) {
        let plain = format!("{mantissa}e-{shift}");
        let padded = format!("{mantissa}{}e-{}", "0".repeat(zeros), shift as usize + zeros);
        prop_assert_eq!(json_print(&plain), json_print(&padded));
        prop_assert_ne!(json_print(&plain), json_print(&format!("{mantissa}1e-{shift}")));
    }
}
