//! What a database looks like after rows were applied, and what is refused.

use std::{path::PathBuf, sync::Arc};

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray,
        UInt8Array, UInt64Array,
    },
    datatypes::{Field, Schema},
};
use rusqlite::{Connection, types::Value};
use syncline_engine::sink::{Applied, Delivered, OutboxRows, OutboxSink, SinkError, Stream, Write};
use syncline_functions::json_field;
use syncline_record::Reason;
use tempfile::TempDir;

use super::SqliteSink;
use crate::{
    registry::{SinkRequest, connector},
    spec::{Args, Arguments, Surroundings},
};

struct Shop {
    folder: TempDir,
}

fn stream(log_id: &str, fence: u64) -> Stream {
    Stream { pipeline: "p".into(), step: "upsert".into(), part: 0, log_id: log_id.into(), fence }
}

impl Shop {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    fn sql(&self, sql: &str) {
        Connection::open(self.path()).unwrap().execute_batch(sql).unwrap();
    }

    /// Rows as `1|ada|NULL`, sorted as the query says.
    fn query(&self, sql: &str) -> Vec<String> {
        let connection = Connection::open(self.path()).unwrap();
        let mut statement = connection.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| {
            let values = (0..columns).map(|index| match row.get::<_, Value>(index).unwrap() {
                Value::Null => "NULL".to_owned(),
                Value::Integer(number) => number.to_string(),
                Value::Real(number) => format!("{number:?}"),
                Value::Text(text) => format!("'{text}'"),
                Value::Blob(bytes) => format!("{bytes:?}"),
            });
            Ok(values.collect::<Vec<_>>().join("|"))
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn sink(&self, write: Write, rows: &RecordBatch) -> SqliteSink {
        let around = Surroundings::folder(self.folder.path());
        let args = Args::texts(&["shop.db", "orders"]);
        let step = "upsert".into();
        let (schema, keys) = (rows.schema(), Vec::new());
        let request = SinkRequest {
            args: &args,
            around: &around,
            pipeline: "p",
            step: &step,
            write,
            schema,
            keys,
            endless: true,
            csv: None,
        };
        SqliteSink::new(&Arguments::checked(connector("sqlite").unwrap(), &args).unwrap(), &request).unwrap()
    }

    /// Opens, applies all rows from `base` on, commits.
    fn apply(&self, write: Write, base: u64, rows: &RecordBatch) -> Applied {
        let mut sink = self.sink(write, rows);
        sink.open(&stream("log", 1)).unwrap();
        let applied = sink.apply(&[OutboxRows { base, rows: rows.clone() }]).unwrap();
        let next = base + rows.num_rows() as u64;
        sink.commit(&Delivered { next, ..Delivered::default() }).unwrap();
        applied
    }

    fn refused(&self, write: Write, rows: &RecordBatch) -> String {
        match self.sink(write, rows).open(&stream("log", 1)) {
            Err(SinkError::Never(text)) => text.replace(&format!("{}/", self.folder.path().display()), ""),
            other => panic!("{other:?}"),
        }
    }
}

fn json(name: &str, tokens: &[Option<&str>]) -> (Field, ArrayRef) {
    (json_field(name), Arc::new(StringViewArray::from(tokens.to_vec())))
}

fn typed(name: &str, column: ArrayRef) -> (Field, ArrayRef) {
    (Field::new(name, column.data_type().clone(), true), column)
}

fn ints(name: &str, values: &[Option<i64>]) -> (Field, ArrayRef) {
    typed(name, Arc::new(Int64Array::from(values.to_vec())))
}

fn ops(values: &[u8]) -> (Field, ArrayRef) {
    typed("__op", Arc::new(UInt8Array::from(values.to_vec())))
}

fn rows(columns: Vec<(Field, ArrayRef)>) -> RecordBatch {
    let (fields, columns): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
}

fn upsert(sequenced: bool) -> Write {
    Write::Upsert { key: vec!["id".into()], sequenced, ignore_nulls: false }
}

fn dead(offset: u64, slug: &str, detail: &str) -> (u64, Reason) {
    (offset, Reason::new(slug, detail))
}

#[test]
fn a_new_table_has_the_types_that_lose_nothing() {
    let shop = Shop::new();
    let at = TimestampMicrosecondArray::from(vec![Some(1_763_632_800_000_000), Some(1_763_632_800_500_000)]);
    let total = Decimal128Array::from(vec![950, -1]).with_precision_and_scale(12, 2).unwrap();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2)]),
        typed("customer", Arc::new(StringViewArray::from(vec!["ada", "007"]))),
        typed("total", Arc::new(total)),
        typed("at", Arc::new(at)),
        typed("paid", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        json("any", &[Some(r#""007""#), Some("12345678901234567890.5")]),
    ]);
    assert_eq!(shop.apply(upsert(false), 0, &batch), Applied::default());
    assert_eq!(
        shop.query("SELECT sql FROM sqlite_master WHERE name = 'orders'"),
        [
            r#"'CREATE TABLE "orders" ("id" INTEGER NOT NULL, "customer" TEXT, "total" DECIMAL(12,2), "at" TEXT, "paid" INTEGER, "any", PRIMARY KEY ("id"))'"#
        ]
    );
    assert_eq!(
        shop.query("SELECT * FROM orders ORDER BY id"),
        [
            "1|'ada'|9.5|'2025-11-20T10:00:00Z'|1|'007'",
            "2|'007'|-0.01|'2025-11-20T10:00:00.5Z'|NULL|'12345678901234567890.5'",
        ]
    );
}

/// `WHERE total > 10` gave all rows, and the highest total was 9.50: they were compared as text.
#[test]
fn decimals_of_up_to_15_digits_compare_as_numbers_and_come_back_exact() {
    let decimals = |name: &str, values: &[i128], precision| {
        typed(name, Arc::new(Decimal128Array::from(values.to_vec()).with_precision_and_scale(precision, 2).unwrap()))
    };
    let shop = Shop::new();
    let narrow = [950, 1000, 10_000, -1, 999_999_999_999_999];
    let batch = rows(vec![decimals("total", &narrow, 15), decimals("wide", &[950, 1000, 10_000, -1, 7], 16)]);
    let by_total = Write::Upsert { key: vec!["total".into()], sequenced: false, ignore_nulls: false };
    for base in [0, 5] {
        assert_eq!(shop.apply(by_total.clone(), base, &batch), Applied::default());
    }
    let shown = "SELECT printf('%.2f', total) FROM orders ORDER BY total";
    assert_eq!(shop.query(shown), ["'-0.01'", "'9.50'", "'10.00'", "'100.00'", "'9999999999999.99'"]);
    assert_eq!(shop.query("SELECT max(total) FROM orders WHERE total < 1000 AND total > 10"), ["100"]);
    assert_eq!(shop.query("SELECT wide FROM orders WHERE total = 9.50"), ["'9.50'"]);
}

/// A table that an earlier version made goes on as it was.
#[test]
fn a_column_of_text_keeps_its_text() {
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (id INTEGER NOT NULL, total DECIMAL_TEXT(12,2), PRIMARY KEY (id))");
    let total = Decimal128Array::from(vec![950]).with_precision_and_scale(12, 2).unwrap();
    let batch = rows(vec![ints("id", &[Some(1)]), typed("total", Arc::new(total))]);
    assert_eq!(shop.apply(upsert(false), 0, &batch), Applied::default());
    assert_eq!(shop.query("SELECT * FROM orders"), ["1|'9.50'"]);
}

#[test]
fn without_sequence_the_last_row_of_a_key_stays_and_deletes_delete() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(2), Some(1), Some(2), None, Some(3)]),
        json("name", &[Some("\"a\""), Some("\"b\""), Some("\"c\""), None, Some("\"d\""), None]),
        ops(&[0, 0, 1, 2, 0, 2]),
    ]);
    let applied = shop.apply(upsert(false), 10, &batch);
    assert_eq!(applied, Applied { dead: vec![dead(14, "null-key", "id: the key is NULL")], stale: vec![] });
    assert_eq!(shop.query("SELECT * FROM orders"), ["1|'c'"]);
}

#[test]
fn with_sequence_the_newest_version_stays_whatever_the_order() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(1), Some(1), Some(2), Some(2), Some(2), Some(3)]),
        json(
            "name",
            &[Some("\"new\""), Some("\"old\""), Some("\"again\""), None, Some("\"tie\""), Some("\"newer\""), None],
        ),
        ops(&[0, 0, 0, 2, 0, 0, 0]),
        json("__sequence", &[Some("5"), Some("4.9"), Some("5.0"), Some("7"), Some("7"), Some("8"), None]),
    ]);
    let applied = shop.apply(upsert(true), 0, &batch);
    let null = dead(6, "null-sequence", "the value to sequence by is NULL");
    assert_eq!(applied, Applied { dead: vec![null], stale: vec![1, 4] });
    assert_eq!(shop.query("SELECT * FROM orders ORDER BY id"), ["1|'again'", "2|'newer'"]);
}

/// Where the table keeps `"1"` as 1, the older change came as another key, found no version, and undid the newer one.
#[test]
fn what_is_one_row_of_a_table_has_one_version() {
    for (column, keys, kept) in [
        ("INTEGER PRIMARY KEY", ["1", r#""1""#, "1.0", r#""01""#], "1"),
        ("DECIMAL(5,2) PRIMARY KEY", ["1.5", r#""1.50""#, r#""15e-1""#, "15e-1"], "1.5"),
        ("TEXT PRIMARY KEY", ["7", r#""7""#, "7", r#""7""#], "'7'"),
        ("TEXT COLLATE NOCASE PRIMARY KEY", [r#""Ab""#, r#""aB""#, r#""AB""#, r#""ab""#], "'Ab'"),
        ("TEXT COLLATE RTRIM PRIMARY KEY", [r#""a""#, r#""a ""#, r#""a  ""#, r#""a""#], "'a'"),
    ] {
        let shop = Shop::new();
        shop.sql(&format!("CREATE TABLE orders (id {column}, name TEXT)"));
        let changes = rows(vec![
            json("id", &keys.map(Some)),
            json("name", &[Some("\"newest\""), Some("\"old\""), Some("\"older\""), Some("\"oldest\"")]),
            ints("__sequence", &[Some(4), Some(3), Some(2), Some(1)]),
        ]);
        assert_eq!(shop.apply(upsert(true), 0, &changes).stale, [1, 2, 3], "{column}");
        assert_eq!(shop.query("SELECT * FROM orders"), [format!("{kept}|'newest'")], "{column}");
    }
    // Two rows of the table are two keys: a column of text keeps 1.0 as '1.0'.
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (id TEXT PRIMARY KEY)");
    let two = rows(vec![json("id", &[Some("1"), Some("1.0")]), ints("__sequence", &[Some(2), Some(1)])]);
    assert_eq!(shop.apply(upsert(true), 0, &two).stale, [0u64; 0]);
    assert_eq!(shop.query("SELECT id FROM orders ORDER BY id"), ["'1'", "'1.0'"]);
}

#[test]
fn a_tombstone_keeps_an_older_change_out_for_seven_days() {
    let shop = Shop::new();
    let change = |op, version: &'static str| {
        rows(vec![
            ints("id", &[Some(1)]),
            json("name", &[Some("\"x\"")]),
            ops(&[op]),
            json("__sequence", &[Some(version)]),
        ])
    };
    shop.apply(upsert(true), 0, &change(0, "1"));
    shop.apply(upsert(true), 1, &change(2, "9"));
    assert_eq!(shop.apply(upsert(true), 2, &change(0, "8")).stale, [2]);
    shop.sql("UPDATE syncline_versions SET deleted_at = deleted_at - 7 * 86400 + 60");
    assert_eq!(shop.apply(upsert(true), 3, &change(0, "8")).stale, [3]);
    shop.sql("UPDATE syncline_versions SET deleted_at = deleted_at - 120");
    assert_eq!(shop.apply(upsert(true), 4, &change(0, "8")), Applied::default());
    assert_eq!(shop.query("SELECT id FROM orders"), ["1"]);
}

#[test]
fn ignored_nulls_keep_what_was_there() {
    let shop = Shop::new();
    let batch = rows(vec![
        ints("id", &[Some(1), Some(1)]),
        json("name", &[Some("\"a\""), None]),
        json("city", &[None, Some("\"b\"")]),
    ]);
    let write = Write::Upsert { key: vec!["id".into()], sequenced: false, ignore_nulls: true };
    shop.apply(write, 0, &batch);
    assert_eq!(shop.query("SELECT * FROM orders"), ["1|'a'|'b'"]);
}

fn labels(
    groups: &[&str],
    origins: &[u64],
    labels: &[Option<&str>],
    operations: &[u8],
    versions: &[Option<&str>],
) -> RecordBatch {
    rows(vec![
        json("issue", &groups.iter().map(|group| Some(*group)).collect::<Vec<_>>()),
        json("label", labels),
        ops(operations),
        typed("__group", Arc::new(StringViewArray::from(groups.to_vec()))),
        typed("__origin", Arc::new(UInt64Array::from(origins.to_vec()))),
        json("__sequence", versions),
    ])
}

#[test]
fn replace_leaves_the_rows_of_the_newest_input_of_each_group() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: false };
    let none = [None; 4];
    shop.apply(
        write(),
        0,
        &labels(
            &["1", "1", "2", "1"],
            &[1, 1, 2, 3],
            &[Some("\"a\""), Some("\"b\""), Some("\"c\""), Some("\"d\"")],
            &[0; 4],
            &none,
        ),
    );
    assert_eq!(shop.query("SELECT * FROM orders ORDER BY 1, 2"), ["1|'d'", "2|'c'"]);
    // The second half of an input comes in another transaction.
    shop.apply(write(), 4, &labels(&["1"], &[3], &[Some("\"e\"")], &[0], &none[..1]));
    shop.apply(write(), 5, &labels(&["2"], &[4], &[None], &[3], &none[..1]));
    assert_eq!(shop.query("SELECT * FROM orders ORDER BY 1, 2"), ["1|'d'", "1|'e'"]);
}

#[test]
fn replace_with_sequence_does_not_go_back() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: true };
    let names = [Some("\"a\""), Some("\"b\""), Some("\"old\""), Some("\"same\"")];
    let versions = [Some("5"), Some("5"), Some("4"), Some("5")];
    let applied = shop.apply(write(), 0, &labels(&["1"; 4], &[1, 1, 2, 3], &names, &[0; 4], &versions));
    assert_eq!(applied, Applied { dead: vec![], stale: vec![2] });
    // An old clear changes nothing, and is not counted: it is no row.
    let old = shop.apply(write(), 4, &labels(&["1"], &[4], &[None], &[3], &[Some("4")]));
    assert_eq!(old, Applied::default());
    assert_eq!(shop.query("SELECT * FROM orders"), ["1|'same'"]);
}

/// 1 and "1" had one version between them: the change of one was stale because of the other's.
#[test]
fn groups_are_one_where_the_table_takes_them_as_one() {
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: true };
    let names = [Some("\"number\""), Some("\"text\"")];
    let both = labels(&["1", "\"1\""], &[1, 2], &names, &[0; 2], &[Some("5"), Some("3")]);
    let shop = Shop::new();
    assert_eq!(shop.apply(write(), 0, &both), Applied::default());
    assert_eq!(shop.query("SELECT issue, label FROM orders ORDER BY label"), ["1|'number'", "'1'|'text'"]);
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (issue INTEGER, label TEXT)");
    assert_eq!(shop.apply(write(), 0, &both).stale, [1]);
    assert_eq!(shop.query("SELECT issue, label FROM orders"), ["1|'number'"]);
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (issue TEXT COLLATE NOCASE, label TEXT)");
    let alike = labels(&["\"a\"", "\"A\""], &[1, 2], &names, &[0; 2], &[Some("5"), Some("3")]);
    assert_eq!(shop.apply(write(), 0, &alike).stale, [1]);
    assert_eq!(shop.query("SELECT issue FROM orders"), ["'a'"]);
}

#[test]
fn at_equal_versions_a_delete_empties_the_group_for_good_and_an_input_without_rows_does_not() {
    let shop = Shop::new();
    let write = || Write::Replace { per: vec!["issue".into()], sequenced: true };
    let change = |base: u64, op: u8, version: &'static str| {
        shop.apply(write(), base, &labels(&["1"], &[base], &[Some("\"a\"")], &[op], &[Some(version)]))
    };
    let (insert, clear, erase) = (0, 3, 4);
    assert_eq!([change(0, insert, "1"), change(1, erase, "1")], [Applied::default(), Applied::default()]);
    assert_eq!(change(2, insert, "1").stale, [2]);
    assert_eq!(change(3, clear, "1"), Applied::default());
    assert_eq!(change(4, insert, "1").stale, [4]);
    assert_eq!(shop.query("SELECT label FROM orders"), [""; 0]);
    assert_eq!([change(5, clear, "2"), change(6, insert, "2")], [Applied::default(), Applied::default()]);
    assert_eq!(shop.query("SELECT label FROM orders"), ["'a'"]);
}

#[test]
fn a_row_that_the_table_refuses_is_dead_and_the_others_stay() {
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, name TEXT CHECK (name <> 'bad'), note DEFAULT 'free')");
    let batch = rows(vec![
        json("id", &[Some("1"), Some("2"), Some("\"x\""), Some("3")]),
        json("NAME", &[Some("\"a\""), Some("\"bad\""), Some("\"c\""), Some("\"d\"")]),
    ]);
    let applied = shop.apply(upsert(false), 0, &batch);
    let constraint = dead(1, "constraint", "CHECK constraint failed: name <> 'bad'");
    assert_eq!(
        applied,
        Applied {
            dead: vec![
                constraint,
                dead(2, "constraint", "id: `x` is no number, and the column compares as one (INTEGER)")
            ],
            stale: vec![]
        }
    );
    assert_eq!(shop.query("SELECT * FROM orders"), ["1|'a'|'free'", "3|'d'|'free'"]);
}

#[test]
fn a_column_that_compares_as_a_number_keeps_no_other_text_and_rounds_nothing() {
    let shop = Shop::new();
    shop.sql("CREATE TABLE orders (id INTEGER, price DECIMAL(30,4), day DATE)");
    let digits = "12345678901234567.5";
    let batch = rows(vec![
        json("id", &[Some("1"), Some("\"2\""), Some("\"x\""), Some("18446744073709551615"), None]),
        json("price", &[Some("\"9.50\""), Some("1e3"), Some("1"), Some("1"), Some(digits)]),
        json("day", &[Some("\"2026-11-20\""), None, None, None, None]),
    ]);
    let applied = shop.apply(Write::Insert, 0, &batch);
    let many = "has more digits than a column that compares as a number keeps";
    let expected = vec![
        dead(2, "constraint", "id: `x` is no number, and the column compares as one (INTEGER)"),
        dead(3, "constraint", &format!("id: `18446744073709551615` {many} (INTEGER)")),
        dead(4, "constraint", &format!("price: `{digits}` {many} (DECIMAL(30,4))")),
    ];
    assert_eq!(applied, Applied { dead: expected, stale: vec![] });
    assert_eq!(shop.query("SELECT id, price, day FROM orders"), ["1|9.5|'2026-11-20'", "2|1000|NULL"]);
}

#[test]
fn a_table_that_cannot_take_the_rows_is_told_before_the_first() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)]), json("name", &[None])]);
    shop.sql("CREATE TABLE orders (id INTEGER, title TEXT)");
    assert_eq!(shop.refused(upsert(false), &batch), "shop.db: table orders has no column name; it has id, title");
    shop.sql("DROP TABLE orders; CREATE TABLE orders (id INTEGER, name TEXT); CREATE UNIQUE INDEX part ON orders (id) WHERE id > 5");
    let fix = "shop.db: table orders has no unique key on (id), which UPSERT needs; run: CREATE UNIQUE INDEX \"orders_id\" ON \"orders\" (\"id\");";
    assert_eq!(shop.refused(upsert(false), &batch), fix);
    shop.sql("CREATE UNIQUE INDEX orders_id ON orders (id)");
    assert_eq!(shop.apply(upsert(false), 0, &batch), Applied::default());
    std::fs::write(shop.path(), "this is no database, however long one looks at it").unwrap();
    std::fs::remove_file(shop.folder.path().join("shop.db-wal")).ok();
    assert_eq!(shop.refused(upsert(false), &batch), "shop.db: cannot open the database: file is not a database");
}

#[test]
fn a_crash_before_the_commit_leaves_nothing_and_rows_below_the_position_are_dropped() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1), Some(2)])]);
    let mut sink = shop.sink(Write::Insert, &batch);
    assert_eq!(sink.open(&stream("log", 1)).unwrap(), Some(Delivered::default()));
    sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap();
    drop(sink);
    assert_eq!(shop.query("SELECT * FROM orders"), [""; 0]);

    let mut sink = shop.sink(Write::Insert, &batch);
    assert_eq!(sink.open(&stream("log", 2)).unwrap(), Some(Delivered::default()));
    let mut delivered = Delivered { next: 2, ..Delivered::default() };
    delivered.books.rows_in = 2;
    sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap();
    sink.commit(&delivered).unwrap();
    let mut sink = shop.sink(Write::Insert, &batch);
    assert_eq!(sink.open(&stream("log", 3)).unwrap(), Some(delivered));
    let next = rows(vec![ints("id", &[Some(2), Some(3)])]);
    sink.apply(&[OutboxRows { base: 1, rows: next }]).unwrap();
    sink.commit(&Delivered { next: 3, ..Delivered::default() }).unwrap();
    assert_eq!(shop.query("SELECT * FROM orders"), ["1", "2", "3"]);
}

#[test]
fn a_replaced_writer_and_another_outbox_are_refused() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let mut old = shop.sink(Write::Insert, &batch);
    old.open(&stream("log", 1)).unwrap();
    let mut new = shop.sink(Write::Insert, &batch);
    new.open(&stream("log", 2)).unwrap();
    let frame = [OutboxRows { base: 0, rows: batch.clone() }];
    let fenced = old.apply(&frame).unwrap_err().to_string();
    assert!(
        fenced.ends_with("`p` was started again elsewhere (start 2, and this is 1); that one writes now"),
        "{fenced}"
    );
    assert!(matches!(old.open(&stream("log", 1)), Err(SinkError::Never(_))));
    let Err(SinkError::Foreign(text)) = new.open(&stream("other", 3)) else { panic!("not refused") };
    assert!(text.contains("holds rows of `p` from another data folder (log log, and this is other)"), "{text}");
    new.clear(&stream("other", 3)).unwrap();
    assert_eq!(new.open(&stream("other", 3)).unwrap(), Some(Delivered::default()));
}

#[test]
fn another_writer_at_work_is_a_passing_trouble() {
    let shop = Shop::new();
    let batch = rows(vec![ints("id", &[Some(1)])]);
    let mut sink = shop.sink(Write::Insert, &batch);
    sink.open(&stream("log", 1)).unwrap();
    let other = Connection::open(shop.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = sink.apply(&[OutboxRows { base: 0, rows: batch.clone() }]).unwrap_err();
    assert!(
        matches!(&busy, SinkError::Again(text) if text.ends_with("cannot begin a transaction: database is locked")),
        "{busy:?}"
    );
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(sink.open(&stream("log", 1)).unwrap(), Some(Delivered::default()));
}
