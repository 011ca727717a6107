//! Messages byte by byte, and files as people write them.

use proptest::prelude::*;

use super::*;

fn schema(text: &str) -> Protobuf {
    Protobuf::parse(&[text.to_owned()]).unwrap_or_else(|why| panic!("{why}"))
}

/// Each column as `name TYPE`, and its value in a record.
fn read(schema: &Protobuf, record: &[u8]) -> Result<Vec<String>, String> {
    let values = schema.read(record)?;
    let fields = schema.columns(&Protobuf::way(record)?).unwrap();
    let mut columns = crate::registered::datum::Columns::new(fields);
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

fn of(kind: &str) -> Protobuf {
    schema(&format!(
        "syntax = \"proto3\"; enum E {{ NONE = 0; ONE = 1; MINUS = -1; }} message I {{ int32 a = 1; optional string b = 2; }} message M {{ {kind} x = 1; }}"
    ))
}

/// `M` is the second message.
fn in_m(field: &[u8]) -> Vec<u8> {
    [&[2, 2][..], field].concat()
}

#[test]
fn every_kind_of_value_is_a_column_of_its_type() {
    let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let tagged = |tag: u8, bytes: &[u8]| [&[tag][..], bytes].concat();
    for (kind, field, told) in [
        ("int32", tagged(0x08, &minus_one), "x INT -1"),
        ("int64", tagged(0x08, &minus_one), "x BIGINT -1"),
        ("uint32", vec![0x08, 0xff, 0xff, 0xff, 0xff, 0x0f], "x INT UNSIGNED 4294967295"),
        ("uint64", tagged(0x08, &minus_one), "x BIGINT UNSIGNED 18446744073709551615"),
        ("sint32", vec![0x08, 3], "x INT -2"),
        ("sint64", vec![0x08, 4], "x BIGINT 2"),
        ("bool", vec![0x08, 1], "x BOOLEAN true"),
        ("fixed32", vec![0x0d, 1, 0, 0, 0], "x INT UNSIGNED 1"),
        ("sfixed64", tagged(0x09, &[0xff; 8]), "x BIGINT -1"),
        ("double", tagged(0x09, &0.1f64.to_le_bytes()), "x DOUBLE 0.1"),
        ("float", tagged(0x0d, &f32::INFINITY.to_le_bytes()), "x REAL \"Infinity\""),
        ("string", vec![0x0a, 2, 0xc3, 0xa9], "x STRING \"é\""),
        ("bytes", vec![0x0a, 1, 0xff], "x BYTES \"/w==\""),
        ("E", vec![0x08, 1], "x STRING \"ONE\""),
        ("E", tagged(0x08, &minus_one), "x STRING \"MINUS\""),
        ("E", vec![0x08, 7], "x STRING \"7\""),
        ("I", vec![0x0a, 2, 8, 5], "x JSON {\"a\":5,\"b\":null}"),
        ("I", vec![0x0a, 2, 8, 5, 0x0a, 3, 0x12, 1, b'b'], "x JSON {\"a\":5,\"b\":\"b\"}"),
        ("repeated int32", vec![0x0a, 2, 1, 2, 0x08, 3], "x JSON [1,2,3]"),
        ("repeated string", vec![0x0a, 1, b'a', 0x0a, 0], "x JSON [\"a\",\"\"]"),
        ("map<string, I>", vec![0x0a, 7, 0x0a, 1, b'k', 0x12, 2, 8, 1], "x JSON {\"k\":{\"a\":1,\"b\":null}}"),
        ("map<int32, bool>", vec![0x0a, 4, 8, 7, 16, 1], "x JSON {\"7\":true}"),
        ("google.protobuf.Timestamp", vec![0x0a, 5, 8, 1, 16, 0xe8, 7], "x TIMESTAMP \"1970-01-01T00:00:01.000001Z\""),
        ("google.protobuf.Int64Value", vec![0x0a, 0], "x BIGINT 0"),
        ("google.protobuf.Duration", vec![0x0a, 2, 8, 3], "x JSON {\"seconds\":3,\"nanos\":0}"),
        // What is absent is a zero, where it cannot be absent.
        ("int32", vec![], "x INT 0"),
        ("string", vec![], "x STRING \"\""),
        ("E", vec![], "x STRING \"NONE\""),
        ("repeated int32", vec![], "x JSON []"),
        ("optional int32", vec![], "x INT null"),
        ("I", vec![], "x JSON null"),
        ("google.protobuf.Int64Value", vec![], "x BIGINT null"),
        // What the schema does not have is passed over; the last of several counts.
        ("int32", vec![0x12, 1, b'a', 0x1b, 0x08, 1, 0x1c, 0x08, 1, 0x08, 2], "x INT 2"),
    ] {
        assert_eq!(read(&of(kind), &in_m(&field)), Ok(vec![told.to_owned()]), "{kind}");
    }
}

#[test]
fn a_record_that_is_not_what_its_schema_says_is_told() {
    let int = of("int64");
    for (record, told) in [
        (vec![], "the message ends before its value does"),
        (vec![2, 8], "its schema has no such message"),
        (vec![1], "the way to its message is none"),
        (in_m(&[0x08]), "the message ends before its value does"),
        (in_m(&[0x0a, 9]), "the message ends before its value does"),
        (in_m(&[0x0a, 0]), "x: it has another wire type than its schema says"),
        (in_m(&[0x0e]), "field 1 has the wire type 6"),
        (in_m(&[0x00, 0]), "a field has the number 0, or one that is too large"),
        (in_m(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]), "a number has more than 64 bits"),
    ] {
        assert_eq!(read(&int, &record), Err(told.to_owned()), "{record:?}");
    }
    let text = of("string");
    assert_eq!(read(&text, &in_m(&[0x0a, 1, 0xff])), Err("x: a text is not UTF-8".to_owned()));
}

const SHOP: &str = r#"
// An order as the shop has it.
syntax = "proto3";
package shop.v1;
import "google/protobuf/timestamp.proto";
import "money.proto";
option java_package = "com.shop";
option (shop.file) = { a: 1, b: "}" };
message Order {
  option deprecated = true;
  reserved 2, 15 to 20;
  reserved "old";
  int64 id = 1 [(shop.key) = { name: "id" }, json_name = "ID"]; /* the key */
  shop.Money total = 3;
  google.protobuf.Timestamp at = 4;
  oneof who { string customer = 5; .shop.v1.Order.Robot robot = 6; }
  repeated Line lines = 7;
  Status status = 8;
  message Line { string sku = 1; Money price = 2; Status status = 3; enum Status { A = 0; B = 1; } }
  message Robot { int32 serial = 1; }
  enum Status { option allow_alias = true; OPEN = 0; PAID = 1; }
}
service Orders { rpc Get (Order) returns (Order) { option (http) = { get: "/" }; } }
message Other { bool yes = 1; }
"#;
const MONEY: &str = "syntax = \"proto3\"; package shop; message Money { int64 cents = 1; }";

#[test]
fn a_file_as_people_write_it_is_read_and_names_find_the_nearest() {
    let shop = Protobuf::parse(&[MONEY.to_owned(), SHOP.to_owned()]).unwrap();
    let order = [0, 8, 7, 0x1a, 2, 8, 5, 0x32, 2, 8, 9, 0x3a, 7, 0x0a, 1, b'x', 0x12, 0, 0x18, 1, 0x40, 1];
    assert_eq!(
        read(&shop, &order).unwrap(),
        [
            "id BIGINT 7",
            r#"total JSON {"cents":5}"#,
            "at TIMESTAMP null",
            "customer STRING null",
            r#"robot JSON {"serial":9}"#,
            r#"lines JSON [{"sku":"x","price":{"cents":0},"status":"B"}]"#,
            r#"status STRING "PAID""#
        ]
    );
    assert_eq!(read(&shop, &[2, 2, 8, 1]).unwrap(), ["yes BOOLEAN true"]);
    assert_eq!(read(&shop, &[4, 0, 2, 8, 3]).unwrap(), ["serial INT 3"]);
    let second = schema("message M { required int32 a = 1; optional string b = 2 [default = \"x\"]; }");
    assert_eq!(read(&second, &[0, 8, 1]).unwrap(), ["a INT 1", "b STRING null"]);
    let wrong = |text: &str| Protobuf::parse(&[text.to_owned()]).unwrap_err();
    assert_eq!(wrong("syntax = \"proto3\";"), "it has no message");
    assert_eq!(wrong("message M { Nothing x = 1; }"), "there is no type Nothing");
    assert_eq!(wrong("message M { int32 x = 1; int32 y = 1; }"), "y or its number 1 is there twice");
    assert_eq!(wrong("message M { int32 x = 1;"), "None stands where a field belongs");
    assert_eq!(wrong("message M { int32 x; }"), "Sign(';') stands where `=` belongs");
    assert_eq!(wrong("message M { /* "), "a comment is never closed");
}

proptest! {
    /// Whatever the bytes are, a record is read or told.
    #[test]
    fn no_bytes_make_it_fall_over(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let shop = Protobuf::parse(&[MONEY.to_owned(), SHOP.to_owned()]).unwrap();
        if let Ok(values) = shop.read(&bytes) {
            let way = Protobuf::way(&bytes).unwrap();
            prop_assert_eq!(values.len(), shop.columns(&way).unwrap().len());
        }
    }

    /// Nor does any text.
    #[test]
    fn no_text_makes_it_fall_over(text in "(message|enum|M|\\{|\\}|=|1|;|int32|oneof|map|<|>|,|\\[|\\]|\"| |x){0,40}") {
        let _ = Protobuf::parse(&[text]);
    }
}
