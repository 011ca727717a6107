//! Tables that were there before: what they take, what they refuse, and how that is told.

use arrow::array::{Float64Array, ListArray};
use arrow::datatypes::Int64Type;

use super::*;

#[test]
fn a_row_that_the_table_refuses_is_dead_and_the_others_stay() {
    let table = "CREATE TABLE orders (id integer PRIMARY KEY, name varchar(3) CHECK (name <> 'bad'), note text DEFAULT 'free', \
                 total numeric(6,2), UNIQUE (name))";
    for write in [upsert(false), Write::Insert] {
        let shop = Shop::with(table);
        let batch = rows(vec![
            json_column(
                "id",
                &[Some("1"), Some("2"), Some("\"x\""), Some("3"), Some("4"), Some("5"), Some("6"), Some("7")],
            ),
            json_column(
                "NAME",
                &[
                    Some("\"a\""),
                    Some("\"bad\""),
                    Some("\"c\""),
                    Some("\"long\""),
                    Some("\"a\\u0000\""),
                    Some("\"a\""),
                    Some("\"e\""),
                    Some("\"f\""),
                ],
            ),
            json_column("total", &[None, None, None, None, None, None, Some("99999"), Some("1.001")]),
        ]);
        let applied = shop.apply(write, 0, &batch);
        let told: Vec<String> = applied
            .dead
            .iter()
            .map(|(offset, reason)| format!("{offset} {}: {}", reason.slug, reason.detail))
            .collect();
        assert_eq!(
            told,
            [
                "1 constraint: new row for relation \"orders\" violates check constraint \"orders_name_check\": Failing row contains (2, bad, free, null).",
                "2 constraint: id: `\"x\"` is no number",
                "3 constraint: value too long for type character varying(3)",
                "4 constraint: NAME: `\"a\\u0000\"` has a NUL character, which PostgreSQL cannot keep",
                "5 constraint: duplicate key value violates unique constraint \"orders_name_key\": Key (name)=(a) already exists.",
                "6 constraint: numeric field overflow: A field with precision 6, scale 2 must round to an absolute value less than 10^4.",
                "7 constraint: total: `1.001` has more digits after the point than the 2 that the column keeps",
            ]
        );
        assert_eq!(shop.0.sql("SELECT * FROM orders"), ["1|a|free|NULL"]);
    }
}

#[test]
fn among_many_rows_each_bad_one_is_found_and_the_rest_goes_in() {
    let shop = Shop::with("CREATE TABLE orders (id bigint PRIMARY KEY CHECK (id % 97 <> 5))");
    let ids: Vec<Option<i64>> = (0..2_000).map(Some).collect();
    let applied = shop.apply(upsert(false), 0, &rows(vec![ints("id", &ids)]));
    let bad: Vec<u64> = (0..2_000).filter(|id| id % 97 == 5).collect();
    assert_eq!(applied.dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), bad);
    assert_eq!(shop.0.sql("SELECT count(*) FROM orders"), [(2_000 - bad.len()).to_string()]);
}

#[test]
fn a_refused_row_leaves_no_version_behind() {
    let shop = Shop::with("CREATE TABLE orders (id bigint PRIMARY KEY, name text CHECK (name <> 'bad'))");
    let batch = rows(vec![
        ints("id", &[Some(1), Some(1)]),
        texts("name", &[Some("bad"), Some("good")]),
        ints("__sequence", &[Some(5), Some(4)]),
    ]);
    let applied = shop.apply(upsert(true), 0, &batch);
    assert_eq!((applied.dead.len(), applied.stale.len()), (1, 0));
    assert_eq!(shop.0.sql("SELECT * FROM orders"), ["1|good"]);
}

/// A check at the end of a transaction would fail all of its rows, and no one could say which it was.
#[test]
fn constraints_that_wait_for_the_commit_are_checked_before_it() {
    let shop = Shop::with(
        "CREATE TABLE customers (id bigint PRIMARY KEY); INSERT INTO customers VALUES (1); \
         CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint REFERENCES customers DEFERRABLE INITIALLY DEFERRED)",
    );
    let batch = rows(vec![ints("id", &[Some(1), Some(2), Some(3)]), ints("customer", &[Some(1), Some(9), Some(1)])]);
    let applied = shop.apply(upsert(false), 0, &batch);
    assert_eq!(applied.dead.len(), 1);
    assert_eq!(applied.dead[0].0, 1);
    assert_eq!(shop.0.sql("SELECT id FROM orders ORDER BY id"), ["1", "3"]);
}

#[test]
fn types_of_all_kinds_take_what_fits() {
    let shop = Shop::with(
        "CREATE TYPE mood AS ENUM ('sad', 'glad'); CREATE DOMAIN code AS varchar(3); \
         CREATE TABLE orders (id bigint PRIMARY KEY, mood mood, code code, tags text[], numbers int[], net inet, doc json, at timestamp, \
         at0 timestamptz(0), day date, ratio float8)",
    );
    let numbers = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![Some(vec![Some(1), None]), None, None]);
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2), Some(3)]),
        texts("mood", &[Some("glad"), Some("mad"), None]),
        texts("code", &[Some("abc"), None, Some("abcd")]),
        json_column("tags", &[Some(r#"["a,b", "\"", null]"#), None, None]),
        typed("numbers", Arc::new(numbers)),
        texts("net", &[Some("10.0.0.1/8"), None, None]),
        json_column("doc", &[Some(r#"{"b": 1.0, "a":  [null]}"#), None, None]),
        json_column("at", &[Some(r#""2026-11-20T10:00:00+02:00""#), None, None]),
        json_column("at0", &[Some(r#""2026-11-20T10:00:00Z""#), None, None]),
        json_column("day", &[Some(r#""2026-11-20""#), None, None]),
        typed("ratio", Arc::new(Float64Array::from(vec![Some(0.1), Some(f64::NAN), None]))),
    ]);
    let applied = shop.apply(upsert(false), 0, &batch);
    let told: Vec<&str> = applied.dead.iter().map(|(_, reason)| reason.detail.as_str()).collect();
    assert_eq!(
        told,
        ["invalid input value for enum mood: \"mad\"", "value too long for type character varying(3)"],
        "a domain cuts nothing either"
    );
    assert_eq!(
        shop.0.sql("SELECT * FROM orders"),
        [
            r#"1|glad|abc|{"a,b","\"",NULL}|{1,NULL}|10.0.0.1/8|{"b": 1.0, "a":  [null]}|2026-11-20 08:00:00|2026-11-20 10:00:00+00|2026-11-20|0.1"#
        ]
    );
}

#[test]
fn a_table_that_cannot_take_the_rows_is_told_with_the_edit() {
    let batch = || rows(vec![ints("id", &[Some(1)]), texts("total", &[Some("9.50")])]);
    let told = |table: &str, write: Write| Shop::with(table).refused(write, &batch());
    assert_eq!(
        told("CREATE TABLE orders (id bigint PRIMARY KEY)", upsert(false)),
        "table public.orders has no column total; it has id; leave it out with a SELECT before, or add it: ALTER TABLE … ADD COLUMN"
    );
    assert_eq!(
        told("CREATE TABLE orders (id bigint PRIMARY KEY, total numeric(12,2))", upsert(false)),
        "column total of table public.orders is numeric(12,2), and its values are STRING; \
         CAST(total AS DECIMAL(12,2)) AS total in a SELECT before"
    );
    assert_eq!(
        told("CREATE TABLE orders (id bigint, total text)", upsert(false)),
        "table public.orders has no unique key on (id), which UPSERT needs; \
         run: CREATE UNIQUE INDEX ON \"public\".\"orders\" (\"id\");"
    );
    let partial = "CREATE TABLE orders (id bigint, total text); CREATE UNIQUE INDEX ON orders (id) WHERE id > 0; \
                   CREATE UNIQUE INDEX ON orders (id, total); ALTER TABLE orders ADD UNIQUE (id) DEFERRABLE";
    assert!(told(partial, upsert(false)).contains("has no unique key on (id)"));
    assert_eq!(
        told("CREATE TABLE orders (id bigint PRIMARY KEY, total text, region text NOT NULL)", upsert(false)),
        "column region of table public.orders is NOT NULL without a default, and the rows have none; SELECT one of this name, \
         or give the column a DEFAULT"
    );
    assert_eq!(
        told("CREATE TABLE orders (id bigint, total text GENERATED ALWAYS AS ('x') STORED)", Write::Insert),
        "column total of table public.orders is computed by the database; leave it out with a SELECT before"
    );
    assert_eq!(
        told("CREATE VIEW orders AS SELECT 1 AS id, 'x' AS total", Write::Insert),
        "public.orders is a view, and rows need a table of their own; name the table behind it"
    );
    let blind = "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
                 CREATE TABLE orders (id bigint, total text COLLATE blind PRIMARY KEY)";
    let by_total = |sequenced| Write::Upsert { key: vec!["total".into()], sequenced, ignore_nulls: false };
    let shop = Shop::with(blind);
    let sequenced = rows(vec![ints("id", &[Some(1)]), texts("total", &[Some("a")]), ints("__sequence", &[Some(1)])]);
    assert_eq!(
        shop.refused(by_total(true), &sequenced),
        "column total of table public.orders is text, with a collation that takes different texts as equal: versions cannot be kept by it, \
         as SEQUENCE BY and REPLACE need; use a key of a plain type: a number, text, uuid, date or timestamp"
    );
    // Without versions the table's own rule holds, and one statement never meets a key twice.
    let both = rows(vec![ints("id", &[Some(1), Some(2)]), texts("total", &[Some("a"), Some("A")])]);
    assert_eq!(shop.apply(by_total(false), 0, &both), Applied::default());
    assert_eq!(shop.0.sql("SELECT id FROM orders"), ["2"]);
    let json_key = rows(vec![json_column("id", &[Some("1")])]);
    assert_eq!(
        Shop::new().refused(upsert(false), &json_key),
        "table orders is not there, and cannot be made: the type of its key id is not known (JSON); \
         say it in the SELECT before: CAST(id AS BIGINT) AS id; or make the table yourself"
    );
}

#[test]
fn names_are_found_in_another_case_and_schemas_hold_their_own_positions() {
    let shop = Shop::with(
        "CREATE SCHEMA sales; CREATE TABLE sales.\"Orders\" (\"ID\" bigint PRIMARY KEY, \"Full Name\" text)",
    );
    let batch = rows(vec![ints("id", &[Some(1)]), texts("full name", &[Some("ada")])]);
    let args = Args { positional: vec![json!(shop.0.url()), json!("sales.orders")], ..Args::default() };
    let mut sink = made(&args, upsert(false), &batch).unwrap();
    sink.open(&stream("log", 1)).unwrap();
    assert_eq!(sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap(), Applied::default());
    sink.commit(&Delivered { next: 1, ..Delivered::default() }).unwrap();
    assert_eq!(shop.0.sql("SELECT * FROM sales.\"Orders\""), ["1|ada"]);
    assert_eq!(shop.0.sql("SELECT next_offset, epoch FROM sales.syncline_progress"), ["1|1"]);
    let nowhere = Args { positional: vec![json!(shop.0.url()), json!("nowhere.orders")], ..Args::default() };
    let refused = made(&nowhere, upsert(false), &batch).unwrap().open(&stream("log", 1)).unwrap_err().to_string();
    assert!(refused.ends_with("there is no schema nowhere; run: CREATE SCHEMA \"nowhere\";"), "{refused}");
}

#[test]
fn who_may_not_make_tables_is_told_what_to_ask_for_and_may_use_them() {
    let shop = Shop::with(
        "CREATE TABLE orders (id bigint PRIMARY KEY); CREATE ROLE clerk LOGIN; GRANT SELECT, INSERT, UPDATE, DELETE ON orders TO clerk",
    );
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let url = shop.0.url().replace("postgres@", "clerk@");
    let args = Args { positional: vec![json!(url), json!("orders")], ..Args::default() };
    let open = || made(&args, upsert(false), &batch).unwrap().open(&stream("log", 1));
    let refused = open().unwrap_err().to_string();
    let (_, edit) = refused.split_once("let its owner run: ").expect("an edit");
    let (sql, _) = edit.split_once("; and grant").expect("a grant");
    shop.0.sql(&format!("{sql}; GRANT SELECT, INSERT, UPDATE, DELETE ON syncline_progress TO clerk"));
    assert_eq!(open(), Ok(Some(Delivered::default())));
}

/// With nothing by which rows of two keys could meet, their order does not count; with another unique index it does.
#[test]
fn rows_of_two_keys_keep_their_order_where_they_can_meet() {
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2), Some(1), Some(2), Some(1)]),
        texts("name", &[Some("a"), Some("b"), None, Some("a"), Some("c")]),
        ops(&[0, 0, 2, 0, 0]),
    ]);
    for more in ["", ", UNIQUE (name)"] {
        let shop = Shop::with(&format!("CREATE TABLE orders (id bigint PRIMARY KEY, name text{more})"));
        assert_eq!(shop.apply(upsert(false), 0, &batch), Applied::default());
        assert_eq!(shop.0.sql("SELECT * FROM orders ORDER BY id"), ["1|c", "2|a"]);
    }
    // The name that is free only after the delete is dead before it.
    let early = rows(vec![
        ints("id", &[Some(1), Some(2), Some(1), Some(3)]),
        texts("name", &[Some("a"), Some("a"), None, Some("a")]),
        ops(&[0, 0, 2, 0]),
    ]);
    let shop = Shop::with("CREATE TABLE orders (id bigint PRIMARY KEY, name text UNIQUE)");
    let applied = shop.apply(upsert(false), 0, &early);
    assert_eq!(applied.dead.iter().map(|(offset, _)| *offset).collect::<Vec<_>>(), [1]);
    assert_eq!(shop.0.sql("SELECT * FROM orders"), ["3|a"]);
}
