//! Records as the specification writes them, byte by byte.

use proptest::prelude::*;

use super::*;

fn avro(schema: &str) -> Avro {
    Avro::parse(&[schema.to_owned()]).unwrap_or_else(|why| panic!("{why}"))
}

/// Each column as `name TYPE`, and its value in a record.
fn read(schema: &str, record: &[u8]) -> Result<Vec<String>, String> {
    let avro = avro(schema);
    let values = avro.read(record)?;
    let mut columns = crate::registered::datum::Columns::new(avro.fields());
    columns.push(&values)?;
    let batch = columns.finish().map_err(|error| error.to_string())?;
    let fields = batch.schema();
    Ok(fields
        .fields()
        .iter()
        .zip(batch.columns())
        .map(|(field, column)| {
            let mut token = vec![];
            syncline_functions::token_of(column, field, 0, &mut token);
            let kind = syncline_functions::sql_type_of(field);
            format!("{} {kind} {}", field.name(), String::from_utf8_lossy(&token))
        })
        .collect())
}

fn of_fields(fields: &str) -> String {
    format!(r#"{{"type":"record","name":"r","namespace":"a.b","fields":[{fields}]}}"#)
}

#[test]
fn every_kind_of_value_is_a_column_of_its_type() {
    let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":{kind}}}"#);
    for (kind, record, told) in [
        ("\"boolean\"", vec![1], "x BOOLEAN true"),
        ("\"int\"", vec![0x01], "x INT -1"),
        ("\"long\"", vec![0x80, 0x01], "x BIGINT 64"),
        ("\"long\"", vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "x BIGINT -9223372036854775808"),
        ("\"float\"", 1.5f32.to_le_bytes().to_vec(), "x REAL 1.5"),
        ("\"double\"", f64::NAN.to_le_bytes().to_vec(), "x DOUBLE \"NaN\""),
        ("\"bytes\"", vec![4, 0xff, 0], "x BYTES \"/wA=\""),
        ("\"string\"", vec![6, b'f', b'o', b'o'], "x STRING \"foo\""),
        ("[\"null\",\"string\"]", vec![0], "x STRING null"),
        ("[\"null\",\"string\"]", vec![2, 2, b'a'], "x STRING \"a\""),
        ("[\"string\",\"null\"]", vec![0, 2, b'a'], "x STRING \"a\""),
        ("[\"null\",\"int\",\"string\"]", vec![4, 2, b'a'], "x JSON \"a\""),
        (r#"{"type":"enum","name":"e","symbols":["A","B"]}"#, vec![2], "x STRING \"B\""),
        (r#"{"type":"fixed","name":"f","size":2}"#, vec![1, 2], "x BYTES \"AQI=\""),
        (r#"{"type":"array","items":"int"}"#, vec![4, 2, 4, 0], "x JSON [1,2]"),
        (r#"{"type":"array","items":"int"}"#, vec![3, 4, 2, 4, 0], "x JSON [1,2]"),
        (r#"{"type":"map","values":"long"}"#, vec![2, 2, b'k', 2, 0], "x JSON {\"k\":1}"),
        (
            r#"{"type":"bytes","logicalType":"decimal","precision":9,"scale":2}"#,
            vec![4, 0xfc, 0x18],
            "x DECIMAL(9, 2) -10.00",
        ),
        (r#"{"type":"bytes","logicalType":"decimal","precision":50,"scale":1}"#, vec![2, 5], "x JSON 0.5"),
        (
            r#"{"type":"fixed","name":"m","size":3,"logicalType":"decimal","precision":6}"#,
            vec![0, 0, 7],
            "x DECIMAL(6, 0) 7",
        ),
        (r#"{"type":"int","logicalType":"date"}"#, vec![2], "x DATE \"1970-01-02\""),
        (r#"{"type":"int","logicalType":"time-millis"}"#, vec![0xd0, 0x0f], "x TIME \"00:00:01\""),
        (r#"{"type":"long","logicalType":"timestamp-millis"}"#, vec![1], "x TIMESTAMP \"1969-12-31T23:59:59.999Z\""),
        (r#"{"type":"long","logicalType":"timestamp-micros"}"#, vec![2], "x TIMESTAMP \"1970-01-01T00:00:00.000001Z\""),
        (
            r#"{"type":"long","logicalType":"timestamp-nanos"}"#,
            vec![0xd0, 0x0f],
            "x TIMESTAMP \"1970-01-01T00:00:00.000001Z\"",
        ),
        (r#"{"type":"string","logicalType":"uuid"}"#, vec![2, b'u'], "x STRING \"u\""),
        (r#"{"type":"int","logicalType":"colour"}"#, vec![2], "x INT 1"),
        (
            r#"{"type":"record","name":"inner","fields":[{"name":"a","type":"int"},{"name":"b","type":["null","r"]}]}"#,
            vec![2, 0],
            "x JSON {\"a\":1,\"b\":null}",
        ),
    ] {
        assert_eq!(read(&of_fields(&field("x", kind)), &record), Ok(vec![told.to_owned()]), "{kind}");
    }
    assert_eq!(read("\"long\"", &[2]), Ok(vec!["value BIGINT 1".to_owned()]));
}

#[test]
fn a_record_that_is_not_what_its_schema_says_is_told() {
    let schema = of_fields(r#"{"name":"id","type":"long"},{"name":"name","type":"string"}"#);
    for (record, told) in [
        (vec![], "id: the record ends before its value does"),
        (vec![2], "name: the record ends before its value does"),
        (vec![2, 8, b'a'], "name: the record ends before its value does"),
        (vec![2, 1], "name: a length is negative"),
        (vec![2, 2, 0xff], "name: a text is not UTF-8"),
        (vec![2, 0, 0], "1 bytes are left behind its last field"),
        (vec![0xff; 11], "id: a number has more than 64 bits"),
    ] {
        assert_eq!(read(&schema, &record), Err(told.to_owned()));
    }
    let list = of_fields(r#"{"name":"x","type":{"type":"array","items":"null"}}"#);
    let millions = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(read(&list, &millions), Err("x: it has more values than its bytes can be".to_owned()));
    let itself = of_fields(r#"{"name":"x","type":"r"}"#);
    assert_eq!(read(&itself, &[]), Err("x: nested deeper than 64 levels".to_owned()));
    let nanos = of_fields(r#"{"name":"x","type":{"type":"long","logicalType":"timestamp-nanos"}}"#);
    assert_eq!(read(&nanos, &[2]), Err("x: 1 ns is between two microseconds".to_owned()));
    let money = of_fields(r#"{"name":"x","type":{"type":"bytes","logicalType":"decimal","precision":2,"scale":1}}"#);
    assert_eq!(read(&money, &[2, 100]), Err("x: 10.0 is not a DECIMAL(2, 1)".to_owned()));
}

#[test]
fn a_schema_may_name_others_and_one_that_is_none_is_told() {
    let money = r#"{"type":"record","name":"money","namespace":"shop","fields":[{"name":"cents","type":"long"}]}"#;
    let order = r#"{"type":"record","name":"order","namespace":"shop","fields":[{"name":"total","type":"money"},{"name":"more","type":"shop.money"}]}"#;
    let both = Avro::parse(&[money.to_owned(), order.to_owned()]).unwrap();
    assert_eq!(both.read(&[2, 4]).map(|values| values.len()), Ok(2));
    let wrong = |schema: &str| Avro::parse(&[schema.to_owned()]).unwrap_err();
    assert_eq!(wrong(order), "there is no type money");
    assert_eq!(wrong("{}"), "a type is not said");
    assert_eq!(wrong(r#"{"type":"record","name":"r"}"#), "a record has no fields");
    assert_eq!(wrong("[]"), "a union has no types");
    assert_eq!(wrong("7"), "7 is no type");
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(100), "}".repeat(100));
    assert_eq!(wrong(&deep), "its types are nested deeper than 64 levels");
}

proptest! {
    /// Whatever the bytes are, a record is read or told, and never takes long.
    #[test]
    fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let schema = avro(&of_fields(
            r#"{"name":"a","type":["null","long"]},{"name":"b","type":{"type":"array","items":{"type":"map","values":"string"}}},
               {"name":"c","type":["null","r"]},{"name":"d","type":{"type":"bytes","logicalType":"decimal","precision":38,"scale":10}}"#,
        ));
        if let Ok(values) = schema.read(&bytes) {
            prop_assert_eq!(values.len(), schema.fields().len());
        }
    }
}
