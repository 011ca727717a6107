//! The rules of CSV as cases, and any text against the `csv` crate.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray},
    buffer::Buffer,
    datatypes::{DataType, Field, Schema, TimeUnit},
};
use proptest::prelude::*;

use super::{CsvDecoder, CsvWriter, Dialect, Header, Seeker};
use crate::{decode::Unknown, json_field, token_of};

/// The records of a text, found in pieces of `stride` bytes.
fn records<'t>(text: &'t str, dialect: &Dialect, stride: usize) -> Vec<&'t str> {
    let (mut found, mut start, bytes) = (Vec::new(), 0, text.as_bytes());
    'records: while start < bytes.len() {
        let mut seeker = Seeker::default();
        let mut at = start;
        while at < bytes.len() {
            let piece = &bytes[at..(at + stride).min(bytes.len())];
            if let Some(end) = seeker.find(piece, dialect) {
                found.push(text[start..at + end].trim_end_matches('\r'));
                start = at + end + 1;
                continue 'records;
            }
            at += piece.len();
        }
        found.push(&text[start..]);
        break;
    }
    found
}

struct Read {
    rows: Vec<String>,
    bad: Vec<String>,
    records: Vec<String>,
}

/// The columns of every row as JSON tokens, what is bad, and the records as objects.
fn read(text: &str, dialect: Dialect, fields: &[Field], unknown: Unknown, declared: bool) -> Read {
    let lines = records(text, &dialect, usize::MAX >> 1);
    let header: Option<Header> = dialect.header.then(|| dialect.names(lines[0].as_bytes()).unwrap());
    let lines = &lines[usize::from(dialect.header)..];
    let spans: Vec<(u32, u32)> = lines
        .iter()
        .map(|line| {
            let start = line.as_ptr() as usize - text.as_ptr() as usize;
            (start as u32, (start + line.len()) as u32)
        })
        .collect();
    let mut decoder = CsvDecoder::new(fields, unknown, declared, dialect, !declared);
    let payload = Buffer::from_vec(text.as_bytes().to_vec());
    let decoded = decoder.decode(&payload, &spans, header.as_ref());
    let shown = |row: usize| {
        let mut out = Vec::new();
        for (field, column) in fields.iter().zip(&decoded.columns) {
            token_of(column, field, row, &mut out);
            out.push(b' ');
        }
        String::from_utf8(out).unwrap().trim_end().to_owned()
    };
    let is_bad = |row: &usize| decoded.bad.iter().any(|(bad, _)| *bad as usize == *row);
    Read {
        rows: (0..spans.len()).filter(|row| !is_bad(row)).map(shown).collect(),
        bad: decoded.bad.iter().map(|(row, reason)| format!("{row} {}: {}", reason.slug, reason.detail)).collect(),
        records: decoded.records.iter().flatten().map(|record| record.unwrap_or("-").to_owned()).collect(),
    }
}

fn undeclared(text: &str, dialect: Dialect, names: &[&str]) -> Read {
    let fields: Vec<Field> = names.iter().map(|name| json_field(name)).collect();
    read(text, dialect, &fields, Unknown::Ignore, false)
}

fn typed(columns: &[(&str, DataType, bool)]) -> Vec<Field> {
    columns.iter().map(|(name, kind, nullable)| Field::new(*name, kind.clone(), *nullable)).collect()
}

#[test]
fn records_end_at_line_ends_that_are_not_between_quotes() {
    let text = "a,b\r\n1,\"x\ny\"\n2,5\" nail\n\"say \"\"hi\"\"\n\",3\n,\n\"open\n1";
    let expected = ["a,b", "1,\"x\ny\"", "2,5\" nail", "\"say \"\"hi\"\"\n\",3", ",", "\"open\n1"];
    for stride in [1, 2, 3, 7, 100] {
        assert_eq!(records(text, &Dialect::default(), stride), expected, "{stride}");
    }
}

#[test]
fn a_line_of_comment_ends_at_its_line_end_whatever_is_in_it() {
    let dialect = Dialect { comment: Some(b'#'), ..Dialect::default() };
    for stride in [1, 3, 100] {
        assert_eq!(records("#\"open\na,#b\n\"#\n\",c\n", &dialect, stride), ["#\"open", "a,#b", "\"#\n\",c"]);
    }
}

#[test]
fn an_escape_takes_the_meaning_from_a_quote_and_from_itself() {
    let dialect = Dialect { escape: Some(b'\\'), ..Dialect::default() };
    let text = "a,b\n\"x\\\"\n\\\\\",\"\\y\"\nlast,\\\"\n";
    for stride in [1, 2, 100] {
        assert_eq!(records(text, &dialect, stride).len(), 3);
    }
    assert_eq!(undeclared(text, dialect, &["a", "b"]).rows, [r#""x\"\n\\" "y""#, r#""last" "\\\"""#]);
}

#[test]
fn without_a_schema_a_field_is_the_json_string_of_its_text_or_null_where_it_is_empty_without_quotes() {
    let text =
        "id,name,note\n007,\"O\"\"Hara, J.\",\n1.50,\"\",tab\there\n x ,\u{1f600},\"a longer text\nin two lines\"\n";
    let read = undeclared(text, Dialect::default(), &["name", "note", "id", "none"]);
    assert_eq!(
        read.rows,
        [
            r#""O\"Hara, J." null "007" null"#,
            r#""" "tab\there" "1.50" null"#,
            "\"\u{1f600}\" \"a longer text\\nin two lines\" \" x \" null",
        ]
    );
    assert_eq!(
        read.records,
        [
            r#"{"id":"007","name":"O\"Hara, J.","note":null}"#,
            r#"{"id":"1.50","name":"","note":"tab\there"}"#,
            "{\"id\":\" x \",\"name\":\"\u{1f600}\",\"note\":\"a longer text\\nin two lines\"}",
        ]
    );
    assert_eq!(read.bad, [""; 0]);
}

#[test]
fn declared_columns_are_converted_and_found_by_the_header_in_any_order() {
    let timestamp = DataType::Timestamp(TimeUnit::Microsecond, None);
    let fields = typed(&[
        ("id", DataType::Int64, false),
        ("fare", DataType::Decimal128(8, 2), true),
        ("at", timestamp, true),
        ("ok", DataType::Boolean, true),
        ("text", DataType::Utf8View, true),
        ("gone", DataType::Int64, true),
    ]);
    let text = "at,id,text,ok,fare\n\
                2019-01-01 00:46:40,1,\"1\",TRUE,7.5\n\
                2019-01-01T00:46:40+01:00,2,,f,\n\
                ,3,\"\",,1e2\n";
    let read = read(text, Dialect::default(), &fields, Unknown::Reject, true);
    assert_eq!(
        (read.rows, read.bad),
        (
            vec![
                r#"1 7.50 "2019-01-01T00:46:40Z" true "1" null"#.to_owned(),
                r#"2 null "2018-12-31T23:46:40Z" false null null"#.to_owned(),
                r#"3 100.00 null null "" null"#.to_owned(),
            ],
            vec![]
        )
    );
}

#[test]
fn documents_and_bytes_are_text_in_a_field() {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let mut fields = typed(&[("list", list, true), ("bytes", DataType::Binary, true)]);
    fields.push(json_field("json"));
    let text =
        "list,bytes,json\n\"[1,2]\",aGk=,\"{\"\"a\"\": 1}\"\n,,12\n[1,,\nx,,\n,?,\n,,abc\n,,null\n\"[\"\"a\"\"]\",,\n";
    let read = read(text, Dialect::default(), &fields, Unknown::Reject, true);
    assert_eq!(read.rows, [r#"[1,2] "aGk=" {"a": 1}"#, "null null 12", "null null null"]);
    assert_eq!(
        read.bad,
        [
            "2 type: list: `[1` is not a BIGINT[]",
            "3 type: list: `x` is not a BIGINT[]",
            "4 type: bytes: `?` is not a BYTES",
            "5 type: json: `abc` is not a JSON",
            "7 type: list: `[\"a\"]` is not a BIGINT[]",
        ]
    );
}

#[test]
fn what_does_not_fit_is_bad_alone_and_says_why() {
    let fields = typed(&[("id", DataType::Int64, false), ("text", DataType::Utf8View, true)]);
    let text = "id,text\n1,a\n2\n3,a,b\n\"4\"x,a\n,a\nfive,a\n6,\"never closed\n";
    let read = read(text, Dialect::default(), &fields, Unknown::Reject, true);
    assert_eq!(read.rows, [r#"1 "a""#]);
    assert_eq!(
        read.bad,
        [
            "1 fields: 1 field, where 2 belong",
            "2 fields: 3 fields, where 2 belong",
            "3 not-csv: byte 3: something follows the closing quote of a field",
            "4 missing: id is missing or null",
            "5 type: id: `five` is not a BIGINT",
            "6 not-csv: byte 3: the quote that opens here is never closed",
        ]
    );
}

#[test]
fn columns_that_the_schema_does_not_have_kill_records_or_are_dropped() {
    let fields = typed(&[("a", DataType::Int64, true), ("b", DataType::Int64, true)]);
    let file = |text: &str, unknown| {
        let read = read(text, Dialect::default(), &fields, unknown, true);
        (read.rows, read.bad)
    };
    let more = "b,a,c\n1,2,3\n";
    let unknown = vec!["0 unknown-field: `c` is not in the schema".to_owned()];
    assert_eq!(file(more, Unknown::Reject), (vec![], unknown));
    assert_eq!(file(more, Unknown::Ignore), (vec!["2 1".to_owned()], vec![]));
    let twice = vec!["0 header: two columns are called `a`".to_owned()];
    assert_eq!(file("a,a\n1,2\n", Unknown::Ignore), (vec![], twice));
    assert_eq!(file("a,c,c\n1,2,3\n", Unknown::Ignore), (vec!["1 null".to_owned()], vec![]));
}

#[test]
fn without_a_header_columns_are_found_by_their_place() {
    let fields = typed(&[("a", DataType::Int64, true), ("b", DataType::Utf8View, true)]);
    let dialect = Dialect { header: false, delimiter: b';', nulls: vec!["NA".into(), "".into()], ..Dialect::default() };
    let text = "1;x\n2;x;y\n3\n;NA\n";
    let frozen = read(text, dialect.clone(), &fields, Unknown::Reject, true);
    assert_eq!(frozen.rows, [r#"1 "x""#, "null null"]);
    assert_eq!(frozen.bad, ["1 fields: 3 fields, where 2 belong", "2 fields: 1 field, where 2 belong"]);
    let discarding = read(text, dialect, &fields, Unknown::Ignore, true);
    assert_eq!(discarding.rows, [r#"1 "x""#, r#"2 "x""#, "null null"]);
}

/// A schema that keeps fields which it does not declare: a record without names has none that could be kept.
#[test]
fn without_a_header_a_whole_record_is_called_as_the_schema_calls_it() {
    let fields = typed(&[("id", DataType::Int64, false), ("b", DataType::Utf8View, true)]);
    let dialect = Dialect { header: false, ..Dialect::default() };
    let mut decoder = CsvDecoder::new(&fields, Unknown::Tell, true, dialect, true);
    let payload = Buffer::from_vec(b"1,x\n2,\n3,y,z\n,y\n".to_vec());
    let decoded = decoder.decode(&payload, &[(0, 3), (4, 6), (7, 12), (13, 15)], None);
    let records: Vec<Option<&str>> = decoded.records.iter().flatten().collect();
    assert_eq!(records[..3], [Some(r#"{"id":"1","b":"x"}"#), Some(r#"{"id":"2","b":null}"#), None]);
    let bad: Vec<String> =
        decoded.bad.iter().map(|(row, reason)| format!("{row} {}: {}", reason.slug, reason.detail)).collect();
    assert_eq!(bad, ["2 fields: 3 fields, where 2 belong", "3 missing: id is missing or null"]);
    assert!(decoded.new_names.is_empty());
}

#[test]
fn a_record_that_is_not_utf8_is_bad_alone() {
    let payload = Buffer::from_vec(b"\xff,1\nb,2".to_vec());
    let mut decoder = CsvDecoder::new(&[json_field("a")], Unknown::Ignore, false, Dialect::default(), false);
    let header: Header = [Box::from("a"), Box::from("n")].into();
    let decoded = decoder.decode(&payload, &[(0, 3), (4, 7)], Some(&header));
    assert_eq!(decoded.columns[0].as_string_view().iter().collect::<Vec<_>>(), [None, Some("\"b\"")]);
    let bad: Vec<String> = decoded.bad.iter().map(|(row, reason)| format!("{row} {}", reason.slug)).collect();
    assert_eq!(bad, ["0 not-utf8"]);
}

#[test]
fn rows_are_quoted_only_where_they_must_be() {
    let text = StringViewArray::from(vec![Some("plain"), Some(""), None, Some("a,\"b\"\n"), Some("#x")]);
    let json =
        StringViewArray::from(vec![Some("\"a,b\""), Some("{\"k\":[1,2]}"), Some("1"), None, Some("\"\\u00e9\"")]);
    let decimals = Decimal128Array::from(vec![Some(150), None, Some(-1), Some(0), Some(7)]);
    let truths = BooleanArray::from(vec![Some(true), Some(false), None, None, None]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("the text", Arc::new(text)),
        ("json", Arc::new(json)),
        ("fare,", Arc::new(decimals.with_precision_and_scale(8, 2).unwrap())),
        ("ok", Arc::new(truths)),
        ("__row", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5]))),
    ];
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, column)| match *name {
            "json" => json_field(name),
            _ => Field::new(*name, column.data_type().clone(), true),
        })
        .collect();
    let arrays = columns.into_iter().map(|(_, column)| column).collect();
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let write = |dialect: Dialect| {
        let writer = CsvWriter::new(&rows.schema(), dialect);
        let mut out = Vec::new();
        writer.write_header(&mut out);
        (0..rows.num_rows()).for_each(|row| writer.write_row(&rows, row, &mut out));
        String::from_utf8(out).unwrap()
    };
    assert_eq!(
        write(Dialect::default()),
        "the text,json,\"fare,\",ok\n\
         plain,\"a,b\",1.50,true\n\
         \"\",\"{\"\"k\"\":[1,2]}\",,false\n\
         ,1,-0.01,\n\
         \"a,\"\"b\"\"\n\",,0.00,\n\
         #x,\u{e9},0.07,\n"
    );
    let other = Dialect {
        delimiter: b'\t',
        quote: Some(b'\''),
        escape: Some(b'\\'),
        comment: Some(b'#'),
        header: false,
        nulls: vec!["NULL".into()],
    };
    assert_eq!(
        write(other),
        "plain\ta,b\t1.50\ttrue\n\
         \t{\"k\":[1,2]}\tNULL\tfalse\n\
         NULL\t1\t-0.01\tNULL\n\
         'a,\"b\"\n'\tNULL\t0.00\tNULL\n\
         '#x'\t\u{e9}\t0.07\tNULL\n"
    );
}

/// Texts of which some have every sign in them.
fn any_text() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        Just(None),
        "[a-c \",\n\r;']{0,8}".prop_map(Some),
        "[a-z]{9,20}".prop_map(Some),
        "\\PC{0,6}".prop_map(Some),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Well-formed CSV means to us what it means to the `csv` crate.
    #[test]
    fn what_the_csv_crate_writes_is_read_as_it_was(
        rows in prop::collection::vec(prop::collection::vec("[a-c \",\n;]{0,8}", 3), 1..20),
    ) {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
        writer.write_record(["x", "y", "z"]).unwrap();
        rows.iter().for_each(|row| writer.write_record(row).unwrap());
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let dialect = Dialect { nulls: vec![], ..Dialect::default() };
        let read = undeclared(&text, dialect, &["x", "y", "z"]);
        let expected: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(|text| serde_json::to_string(text).unwrap()).collect::<Vec<_>>().join(" "))
            .collect();
        prop_assert_eq!(read.rows, expected);
        prop_assert_eq!(read.bad, Vec::<String>::new());
    }

    /// What we write, we read, and the `csv` crate reads the same texts.
    #[test]
    fn texts_and_nulls_come_back(
        rows in prop::collection::vec(prop::collection::vec(any_text(), 3), 1..20),
        quote in prop::sample::select(vec![b'"', b'\'']),
        delimiter in prop::sample::select(vec![b',', b';', b'\t']),
        escape in prop::sample::select(vec![None, Some(b'\\')]),
    ) {
        let dialect = Dialect { delimiter, quote: Some(quote), escape, ..Dialect::default() };
        let fields = typed(&[("x", DataType::Utf8View, true), ("y", DataType::Utf8View, true), ("z", DataType::Utf8View, true)]);
        let columns: Vec<ArrayRef> = (0..3)
            .map(|column| Arc::new(rows.iter().map(|row| row[column].clone()).collect::<StringViewArray>()) as ArrayRef)
            .collect();
        let batch = RecordBatch::try_new(Arc::new(Schema::new(fields.clone())), columns).unwrap();
        let writer = CsvWriter::new(&batch.schema(), dialect.clone());
        let mut out = Vec::new();
        writer.write_header(&mut out);
        (0..rows.len()).for_each(|row| writer.write_row(&batch, row, &mut out));
        let text = String::from_utf8(out).unwrap();
        let read = read(&text, dialect, &fields, Unknown::Reject, true);
        let expected: Vec<String> = rows
            .iter()
            .map(|row| row.iter().map(|text| serde_json::to_string(text).unwrap()).collect::<Vec<_>>().join(" "))
            .collect();
        prop_assert_eq!(read.rows, expected, "{}", text);
        if escape.is_none() {
            let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).quote(quote).from_reader(text.as_bytes());
            let seen: Vec<Vec<String>> =
                reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            let plain: Vec<Vec<String>> = rows
                .iter()
                .map(|row| row.iter().map(|text| text.clone().unwrap_or_default()).collect())
                .collect();
            prop_assert_eq!(seen, plain);
        }
    }

    /// No bytes make it panic, and every record has one fate.
    #[test]
    fn any_bytes_are_rows_or_bad(text in "[a-b\",\n\r\\\\\u{e9}]{0,60}", escape in prop::sample::select(vec![None, Some(b'\\')])) {
        let dialect = Dialect { escape, header: false, ..Dialect::default() };
        let lines = records(&text, &dialect, 5).len();
        let fields = typed(&[("x", DataType::Utf8View, true), ("y", DataType::Int64, true)]);
        let read = read(&text, dialect, &fields, Unknown::Ignore, true);
        prop_assert_eq!(read.rows.len() + read.bad.len(), lines);
    }
}
