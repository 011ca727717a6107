//! A table that is asked, and what it answers.

use std::sync::Arc;

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringViewArray},
    datatypes::{Field, Schema},
};
use rusqlite::Connection;
use syncline_engine::lookup::KeyedReader;
use syncline_functions::json_field;
use tempfile::TempDir;

use crate::{
    registry::{Asked, open_lookup},
    spec::{Args, Surroundings},
};

fn asked(folder: &TempDir, columns: &[&str]) -> Box<dyn KeyedReader> {
    let around = Surroundings::folder(folder.path());
    let columns: Vec<String> = columns.iter().map(|column| (*column).to_owned()).collect();
    let asked = Asked { columns: &columns, booleans: &["vip".to_owned()], lists: &["tags".to_owned()] };
    open_lookup("sqlite", &Args::texts(&["shop.db", "customers"]), &around, asked).unwrap().unwrap()
}

fn shop() -> TempDir {
    let folder = TempDir::new().unwrap();
    let shop = Connection::open(folder.path().join("shop.db")).unwrap();
    shop.execute_batch(
        "CREATE TABLE customers (id INTEGER, code TEXT COLLATE NOCASE, \"odd \"\" name\" ANY, limits REAL, photo BLOB, vip INTEGER, tags TEXT);
         INSERT INTO customers VALUES (7, 'a', NULL, 9.5, x'00ff', 1, '[1.10, null]'), (7, 'B', 'it''s', -1e400, NULL, 2, '[1'), (8, '7', 1, 2, NULL, 0, NULL);",
    )
    .unwrap();
    folder
}

fn keys(fields: Vec<Field>, columns: Vec<ArrayRef>) -> RecordBatch {
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

#[test]
fn each_key_finds_its_records_and_those_that_only_look_alike() {
    let folder = shop();
    let mut reader = asked(&folder, &["id", "CODE"]);
    reader.open().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![7, 7, 9]));
    let codes: ArrayRef = Arc::new(StringViewArray::from(vec![r#""A""#, r#""b""#, r#""a""#]));
    let keys = keys(vec![Field::new("id", ids.data_type().clone(), true), json_field("code")], vec![ids, codes]);
    let found = reader.find(&keys).unwrap();
    let first = r#"{"id":7,"code":"a","odd \" name":null,"limits":9.5,"photo":"AP8=","vip":true,"tags":[1.10, null]}"#;
    let second = r#"{"id":7,"code":"B","odd \" name":"it's","limits":"-Infinity","photo":null,"vip":2,"tags":"[1"}"#;
    assert_eq!(found, [vec![first.as_bytes().to_vec()], vec![second.as_bytes().to_vec()], vec![]]);
}

/// As with a table that is read whole: whoever decodes the record refuses it, and nothing is put in place of its bytes.
#[test]
fn a_text_that_is_not_utf8_is_handed_over_as_its_bytes() {
    let folder = shop();
    let shop = Connection::open(folder.path().join("shop.db")).unwrap();
    shop.execute_batch(
        "CREATE TABLE words (id INTEGER, word TEXT); INSERT INTO words VALUES (1, CAST(x'61ff22' AS TEXT));",
    )
    .unwrap();
    let around = Surroundings::folder(folder.path());
    let asked = Asked { columns: &["id".to_owned()], ..Asked::default() };
    let mut reader = open_lookup("sqlite", &Args::texts(&["shop.db", "words"]), &around, asked).unwrap().unwrap();
    reader.open().unwrap();
    let ids: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let found = reader.find(&keys(vec![Field::new("id", ids.data_type().clone(), true)], vec![ids])).unwrap();
    assert_eq!(found, [[b"{\"id\":1,\"word\":\"a\xff\\\"\"}".to_vec()]]);
}

#[test]
fn what_is_not_there_is_told_at_the_start_and_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    assert!(asked(&folder, &["id"]).open().unwrap_err().to_string().contains("unable to open database file"));
    assert!(!folder.path().join("shop.db").exists());
    let folder = shop();
    let missing = asked(&folder, &["id", "name"]).open().unwrap_err().to_string();
    assert!(
        missing.ends_with("it has no column name; its columns are id, code, odd \" name, limits, photo, vip, tags"),
        "{missing}"
    );
    Connection::open(folder.path().join("shop.db")).unwrap().execute_batch("DROP TABLE customers").unwrap();
    assert!(asked(&folder, &["id"]).open().unwrap_err().to_string().contains("no such table: customers"));
}
