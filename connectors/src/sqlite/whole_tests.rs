//! A table that is read whole: every row as the record that it is, of one moment.

use rusqlite::Connection;
use syncline_engine::source::{Cursors, Polled, Source};
use tempfile::TempDir;

use crate::{
    registry::{Asked, SourceRequest, open_source},
    spec::{Args, Surroundings},
};

fn table(folder: &TempDir, named: &[&str], all: bool) -> Box<dyn Source> {
    let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
    let (args, around) = (Args::texts(&["shop.db", "customers"]), Surroundings::folder(folder.path()));
    let request = SourceRequest {
        columns: (!all).then_some(&named[..]),
        asked: Asked { columns: &named, booleans: &["vip".to_owned()], lists: &["tags".to_owned()] },
        whole: true,
        ..SourceRequest::new(&args, &around)
    };
    open_source("sqlite", request).unwrap()
}

fn shop(sql: &str) -> (TempDir, Connection) {
    let folder = TempDir::new().unwrap();
    let shop = Connection::open(folder.path().join("shop.db")).unwrap();
    shop.execute_batch(sql).unwrap();
    (folder, shop)
}

/// Every record as text, with its number.
fn read(source: &mut dyn Source) -> Vec<String> {
    let mut found = vec![];
    loop {
        match source.poll(7).unwrap() {
            Polled::Rows(rows) => {
                let origin = &rows.origin;
                let payload = origin.payload.as_slice();
                for ((start, end), offset) in origin.spans.iter().zip(&origin.offsets) {
                    let record = String::from_utf8_lossy(&payload[*start as usize..*end as usize]);
                    found.push(format!("{offset} {record}"));
                }
                let told = rows.rejected.iter();
                found.extend(told.map(|bad| format!("{} {} {}", bad.place, bad.length, bad.reason.slug)));
            }
            Polled::Ended => return found,
            polled => panic!("{polled:?}"),
        }
    }
}

#[test]
fn rows_are_records_with_the_names_that_the_pipeline_calls_them() {
    let (folder, _shop) = shop(
        "CREATE TABLE customers (id INTEGER, \"odd \"\" name\" ANY, limits REAL, photo BLOB, vip INTEGER, tags TEXT, twice AS (id * 2));
         INSERT INTO customers VALUES (9007199254740993, 'it''s', 9.5, x'00ff', 1, '[1.10, null]'), (8, NULL, -1e400, NULL, 2, '[1');",
    );
    let mut some = table(&folder, &["ID", "odd \" name"], false);
    some.open(&Cursors::new(), 7).unwrap();
    assert_eq!(
        read(&mut *some),
        [r#"1 {"ID":9007199254740993,"odd \" name":"it's"}"#, r#"2 {"ID":8,"odd \" name":null}"#]
    );
    let mut all = table(&folder, &["Limits"], true);
    // Each reading is from the beginning.
    for _ in 0..2 {
        all.open(&Cursors::new(), 7).unwrap();
        assert_eq!(
            read(&mut *all),
            [
                r#"1 {"Limits":9.5,"id":9007199254740993,"odd \" name":"it's","photo":"AP8=","vip":true,"tags":[1.10, null],"twice":18014398509481986}"#,
                r#"2 {"Limits":"-Infinity","id":8,"odd \" name":null,"photo":null,"vip":2,"tags":"[1","twice":16}"#
            ]
        );
    }
}

#[test]
fn what_is_no_text_or_too_large_is_refused_and_the_rest_goes_on() {
    let (folder, _shop) = shop(
        "CREATE TABLE customers (name);
         INSERT INTO customers VALUES ('a'), (CAST(x'22ff0a' AS TEXT)), (zeroblob(13000000)), ('b');",
    );
    let mut source = table(&folder, &["name"], false);
    source.open(&Cursors::new(), 7).unwrap();
    assert_eq!(
        read(&mut *source),
        [
            r#"1 {"name":"a"}"#,
            "2 {\"name\":\"\\\"\u{fffd}\\u000a\"}",
            r#"4 {"name":"b"}"#,
            "shop.db, table customers:3 17333347 too-large"
        ]
    );
}

#[test]
fn a_reading_is_of_one_moment_and_may_be_left() {
    let (folder, shop) = shop("PRAGMA journal_mode = WAL; CREATE TABLE base (id INTEGER, name);
         CREATE VIEW customers AS SELECT id, name FROM base WHERE id >= 0;
         WITH RECURSIVE n(id) AS (SELECT -1 UNION ALL SELECT id + 1 FROM n WHERE id < 49999) INSERT INTO base SELECT id, 'old' FROM n;");
    let mut source = table(&folder, &["id", "name"], false);
    source.open(&Cursors::new(), 7).unwrap();
    let Polled::Rows(first) = source.poll(7).unwrap() else { panic!("no rows") };
    assert_eq!((first.origin.rows(), first.origin.offsets[0]), (1024, 1));
    shop.execute_batch("UPDATE base SET name = 'new'").unwrap();
    let rest = read(&mut *source);
    assert_eq!((rest.len(), &rest[rest.len() - 1][..]), (50_000 - 1024, r#"50000 {"id":49999,"name":"old"}"#));
    assert_eq!(source.partitions(), []);
    source.open(&Cursors::new(), 7).unwrap();
    // Opened again in the middle of a reading.
    source.open(&Cursors::new(), 7).unwrap();
    assert_eq!(read(&mut *source)[0], r#"1 {"id":0,"name":"new"}"#);
}

#[test]
fn what_is_not_there_is_told_and_nothing_is_made() {
    let folder = TempDir::new().unwrap();
    let open =
        |folder: &TempDir, named: &[&str]| table(folder, named, true).open(&Cursors::new(), 7).unwrap_err().to_string();
    assert!(open(&folder, &["id"]).contains("shop.db, table customers: unable to open database file"));
    assert!(!folder.path().join("shop.db").exists());
    let (folder, shop) = shop("CREATE TABLE customers (id, name)");
    assert!(open(&folder, &["id", "nmae"]).ends_with("it has no column nmae; its columns are id, name"));
    shop.execute_batch("DROP TABLE customers").unwrap();
    assert!(open(&folder, &["id"]).contains("no such table: customers"));
    std::fs::write(folder.path().join("shop.db"), "no database, but long enough to be looked at as one").unwrap();
    assert!(open(&folder, &["id"]).contains("file is not a database"));
}

#[test]
fn a_view_that_fails_on_a_row_gives_no_half_table() {
    let (folder, _shop) = shop("CREATE TABLE base (id INTEGER);
         WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 3000) INSERT INTO base SELECT id FROM n;
         CREATE VIEW customers AS SELECT abs(CASE id WHEN 2500 THEN -9223372036854775808 ELSE id END) AS id FROM base;");
    let mut source = table(&folder, &["id"], false);
    source.open(&Cursors::new(), 7).unwrap();
    let mut rows = 0;
    let error = loop {
        match source.poll(7) {
            Ok(Polled::Rows(more)) => rows += more.origin.rows(),
            Ok(polled) => panic!("{polled:?} after {rows} rows"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.ends_with("integer overflow"), "{error}");
}
