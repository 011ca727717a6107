//! From records to columns.

use std::sync::Arc;

use arrow::{
    array::{Array, AsArray},
    buffer::Buffer,
    datatypes::{DataType, Field, Fields, TimeUnit},
};
use proptest::prelude::*;

use crate::*;

fn payload(records: &[&str]) -> (Buffer, Vec<(u32, u32)>) {
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    for record in records {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(record.as_bytes());
        spans.push((start, bytes.len() as u32));
        bytes.push(b'\n');
    }
    (Buffer::from_vec(bytes), spans)
}

/// Each record's values as tokens, or `slug: detail`.
fn decoded(fields: &[Field], unknown: Unknown, records: &[&str]) -> Vec<String> {
    let (payload, spans) = payload(records);
    let decoded = Decoder::new(fields, unknown).decode(&payload, &spans);
    assert!(decoded.bad.windows(2).all(|pair| pair[0].0 < pair[1].0), "once each, in order");
    let mut rows: Vec<String> = (0..records.len())
        .map(|row| {
            let mut out = Vec::new();
            for (index, (column, field)) in decoded.columns.iter().zip(fields).enumerate() {
                out.extend_from_slice(if index > 0 { b" " } else { b"" });
                token_of(column, field, row, &mut out);
            }
            String::from_utf8(out).unwrap()
        })
        .collect();
    for (row, reason) in &decoded.bad {
        assert!(decoded.columns.iter().all(|column| column.is_null(*row as usize)), "a bad row is NULL everywhere");
        rows[*row as usize] = format!("{}: {}", reason.slug, reason.detail);
    }
    rows
}

#[test]
fn json_columns_are_the_tokens_as_they_came() {
    let fields = [json_field("id"), json_field("v")];
    let rows = decoded(
        &fields,
        Unknown::Ignore,
        &[
            r#"{"id":1,"v":"a\u0041"}"#,
            r#" { "v" : { "x" : [ 1 , 2 ] } , "other" : {"id": 9} , "id" : 1.50 } "#,
            r#"{"id":null}"#,
            r#"{}"#,
            r#"{"\u0069d":"escaped name","id2":0}"#,
            r#"{"id":1,"id":2}"#,
            r#"{"id":1,"id":null}"#,
            r#"{"id":null,"id":3}"#,
            r#"{"id":1,"\u0069\u0064":4}"#,
            r#"{"ID":1}"#,
        ],
    );
    assert_eq!(
        rows,
        [
            r#"1 "a\u0041""#,
            r#"1.50 { "x" : [ 1 , 2 ] }"#,
            "null null",
            "null null",
            r#""escaped name" null"#,
            "2 null",
            "null null",
            "3 null",
            "4 null",
            "null null"
        ]
    );
}

#[test]
fn a_bad_record_says_why_and_the_others_do_not_notice() {
    let rows = decoded(
        &[json_field("id")],
        Unknown::Ignore,
        &[
            r#"{"id":1}"#,
            r#"{"id":2"#,
            r#"[1, 2]"#,
            r#""text""#,
            r#"{"id":3} x"#,
            "",
            r#"nope"#,
            r#"{"id":4,"x":"\ud800"}"#,
            "\u{feff}{\"id\":5}",
            r#"{"id":6}"#,
        ],
    );
    assert_eq!(
        rows,
        [
            "1",
            "not-json: byte 8: expected a comma or `}`, found the end",
            "not-an-object: `[1, 2]` is not an object",
            "not-an-object: `\"text\"` is not an object",
            "not-json: byte 10: expected the end of the record, found 'x'",
            "not-json: byte 1: expected a value, found the end",
            "not-json: byte 1: expected null, found 'n'",
            "not-json: byte 14: expected a pair of surrogates, found '\\\\'",
            "not-json: byte 1: expected a value, found '\\u{feff}'",
            "6",
        ]
    );
}

#[test]
fn one_record_that_is_not_utf8_does_not_spoil_the_batch() {
    let bytes = b"{\"a\":\"\xc3\xa9\"}{\"a\":\"\xff\"}{\"\xc3\":1}{\"a\":2}".to_vec();
    let spans = [(0, 10), (10, 19), (19, 26), (26, 33)];
    let decoded = Decoder::new(&[json_field("a")], Unknown::Ignore).decode(&Buffer::from_vec(bytes), &spans);
    let bad: Vec<_> = decoded.bad.iter().map(|(row, reason)| (*row, reason.slug.as_str())).collect();
    assert_eq!(bad, [(1, "not-utf8"), (2, "not-utf8")]);
    let values: Vec<_> = decoded.columns[0].as_string_view().iter().collect();
    assert_eq!(values, [Some("\"é\""), None, None, Some("2")]);
}

#[test]
fn declared_columns_are_strict() {
    let of = |name: &str, to: DataType| Field::new(name, to, true);
    let fields = [
        of("s", DataType::Utf8View),
        of("i", DataType::Int64),
        of("d", DataType::Decimal128(12, 2)),
        of("f", DataType::Float64),
        of("b", DataType::Boolean),
        of("t", DataType::Timestamp(TimeUnit::Microsecond, None)),
        of("day", DataType::Date32),
        of("u", DataType::UInt64),
    ];
    let rows = decoded(
        &fields,
        Unknown::Ignore,
        &[
            r#"{"s":"a\n","i":-9223372036854775808,"d":9.5,"f":0.1,"b":true,"t":"2026-11-20T10:00:00.5+02:00","day":"2026-11-20","u":18446744073709551615}"#,
            r#"{"s":"","i":"42","d":"9.505","f":"1e3","b":false,"t":"2026-11-20 10:00:00","day":"2026-11-20T23:00:00Z","u":"0"}"#,
            r#"{"i":1.0,"d":1e2,"f":9007199254740993}"#,
            r#"{"s":5}"#,
            r#"{"s":{}}"#,
            r#"{"i":1.5}"#,
            r#"{"i":9223372036854775808}"#,
            r#"{"i":"x"}"#,
            r#"{"i":true}"#,
            r#"{"d":12345678901.00}"#,
            r#"{"d":""}"#,
            r#"{"f":1e400}"#,
            r#"{"b":"true"}"#,
            r#"{"b":1}"#,
            r#"{"t":1763632800}"#,
            r#"{"t":"2026-13-20"}"#,
            r#"{"u":-1}"#,
            r#"{"i":"1\u0030"}"#,
        ],
    );
    assert_eq!(
        rows,
        [
            r#""a\n" -9223372036854775808 9.50 0.1 true "2026-11-20T08:00:00.5Z" "2026-11-20" 18446744073709551615"#,
            r#""" 42 9.51 1000 false "2026-11-20T10:00:00Z" "2026-11-20" 0"#,
            r#"null 1 100.00 9007199254740992 null null null null"#,
            "type: s: `5` is not a STRING",
            "type: s: `{}` is not a STRING",
            "type: i: `1.5` is not a BIGINT",
            "type: i: `9223372036854775808` is not a BIGINT",
            "type: i: `\"x\"` is not a BIGINT",
            "type: i: `true` is not a BIGINT",
            "type: d: `12345678901.00` is not a DECIMAL(12, 2)",
            "type: d: `\"\"` is not a DECIMAL(12, 2)",
            "type: f: `1e400` is not a DOUBLE",
            "type: b: `\"true\"` is not a BOOLEAN",
            "type: b: `1` is not a BOOLEAN",
            "type: t: `1763632800` is not a TIMESTAMP",
            "type: t: `\"2026-13-20\"` is not a TIMESTAMP",
            "type: u: `-1` is not a BIGINT UNSIGNED",
            "null 10 null null null null null null",
        ]
    );
}

#[test]
fn what_must_be_there_and_what_must_not() {
    let id = Field::new("id", DataType::Int64, false);
    let note = Field::new("note", DataType::Utf8View, true);
    let records = [
        r#"{"id":1,"note":"x"}"#,
        r#"{"note":"x"}"#,
        r#"{"id":null}"#,
        r#"{"id":2,"extra":{"deep":1},"more":1}"#,
        r#"{"id":3,"n\u006fte":"y"}"#,
        r#"{"id":4,"n\u006ft":"y"}"#,
        r#"{"extra":1"#,
    ];
    assert_eq!(
        decoded(&[id.clone(), note.clone()], Unknown::Reject, &records),
        [
            r#"1 "x""#,
            "missing: id is missing or null",
            "missing: id is missing or null",
            "unknown-field: `extra` is not in the schema",
            r#"3 "y""#,
            "unknown-field: `not` is not in the schema",
            "not-json: byte 11: expected a comma or `}`, found the end",
        ]
    );
    assert_eq!(decoded(&[id, note], Unknown::Ignore, &records)[3], "2 null");
}

#[test]
fn lists_and_structs_are_as_strict_as_their_parts() {
    let tags = Field::new("tags", DataType::List(Arc::new(Field::new("item", DataType::Utf8View, true))), true);
    let of = Fields::from(vec![Field::new("id", DataType::Int64, false), json_field("any")]);
    let user = Field::new("user", DataType::Struct(of), true);
    assert_eq!(
        decoded(
            &[tags, user],
            Unknown::Ignore,
            &[
                r#"{"tags":["a","b",null],"user":{"id":1,"any":[2, 3],"left":0}}"#,
                r#"{"tags":[],"user":{"id":1}}"#,
                r#"{"tags":null}"#,
                r#"{"tags":["a",1]}"#,
                r#"{"tags":"a"}"#,
                r#"{"user":{"id":"x"}}"#,
                r#"{"user":[]}"#,
            ]
        ),
        [
            r#"["a","b",null] {"id":1,"any":[2, 3]}"#,
            r#"[] {"id":1,"any":null}"#,
            "null null",
            r#"type: tags: `["a",1]` is not a STRING[]"#,
            r#"type: tags: `"a"` is not a STRING[]"#,
            r#"type: user: `{"id":"x"}` is not a STRUCT(id BIGINT, any JSON)"#,
            "type: user: `[]` is not a STRUCT(id BIGINT, any JSON)",
        ]
    );
}

#[test]
fn a_long_value_is_cut_in_its_reason() {
    let long = format!("{{\"i\":\"{}\"}}", "é".repeat(200));
    let rows = decoded(&[Field::new("i", DataType::Int64, true)], Unknown::Ignore, &[&long]);
    assert_eq!(rows, [format!("type: i: `\"{}…` is not a BIGINT", "é".repeat(99))]);
}

#[test]
fn members_are_found_in_any_order_and_number() {
    let names: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    let fields: Vec<Field> = names.iter().map(|name| json_field(name)).collect();
    let record = |shift: usize| {
        let members: Vec<String> = (0..20).map(|n| (n + shift) % 20).map(|n| format!("\"f{n}\":{n}")).collect();
        format!("{{{},\"f\":0,\"f200\":1}}", members.join(","))
    };
    let records: Vec<String> = (0..20).map(record).collect();
    let wanted: Vec<String> = (0..20).map(|n| n.to_string()).collect();
    for row in decoded(&fields, Unknown::Ignore, &records.iter().map(String::as_str).collect::<Vec<_>>()) {
        assert_eq!(row, wanted.join(" "));
    }
}

#[test]
fn names_with_marks_of_json_in_them_are_found_only_as_themselves() {
    let fields = [json_field(r#"a":1,"b"#), json_field("b")];
    assert_eq!(
        decoded(&fields, Unknown::Ignore, &[r#"{"a\":1,\"b":7}"#, r#"{"a":1,"b":2}"#, r#"{"a\":1,\"b":8,"b":3}"#]),
        ["7 null", "null 2", "8 3"]
    );
}

#[test]
fn whole_records_are_views_of_the_payload() {
    let (payload, spans) = payload(&[r#"{"a":1}"#, r#"{"a":"a longer record"}"#]);
    let column = record_column(&payload, &spans);
    assert_eq!(column.iter().collect::<Vec<_>>(), [Some(r#"{"a":1}"#), Some(r#"{"a":"a longer record"}"#)]);
    assert_eq!(column.data_buffers()[0].as_ptr(), payload.as_ptr());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Whatever the spelling, a member is what serde_json reads of it.
    #[test]
    fn members_are_what_serde_reads(
        members in prop::collection::vec(("[a-c\"\\\\é]{0,2}", "[ -~é\\n\"\\\\]{0,20}"), 0..8),
        space in "[ \\n\\t]{0,2}",
    ) {
        let text = |text: &str| serde_json::to_string(text).unwrap();
        let inner: Vec<String> = members.iter().map(|(name, value)| format!("{space}{}{space}:{space}{}", text(name), text(value))).collect();
        let record = format!("{space}{{{}{space}}}{space}", inner.join(","));
        let read: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&record).unwrap();
        let fields: Vec<Field> = ["a", "b", "ab", "\"", "é\\", ""].iter().map(|name| Field::new(*name, DataType::Utf8View, true)).collect();
        let (payload, spans) = payload(&[&record, &record]);
        let decoded = Decoder::new(&fields, Unknown::Ignore).decode(&payload, &spans);
        prop_assert_eq!(&decoded.bad, &[]);
        for (field, column) in fields.iter().zip(&decoded.columns) {
            let column = column.as_string_view();
            let wanted = read.get(field.name()).and_then(|value| value.as_str());
            prop_assert_eq!(column.iter().collect::<Vec<_>>(), vec![wanted, wanted], "{}", field.name());
        }
    }
}
