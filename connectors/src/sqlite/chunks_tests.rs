//! A table of SQLite that is read in chunks: by which key, what it makes of rows that change meanwhile, and what it refuses.

use rusqlite::Connection;
use serde_json::json;
use syncline_engine::source::{Cursors, Polled, Source};
use tempfile::TempDir;

use crate::{
    registry::{SourceRequest, open_source},
    spec::{Args, Surroundings},
};

/// `key => …`; none where it is empty.
fn table(folder: &TempDir, key: &str) -> Box<dyn Source> {
    let mut args = Args::texts(&["shop.db", "orders"]);
    if !key.is_empty() {
        args.named.insert("key".to_owned(), json!(key));
    }
    let around = Surroundings::folder(folder.path());
    open_source("sqlite", SourceRequest::new(&args, &around)).unwrap()
}

fn shop(sql: &str) -> (TempDir, Connection) {
    let folder = TempDir::new().unwrap();
    let shop = Connection::open(folder.path().join("shop.db")).unwrap();
    shop.execute_batch(sql).unwrap();
    (folder, shop)
}

/// Records of one poll, or of all, and where to go on.
fn read(source: &mut dyn Source, cursors: &mut Cursors, polls: usize) -> Result<Vec<String>, String> {
    let (mut found, mut taken) = (vec![], 0);
    while taken < polls {
        match source.poll(7).map_err(|error| error.to_string())? {
            Polled::Rows(rows) => {
                taken += 1;
                let origin = &rows.origin;
                found.extend((0..origin.rows()).map(|row| String::from_utf8_lossy(&origin.bytes_of(row)).into_owned()));
                cursors.insert(origin.partition.to_string(), rows.cursor);
            }
            Polled::Idle => {}
            Polled::Ended => break,
            polled => panic!("{polled:?}"),
        }
    }
    Ok(found)
}

/// What a whole reading gives, and the key that its cursor has.
fn all(folder: &TempDir, key: &str) -> Result<(Vec<String>, String), String> {
    let (mut source, mut cursors) = (table(folder, key), Cursors::new());
    source.open(&cursors, 7).map_err(|error| error.to_string())?;
    let rows = read(&mut *source, &mut cursors, usize::MAX)?;
    let by = cursors["shop.db, table orders"]["key"].to_string();
    Ok((rows, by))
}

const MANY: &str = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)";

#[test]
fn the_key_is_the_one_that_the_table_has_and_each_row_comes_once_in_its_order() {
    for (columns, without, by) in [
        ("id INTEGER PRIMARY KEY, region TEXT", "", "[\"id\"]"),
        ("id INTEGER, region TEXT, PRIMARY KEY (region, id)", "WITHOUT ROWID", "[\"region\",\"id\"]"),
        ("id INTEGER NOT NULL, region TEXT NOT NULL, PRIMARY KEY (region, id)", "", "[\"region\",\"id\"]"),
        ("id INTEGER, region TEXT, PRIMARY KEY (region, id)", "", "[\"rowid\"]"),
        ("id INTEGER, region TEXT, rowid TEXT", "", "[\"_rowid_\"]"),
        (
            "id INTEGER NOT NULL, region TEXT NOT NULL COLLATE NOCASE, PRIMARY KEY (region, id)",
            "",
            "[\"region COLLATE NOCASE\",\"id\"]",
        ),
    ] {
        let sql = format!(
            "CREATE TABLE orders ({columns}) {without}; {MANY} INSERT INTO orders (id, region) \
             SELECT i - 2500, CASE i % 3 WHEN 0 THEN 'a' WHEN 1 THEN 'B' ELSE 'é' END FROM n ORDER BY i * 7919 % 5000"
        );
        let (folder, shop) = shop(&sql);
        let (mut rows, key) = all(&folder, "").unwrap();
        assert_eq!((rows.len(), key.as_str()), (5000, by), "{columns}");
        rows.sort();
        rows.dedup();
        let sum: i64 = shop.query_row("SELECT count(DISTINCT id) FROM orders", [], |row| row.get(0)).unwrap();
        assert_eq!((rows.len(), sum), (5000, 5000), "{columns}");
    }
}

#[test]
fn keys_of_every_kind_are_given_back_as_they_came() {
    let (folder, _shop) = shop(&format!(
        "CREATE TABLE orders (k NOT NULL UNIQUE, n); {MANY} INSERT INTO orders SELECT CASE i % 5 WHEN 0 THEN i WHEN 1 THEN -i * 0.1 \
         WHEN 2 THEN 'é' || i WHEN 3 THEN CAST(x'ff' || i AS TEXT) ELSE CAST(i AS BLOB) END, i FROM n"
    ));
    let mut cursors = Cursors::new();
    let mut found = vec![];
    // A new start after every chunk.
    loop {
        let mut source = table(&folder, "k");
        source.open(&cursors, 7).unwrap();
        let rows = read(&mut *source, &mut cursors, 1).unwrap();
        if rows.is_empty() {
            break;
        }
        found.extend(rows);
    }
    let number = |row: &String| row.rsplit_once(':').unwrap().1.trim_end_matches('}').parse::<i64>().unwrap();
    let mut numbers: Vec<i64> = found.iter().map(number).collect();
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(0..5000), "each row once");
}

#[test]
fn what_changes_meanwhile_is_read_as_its_chunk_found_it_and_the_rest_once() {
    let (folder, shop) = shop(&format!(
        "PRAGMA journal_mode = WAL; CREATE TABLE orders (id INTEGER PRIMARY KEY, n); {MANY} INSERT INTO orders SELECT i, 'old' FROM n"
    ));
    let mut cursors = Cursors::new();
    let mut source = table(&folder, "");
    source.open(&cursors, 7).unwrap();
    let mut found = read(&mut *source, &mut cursors, 1).unwrap();
    drop(source);
    shop.execute_batch(
        "DELETE FROM orders WHERE id IN (5, 4000); UPDATE orders SET n = 'new' WHERE id IN (6, 4001); \
         INSERT INTO orders VALUES (-1, 'before'), (9000, 'behind')",
    )
    .unwrap();
    let mut source = table(&folder, "");
    source.open(&cursors, 8).unwrap();
    found.extend(read(&mut *source, &mut cursors, usize::MAX).unwrap());
    let mut expected: Vec<String> = (0..5000).map(|id| format!(r#"{{"id":{id},"n":"old"}}"#)).collect();
    expected[4001] = r#"{"id":4001,"n":"new"}"#.to_owned();
    expected.remove(4000);
    expected.push(r#"{"id":9000,"n":"behind"}"#.to_owned());
    assert!(found == expected, "{:?}", found.iter().zip(&expected).find(|(found, expected)| found != expected));
}

#[test]
fn a_key_that_rows_may_share_or_lack_is_refused_with_the_edit_to_make() {
    let refused = |sql: &str, key: &str| {
        let (folder, _shop) = shop(sql);
        let said = all(&folder, key).unwrap_err();
        said.split_once("table orders: ").expect("a place").1.to_owned()
    };
    let plain = "CREATE TABLE orders (a INTEGER NOT NULL, b TEXT)";
    assert_eq!(refused(plain, "a, c"), "it has no column c; its columns are a, b");
    assert_eq!(
        refused(plain, "a, b"),
        "is to be read by key => 'a, b', and b may be NULL, so rows could have no key; name columns that are declared NOT NULL"
    );
    assert_eq!(
        refused(plain, "a"),
        "is to be read by key => 'a', which rows may share; name columns with a unique index, or run: \
         CREATE UNIQUE INDEX \"orders_a\" ON \"orders\" (\"a\");"
    );
    let view = "CREATE TABLE base (a, b); CREATE VIEW orders AS SELECT * FROM base;";
    assert_eq!(
        refused(view, ""),
        "has no key by which it could be read on from where a run was stopped; \
         name columns that no two rows share and that are never NULL: key => 'a, b'"
    );
    assert_eq!(
        refused(&format!("{view} INSERT INTO base VALUES (1, 1), (NULL, 2)"), "a"),
        "has rows in which a column of its key is NULL, and they would not be read; name other columns in key => '…', \
         or leave those rows out in the view"
    );
    // The two lie on both sides of the end of a chunk.
    assert_eq!(
        refused(&format!("{view} {MANY} INSERT INTO base SELECT i - (i = 1024), i FROM n"), "a"),
        "has two rows with the same key (a), rows 1024 and 1025: a chunk could end between them; \
         name columns in key => '…' that no two rows share"
    );
}

#[test]
fn a_view_is_read_by_the_columns_that_are_said() {
    let (folder, _shop) = shop(&format!(
        "CREATE TABLE base (a, b); {MANY} INSERT INTO base SELECT i, i % 2 FROM n; CREATE VIEW orders AS SELECT a, b FROM base WHERE b = 1"
    ));
    let (rows, by) = all(&folder, "b, a").unwrap();
    assert_eq!((rows.len(), by.as_str()), (2500, "[\"b\",\"a\"]"));
    assert_eq!(rows[2499], r#"{"a":4999,"b":1}"#);
}

#[test]
fn another_file_is_another_table_and_so_are_rows_without_a_key_after_a_vacuum() {
    for (columns, changed) in [("n", true), ("n INTEGER PRIMARY KEY", false)] {
        let sql = format!("CREATE TABLE orders ({columns}); {MANY} INSERT INTO orders SELECT i FROM n");
        let (folder, shop) = shop(&sql);
        let mut cursors = Cursors::new();
        let mut source = table(&folder, "");
        source.open(&cursors, 7).unwrap();
        read(&mut *source, &mut cursors, 1).unwrap();
        drop(source);
        shop.execute_batch("DELETE FROM orders WHERE n < 100; VACUUM").unwrap();
        let opened = table(&folder, "").open(&cursors, 7);
        assert_eq!(opened.is_err(), changed, "{opened:?}");
        drop(shop);
        let path = folder.path().join("shop.db");
        std::fs::copy(&path, folder.path().join("copy.db")).unwrap();
        std::fs::rename(folder.path().join("copy.db"), &path).unwrap();
        let said = table(&folder, "").open(&cursors, 7).unwrap_err().to_string();
        assert!(said.contains("is another table than the one that was read so far"), "{said}");
    }
}

#[test]
fn how_many_rows_there_are_is_counted_where_they_are_few_however_far_apart_their_numbers() {
    let left = |sql: &str, key: &str| {
        let (folder, _shop) = shop(sql);
        let mut source = table(&folder, key);
        source.open(&Cursors::new(), 7).unwrap();
        source.progress().records_left
    };
    let apart = "CREATE TABLE orders (id INTEGER PRIMARY KEY); INSERT INTO orders VALUES (1), (1700000000000000000)";
    assert_eq!(left(apart, ""), Some(2));
    let texts = "CREATE TABLE orders (a TEXT NOT NULL, b INT NOT NULL, PRIMARY KEY (a, b)); INSERT INTO orders VALUES ('x', 1), ('x', 2), ('y', 1)";
    assert_eq!(left(texts, ""), Some(3));
    // A view is not asked for all it makes.
    let view =
        "CREATE TABLE t (id INTEGER PRIMARY KEY); INSERT INTO t VALUES (3), (7); CREATE VIEW orders AS SELECT * FROM t";
    assert_eq!(left(view, "id"), Some(5));
}
