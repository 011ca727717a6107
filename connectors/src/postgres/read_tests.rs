//! A table of a real server that is read in chunks: every type as the decoder takes it, every kind of key, and what is refused.

use serde_json::json;
use syncline_engine::source::{Cursors, Polled, Rows, Source};

use super::tests::server::{Database, GUARDED, own, shared};
use crate::{
    registry::{Asked, SourceRequest, open_source},
    spec::{Args, Surroundings},
};

/// `key => …`; none where it is empty.
fn source(url: &str, key: &str, named: &[&str], whole: bool) -> Box<dyn Source> {
    let named: Vec<String> = named.iter().map(|name| (*name).to_owned()).collect();
    let mut args = Args::texts(&[url, "orders"]);
    if !key.is_empty() {
        args.named.insert("key".to_owned(), json!(key));
    }
    let around = Surroundings::folder(".");
    let request = SourceRequest {
        columns: (!named.is_empty()).then_some(&named[..]),
        asked: Asked { columns: &named, booleans: &[], lists: &[] },
        whole,
        ..SourceRequest::new(&args, &around)
    };
    open_source("postgres", request).unwrap()
}

fn shop(sql: &str) -> Database {
    let database = shared().database();
    database.sql(sql);
    database
}

fn read(source: &mut dyn Source, cursors: &mut Cursors, polls: usize) -> Result<Vec<String>, String> {
    let (mut found, mut taken) = (vec![], 0);
    while taken < polls {
        match source.poll(7).map_err(|error| error.to_string())? {
            Polled::Rows(rows) => {
                taken += 1;
                let origin = &rows.origin;
                found.extend((0..origin.rows()).map(|row| String::from_utf8_lossy(&origin.bytes_of(row)).into_owned()));
                found.extend(rows.rejected.iter().map(|bad| format!("{} {}", bad.length, bad.reason.slug)));
                cursors.insert(origin.partition.to_string(), rows.cursor);
            }
            Polled::Idle => {}
            Polled::Ended => break,
            polled => panic!("{polled:?}"),
        }
    }
    Ok(found)
}

fn all(database: &Database, key: &str) -> Result<Vec<String>, String> {
    let mut source = source(&database.url(), key, &[], false);
    source.open(&Cursors::new(), 7).map_err(|error| error.to_string())?;
    read(&mut *source, &mut Cursors::new(), usize::MAX)
}

#[test]
fn every_type_comes_as_the_decoder_takes_it_and_loses_nothing() {
    let values = [
        ("smallint", "-32768", "-32768"),
        ("bigint", "9223372036854775807", "9223372036854775807"),
        ("numeric", "123456789012345678901234567890.1234567890", "123456789012345678901234567890.1234567890"),
        ("numeric(10,2)", "1.5", "1.50"),
        ("numeric", "NaN", r#""NaN""#),
        ("real", "0.1", "0.1"),
        ("double precision", "0.1", "0.1"),
        ("double precision", "-Infinity", r#""-Infinity""#),
        ("double precision", "2.2250738585072014e-308", "2.2250738585072014e-308"),
        ("boolean", "t", "true"),
        ("text", "a\"\\\té\u{1f600}", r#""a\"\\\té😀""#),
        ("char(4)", "ab", r#""ab  ""#),
        ("date", "2026-11-20", r#""2026-11-20""#),
        ("time", "10:00:00.25", r#""10:00:00.25""#),
        ("timestamp", "2026-11-20 10:00:00.123456", r#""2026-11-20T10:00:00.123456""#),
        ("timestamptz", "2026-11-20 10:00:00+05:30", r#""2026-11-20T04:30:00+00:00""#),
        ("timestamptz", "infinity", r#""infinity""#),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", r#""a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11""#),
        ("json", r#"{"b": 1.10, "a": [ 2 ]}"#, r#"{"b": 1.10, "a": [ 2 ]}"#),
        ("jsonb", r#"{"b": 1.10, "a": [2]}"#, r#"{"a": [2], "b": 1.10}"#),
        ("integer[]", "{1,NULL,3}", "[1,null,3]"),
        ("numeric[]", "{1.10,NaN}", r#"[1.10,"NaN"]"#),
        ("text[]", "{{a,b},{c,d}}", r#"[["a","b"],["c","d"]]"#),
        ("bytea", "\\x00ff", r#""AP8=""#),
        ("bytea[]", "{\"\\\\x00ff\",NULL}", r#"["AP8=",null]"#),
        ("bytea[]", "{}", "[]"),
        ("interval", "1 year 2 days 03:04:05.6", r#""1 year 2 days 03:04:05.6""#),
        ("inet", "10.0.0.0/8", r#""10.0.0.0/8""#),
        ("mood", "glad", r#""glad""#),
        ("cents", "5", "5"),
        ("packed", "\\x00ff", r#""AP8=""#),
    ];
    let columns: Vec<String> = values.iter().enumerate().map(|(at, (kind, ..))| format!("c{at} {kind}")).collect();
    let texts: Vec<String> =
        values.iter().map(|(kind, text, _)| format!("'{}'::{kind}", text.replace('\'', "''"))).collect();
    let database = shop(&format!(
        "CREATE TYPE mood AS ENUM ('glad'); CREATE DOMAIN cents AS bigint; CREATE DOMAIN packed AS bytea; \
         CREATE TABLE orders (id int PRIMARY KEY, {}, twice int GENERATED ALWAYS AS (id * 2) STORED); \
         INSERT INTO orders VALUES (1, {}); INSERT INTO orders (id) VALUES (2)",
        columns.join(", "),
        texts.join(", ")
    ));
    let found = all(&database, "").unwrap();
    let row = |id: i64, value: &dyn Fn(usize) -> String| {
        let columns: Vec<String> = (0..values.len()).map(|at| format!("\"c{at}\":{}", value(at))).collect();
        format!("{{\"id\":{id},{},\"twice\":{}}}", columns.join(","), id * 2)
    };
    assert_eq!(found, [row(1, &|at| values[at].2.to_owned()), row(2, &|_| "null".to_owned())]);
    // A row of base64 is one line, however long.
    database.sql("DELETE FROM orders; INSERT INTO orders (id, c23) VALUES (3, decode(repeat('00', 300), 'hex'))");
    let mut some = source(&database.url(), "", &["ID", "c23"], false);
    some.open(&Cursors::new(), 7).unwrap();
    let found = read(&mut *some, &mut Cursors::new(), 9).unwrap();
    assert_eq!(found, [format!(r#"{{"ID":3,"c23":"{}"}}"#, "A".repeat(400))]);
}

#[test]
fn keys_of_every_kind_are_read_on_from_wherever_a_run_was_stopped() {
    for (columns, value, key) in [
        ("k bigint PRIMARY KEY", "i - 1500", ""),
        ("k text COLLATE \"und-x-icu\" PRIMARY KEY", "(ARRAY['a', 'B', 'é', 'Z', '_'])[i % 5 + 1] || i", ""),
        ("k uuid PRIMARY KEY", "md5(i::text)::uuid", ""),
        ("k timestamptz PRIMARY KEY", "'2026-11-20'::timestamptz - i * interval '1.000001 seconds'", ""),
        ("k numeric PRIMARY KEY", "(1500 - i) / 7.0", ""),
        (
            "k double precision PRIMARY KEY",
            "CASE i WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' ELSE (1500 - i) / 7.0 END",
            "",
        ),
        ("k bytea PRIMARY KEY", "decode(md5(i::text), 'hex')", ""),
        ("k char(6) NOT NULL UNIQUE", "'x' || i", "k"),
        ("k int, b text, PRIMARY KEY (b, k)", "i, (i % 3)::text", ""),
        ("k int NOT NULL, b int NOT NULL, UNIQUE (k)", "i, i % 3", "b, k"),
    ] {
        let names = if columns.contains(" b ") { "k, b" } else { "k" };
        let database = shop(&format!(
            "CREATE TABLE orders ({columns}, n int); INSERT INTO orders ({names}, n) SELECT {value}, i FROM generate_series(0, 2999) i \
             ORDER BY i * 7919 % 3000"
        ));
        let (mut cursors, mut found) = (Cursors::new(), vec![]);
        // A new start after every chunk.
        loop {
            let mut source = source(&database.url(), key, &["n"], false);
            source.open(&cursors, 7).unwrap_or_else(|error| panic!("{columns}: {error}"));
            let rows = read(&mut *source, &mut cursors, 1).unwrap_or_else(|error| panic!("{columns}: {error}"));
            if rows.is_empty() {
                break;
            }
            found.extend(rows);
        }
        let order = if key.is_empty() && columns.contains(" b ") {
            "b, k"
        } else if key.is_empty() {
            "k"
        } else {
            key
        };
        let expected = database.sql(&format!("SELECT json_build_object('n', n) FROM orders ORDER BY {order}"));
        let expected: Vec<String> = expected.iter().map(|row| row.replace(" : ", ":")).collect();
        assert!(found == expected, "{columns}: {} rows", found.len());
    }
}

#[test]
fn what_changes_meanwhile_is_read_as_its_chunk_found_it_and_the_rest_once() {
    let database = shop(
        "CREATE TABLE orders (id int PRIMARY KEY, n text); INSERT INTO orders SELECT i, 'old' FROM generate_series(0, 4999) i",
    );
    let mut cursors = Cursors::new();
    let mut first = source(&database.url(), "", &[], false);
    first.open(&cursors, 7).unwrap();
    let mut found = read(&mut *first, &mut cursors, 1).unwrap();
    drop(first);
    database.sql(
        "DELETE FROM orders WHERE id IN (5, 4000); UPDATE orders SET n = 'new' WHERE id IN (6, 4001); \
         INSERT INTO orders VALUES (-1, 'before'), (9000, 'behind')",
    );
    let mut next = source(&database.url(), "", &[], false);
    next.open(&cursors, 8).unwrap();
    found.extend(read(&mut *next, &mut cursors, usize::MAX).unwrap());
    let mut expected: Vec<String> = (0..5000).map(|id| format!(r#"{{"id":{id},"n":"old"}}"#)).collect();
    expected[4001] = r#"{"id":4001,"n":"new"}"#.to_owned();
    expected.remove(4000);
    expected.push(r#"{"id":9000,"n":"behind"}"#.to_owned());
    assert!(found == expected, "{} rows", found.len());
    // Another table of the name, with the same rows.
    database.sql("ALTER TABLE orders RENAME TO former; CREATE TABLE orders (LIKE former INCLUDING ALL)");
    let said = source(&database.url(), "", &[], false).open(&cursors, 9).unwrap_err().to_string();
    assert!(said.contains("is another table than the one that was read so far (public.orders ("), "{said}");
    database.sql("DROP TABLE orders; ALTER TABLE former RENAME TO orders; ALTER TABLE orders ADD UNIQUE (n, id), ALTER n SET NOT NULL");
    let said = source(&database.url(), "n, id", &[], false).open(&cursors, 9).unwrap_err().to_string();
    assert!(
        said.contains("was read by its key (id integer) so far, and would go on by (n text, id integer)"),
        "{said}"
    );
}

#[test]
fn wide_rows_are_asked_for_in_smaller_numbers_and_one_that_is_too_large_is_told() {
    let database = shop(
        "CREATE TABLE orders (id int PRIMARY KEY, n text); ALTER TABLE orders ALTER n SET STORAGE EXTENDED; \
         INSERT INTO orders SELECT i, CASE i WHEN 1500 THEN repeat('x', 17000000) WHEN 1501 THEN 'y' ELSE repeat('z', i % 2 * 30000) END \
         FROM generate_series(1, 2000) i",
    );
    let mut found = all(&database, "").unwrap();
    let told = found.iter().position(|row| row.ends_with("too-large")).expect("it is told");
    assert_eq!(found.remove(told), "17000018 too-large");
    let ids = found.iter().map(|row| row.split([':', ',']).nth(1).unwrap().parse::<i64>().unwrap());
    assert!(ids.eq((1..=2000).filter(|id| *id != 1500)));
}

#[test]
fn views_and_tables_in_parts_are_read_by_the_columns_that_are_said() {
    let base = "CREATE TABLE base (a int, b int) PARTITION BY RANGE (a); CREATE TABLE low PARTITION OF base FOR VALUES FROM (0) TO (2000); \
                CREATE TABLE high PARTITION OF base DEFAULT; INSERT INTO base SELECT i, i % 2 FROM generate_series(0, 3999) i;";
    let view = shop(&format!("{base} CREATE VIEW orders AS SELECT a, b FROM base"));
    let found = all(&view, "b, A").unwrap();
    assert_eq!((found.len(), found[3999].as_str()), (4000, r#"{"a":3999,"b":1}"#));
    view.sql("INSERT INTO base VALUES (1023, 1)");
    let said = all(&view, "a").unwrap_err();
    assert!(
        said.ends_with(
            "orders has two rows with the same key (a), rows 1024 and 1025: a chunk could end between them; \
         name columns in key => '…' that no two rows share"
        ),
        "{said}"
    );
    view.sql("INSERT INTO base VALUES (NULL, 1)");
    let said = all(&view, "a").unwrap_err();
    assert!(
        said.contains("orders has rows in which a column of its key (a) is NULL, and they would not be read"),
        "{said}"
    );
    let parts = shop(&format!("{base} ALTER TABLE base ADD PRIMARY KEY (a); ALTER TABLE base RENAME TO orders"));
    assert_eq!(all(&parts, "").unwrap().len(), 4000);
    // Heirs have rows of their own, of which the key of their table knows nothing.
    let heirs = shop(
        "CREATE TABLE orders (a int PRIMARY KEY); CREATE TABLE heir () INHERITS (orders); \
                      INSERT INTO orders VALUES (1); INSERT INTO heir VALUES (1)",
    );
    assert!(all(&heirs, "").unwrap_err().contains("two rows with the same key (a), rows 1 and 2"));
}

#[test]
fn what_cannot_be_read_is_told_with_the_edit_to_make_and_never_with_the_password() {
    let refused = |sql: &str, key: &str| {
        let said = all(&shop(sql), key).unwrap_err();
        said.split_once(": ").expect("a place").1.to_owned()
    };
    let plain = "CREATE TABLE orders (a int NOT NULL, b text)";
    assert_eq!(
        refused(plain, ""),
        "table public.orders has no primary key, by which it could be read on from where a run was stopped; \
         name columns that no two rows share and that are never NULL: key => 'a, b'"
    );
    assert_eq!(refused(plain, "a, c"), "table public.orders has no column c; its columns are a, b");
    assert_eq!(
        refused(plain, "a, b"),
        "table public.orders is to be read by key => 'a, b', and b may be NULL, so rows could have no key; name other columns, \
         or run: ALTER TABLE \"public\".\"orders\" ALTER COLUMN \"b\" SET NOT NULL;"
    );
    assert_eq!(
        refused(plain, "a"),
        "table public.orders is to be read by key => 'a', which rows may share; name columns with a unique index, or run: \
         CREATE UNIQUE INDEX ON \"public\".\"orders\" (\"a\");"
    );
    assert_eq!(
        refused("SELECT 1", ""),
        "there is no table orders that is to be read; with its schema in front where it is in another: 'sales.orders'"
    );
    let database = shop("CREATE TABLE orders (a int PRIMARY KEY)");
    let url = database.url().replace("postgres@", &format!("{}:guessed@", GUARDED.0));
    let said = source(&url, "", &[], false).open(&Cursors::new(), 7).unwrap_err().to_string();
    assert!(said.contains("password authentication failed") && !said.contains("guessed"), "{said}");
    let wrong = source(&database.url(), "", &["a", "nmae"], false).open(&Cursors::new(), 7).unwrap_err().to_string();
    assert!(wrong.ends_with("table public.orders has no column nmae; its columns are a"), "{wrong}");
}

#[test]
fn a_join_reads_all_rows_as_of_one_moment_without_a_key() {
    let database = shop(
        "CREATE TABLE orders (id int, n text); INSERT INTO orders SELECT i, 'old' FROM generate_series(1, 5000) i",
    );
    let mut source = source(&database.url(), "", &["n"], true);
    for expected in ["old", "new"] {
        source.open(&Cursors::new(), 7).unwrap();
        let mut cursors = Cursors::new();
        let mut found = read(&mut *source, &mut cursors, 1).unwrap();
        database.sql("UPDATE orders SET n = 'new'");
        found.extend(read(&mut *source, &mut cursors, usize::MAX).unwrap());
        assert_eq!(found, vec![format!(r#"{{"n":"{expected}"}}"#); 5000]);
        assert!(cursors.values().all(|cursor| cursor.is_null()), "{cursors:?}");
    }
}

#[test]
fn a_server_that_goes_away_in_the_middle_is_waited_for_and_gives_the_rest() {
    let database = own().database();
    database.sql("CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders SELECT i FROM generate_series(1, 20000) i; CHECKPOINT");
    let (mut source, mut cursors) = (source(&database.url(), "", &[], false), Cursors::new());
    source.open(&cursors, 7).unwrap();
    let mut found = read(&mut *source, &mut cursors, 2).unwrap();
    database.server().kill();
    while source.trouble().is_none() {
        match source.poll(7).unwrap() {
            Polled::Rows(Rows { origin, .. }) => {
                found.extend((0..origin.rows()).map(|row| String::from_utf8_lossy(&origin.bytes_of(row)).into_owned()))
            }
            Polled::Idle => {}
            polled => panic!("{polled:?}, and the server is gone"),
        }
    }
    let why = source.trouble().unwrap();
    assert!(why.contains("cannot"), "{why}");
    database.server().again();
    found.extend(read(&mut *source, &mut cursors, usize::MAX).unwrap());
    let expected: Vec<String> = (1..=20_000).map(|id| format!("{{\"id\":{id}}}")).collect();
    assert!(found == expected, "{} rows", found.len());
    assert_eq!(source.trouble(), None);
}
