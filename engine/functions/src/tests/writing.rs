//! Rows as JSON, and records with some members changed.

use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, DurationMicrosecondArray, Float32Array,
        Float64Array, Int8Array, Int64Array, RecordBatch, StringArray, Time64MicrosecondArray,
        TimestampMicrosecondArray, UInt32Array, UInt64Array,
    },
    buffer::Buffer,
    datatypes::{Field, Schema},
};
use proptest::prelude::*;

use super::expressions::batch;
use crate::*;

fn token(column: ArrayRef) -> String {
    let field = Field::new("x", column.data_type().clone(), true);
    let mut out = Vec::new();
    token_of(&column, &field, 0, &mut out);
    String::from_utf8(out).unwrap()
}

fn spliced(record: &str, dropped: &[&str], set: &[(&str, &str)]) -> String {
    let set: Vec<(&str, &[u8])> = set.iter().map(|(name, token)| (*name, token.as_bytes())).collect();
    let mut out = Vec::new();
    splice(record.as_bytes(), &|name| dropped.contains(&name), &set, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_type_has_its_token() {
    let decimal = |mantissa: i128, precision: u8, scale: i8| -> ArrayRef {
        Arc::new(Decimal128Array::from(vec![mantissa]).with_precision_and_scale(precision, scale).unwrap())
    };
    for (column, wanted) in [
        (Arc::new(Int8Array::from(vec![-5])) as ArrayRef, "-5"),
        (Arc::new(UInt64Array::from(vec![u64::MAX])), "18446744073709551615"),
        (decimal(950, 12, 2), "9.50"),
        (decimal(-5, 12, 2), "-0.05"),
        (decimal(i128::from(i64::MAX) * 1_000_000_000_000, 38, 0), "9223372036854775807000000000000"),
        (decimal(185_000_000_000, 38, 10), "18.5"),
        (Arc::new(Float64Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![100.0])), "100"),
        (Arc::new(Float64Array::from(vec![1e300])), "1e300"),
        (Arc::new(Float64Array::from(vec![-0.0])), "-0"),
        (Arc::new(Float32Array::from(vec![0.1])), "0.1"),
        (Arc::new(Float64Array::from(vec![f64::NAN])), "\"NaN\""),
        (Arc::new(Float64Array::from(vec![f64::NEG_INFINITY])), "\"-Infinity\""),
        (Arc::new(BooleanArray::from(vec![true])), "true"),
        (Arc::new(StringArray::from(vec!["a\"\\\n\u{1}é/"])), "\"a\\\"\\\\\\n\\u0001é/\""),
        (Arc::new(TimestampMicrosecondArray::from(vec![1_500_000])), "\"1970-01-01T00:00:01.5Z\""),
        (Arc::new(Date32Array::from(vec![-1])), "\"1969-12-31\""),
        (Arc::new(Time64MicrosecondArray::from(vec![3_600_000_001])), "\"01:00:00.000001\""),
        (Arc::new(DurationMicrosecondArray::from(vec![1_500_000])), "1.5"),
        (Arc::new(BinaryArray::from(vec![&b"foob"[..]])), "\"Zm9vYg==\""),
        (Arc::new(Int64Array::from(vec![None])), "null"),
    ] {
        assert_eq!(token(column), wanted);
    }
}

#[test]
fn json_goes_out_as_it_came_and_hidden_columns_stay() {
    let rows = batch(&[r#"{"a":1.50,"b":"\u0041 b","c":{ "x":[1] }}"#, r#"{"b":null}"#], &["a", "b", "c"]);
    let mut fields: Vec<Field> = rows.schema().fields().iter().map(|field| field.as_ref().clone()).collect();
    fields.push(Field::new("__row", arrow::datatypes::DataType::UInt32, false));
    let columns = rows.columns().iter().cloned().chain([Arc::new(UInt32Array::from(vec![0, 1])) as ArrayRef]).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap();
    let writer = JsonWriter::new(&rows.schema());
    let mut out = Vec::new();
    writer.write_lines(&rows, &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "{\"a\":1.50,\"b\":\"\\u0041 b\",\"c\":{ \"x\":[1] }}\n{\"a\":null,\"b\":null,\"c\":null}\n"
    );
    let mut out = b"> ".to_vec();
    writer.write_row(&rows, 1, &mut out);
    assert_eq!(out, b"> {\"a\":null,\"b\":null,\"c\":null}");
}

#[test]
fn splicing_leaves_the_rest_as_it_is() {
    let record = r#"{ "a" : 1.50 , "b":"x", "c" : {"a": 1} }"#;
    for (dropped, set, wanted) in [
        (&[][..], &[][..], record),
        (&["b"], &[], r#"{ "a" : 1.50 , "c" : {"a": 1} }"#),
        (&["a"], &[], r#"{ "b":"x", "c" : {"a": 1} }"#),
        (&["c"], &[], r#"{ "a" : 1.50 , "b":"x"}"#),
        (&["a", "b", "c"], &[], "{}"),
        (&[], &[("b", "2")], r#"{ "a" : 1.50 , "b":2, "c" : {"a": 1} }"#),
        (&[], &[("z", "[1]"), ("a", "true")], r#"{ "a" : true , "b":"x", "c" : {"a": 1} ,"z":[1]}"#),
        (&["a", "b", "c"], &[("z\"", "1")], r#"{"z\"":1}"#),
        (&["b"], &[("b", "3")], r#"{ "a" : 1.50 , "b":3, "c" : {"a": 1} }"#),
    ] {
        assert_eq!(spliced(record, dropped, set), wanted);
    }
    assert_eq!(spliced("{}", &[], &[("a", "1")]), r#"{"a":1}"#);
    assert_eq!(spliced(" { } ", &[], &[]), "{}");
    assert_eq!(spliced(r#"{"a":1,"b":2,"a":3}"#, &[], &[]), r#"{"b":2,"a":3}"#);
    assert_eq!(spliced(r#"{"a":1,"b":2,"a":3}"#, &[], &[("a", "9")]), r#"{"b":2,"a":9}"#);
    assert_eq!(spliced(r#"{"\u0061":1,"b":2}"#, &["a"], &[]), r#"{"b":2}"#);
    assert_eq!(spliced(r#"{"\u0061":1}"#, &[], &[("a", "2")]), r#"{"\u0061":2}"#);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn what_is_written_reads_back(
        texts in prop::collection::vec(any::<Option<String>>(), 1..6),
        numbers in prop::collection::vec(any::<Option<i64>>(), 6),
        floats in prop::collection::vec(any::<Option<f64>>(), 6),
        mantissas in prop::collection::vec(-999_999_999_999i128..999_999_999_999, 6),
        instants in prop::collection::vec(-62_135_596_800_000_000i64..253_402_300_799_000_000, 6),
    ) {
        let rows = texts.len();
        let decimals = Decimal128Array::from(mantissas[..rows].to_vec()).with_precision_and_scale(12, 3).unwrap();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(arrow::array::StringViewArray::from(texts.clone())),
            Arc::new(Int64Array::from(numbers[..rows].to_vec())),
            Arc::new(Float64Array::from(floats[..rows].to_vec())),
            Arc::new(decimals),
            Arc::new(TimestampMicrosecondArray::from(instants[..rows].to_vec())),
        ];
        let fields: Vec<Field> = columns.iter().enumerate().map(|(n, column)| Field::new(format!("é\"{n}"), column.data_type().clone(), true)).collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap();
        let (mut payload, mut spans) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let start = payload.len() as u32;
            JsonWriter::new(&batch.schema()).write_row(&batch, row, &mut payload);
            spans.push((start, payload.len() as u32));
        }
        let decoded = Decoder::new(&fields, Unknown::Reject).decode(&Buffer::from_vec(payload), &spans);
        prop_assert_eq!(&decoded.bad, &[]);
        for (written, read) in batch.columns().iter().zip(&decoded.columns) {
            prop_assert_eq!(written, read);
        }
    }
}
